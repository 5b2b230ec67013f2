/**
 * Where the bars and marks of a unit's histogram stand.
 *
 *     (counts, edges, statistics, width, height) -> bars, places of values, ticks
 *
 * Stored bins are quarters of octaves on both sides of zero, so one near zero holds next to nothing however many values lie
 * there. Two drawings follow from that:
 *
 * - A rectified unit, with no value below zero: a logarithmic axis on which every bin is as wide as any other, the bar of zero
 *   apart, and a bar is as high as its count.
 * - A signed unit: an axis through zero on which a bar is as wide as its bin, and as high as its density, the count over the
 *   width of the bin. What is narrower than a few pixels is drawn together.
 *
 * Heights are logarithmic: next to the zeros of a rectified unit, or to a narrow peak, nothing else would be seen.
 */
import type { Histogram, Statistics } from "./statistics";
import { number } from "./words";

export interface Bar {
  x: number;
  width: number;
  height: number;
  count: number;
  from: number;
  to: number;
  zero: boolean;
}

export interface Tick {
  at: number;
  label: string;
}

export interface Drawing {
  bars: Bar[];
  /** Where a value stands. */
  x: (value: number) => number;
  across: Tick[];
  up: Tick[];
  /** Share of the positions in the bin around zero. */
  zero: number;
  total: number;
  /** Whether bars are as high as their density: counts a unit of value. */
  dense: boolean;
}

/** Room beside the bin around zero, and how wide it is, in pixels. */
const GAP = 10;
const ZERO = 16;
/** Fewest bins on the side of zero that has any: few bars should not become walls. */
const FEWEST = 16;
/** Pixels between two ticks. */
const APART = 52;
/** Where the logarithmic axis of counts begins: one position is seen. */
const BASE = 0.6;

/** Narrowest bar of a density, pixels; of few values there are few bars, or their noise would look like a comb. */
const NARROWEST = 6;
const FEWEST_BARS = 10;
/** Width of the bar of a point, pixels. */
const NEEDLE = 10;
/** A bin around zero that is so much denser than the rest holds zeros themselves: it stands for a point, not for a stretch. */
const POINT = 20;
/** Pixels between two ticks of the heights. */
const ASIDE = 20;

export function drawHistogram(histogram: Histogram, statistics: Statistics, width: number, height: number): Drawing {
  const middle = histogram.edges.findLastIndex((edge) => edge < 0);
  const signed = histogram.counts.some((count, bin) => count > 0 && bin < middle);
  return signed ? drawDensity(histogram, statistics, middle, width, height) : drawRectified(histogram, middle, width, height);
}

/** Counts of bins that are equally wide on a logarithmic axis. */
function drawRectified({ counts, edges }: Histogram, middle: number, width: number, height: number): Drawing {
  const { last, skip } = occupied(counts, middle);
  const right = Math.max(0, last - middle - skip);
  const step = (width - ZERO - (right ? GAP : 0)) / Math.max(1, right);

  const place = (bin: number) => (bin < middle + 1 ? ZERO / 2 : ZERO + GAP + Math.min(right * step, Math.max(0, (bin - middle - 1 - skip) * step)));
  const x = (value: number) => place(binOf(value, edges));
  const most = Math.max(1, ...counts);
  const y = heights(BASE, most, height);

  const bars: Bar[] = [];
  for (let bin = middle; bin <= last; bin++) {
    const count = counts[bin]!;
    const stands = bin === middle ? { x: 0, width: ZERO } : { x: place(bin), width: step };
    if (count || bin === middle) bars.push({ ...stands, height: count ? y(count) : 0, count, from: edges[bin]!, to: edges[bin + 1]!, zero: bin === middle });
  }
  const total = sum(counts);
  const least = edges[middle + 1 + skip]!;
  const across = ticks(right ? edges[middle + 1 + skip + right]! : 0, least, x);
  return { bars, x, across, up: upwards(1, most, y), zero: total ? counts[middle]! / total : 0, total, dense: false };
}

interface Stretch {
  from: number;
  to: number;
  count: number;
}

/** Densities over an axis that is even about zero and logarithmic far from it, so that outliers do not squeeze the rest. */
function drawDensity({ counts, edges }: Histogram, { min, max, quantiles }: Statistics, middle: number, width: number, height: number): Drawing {
  const total = sum(counts);
  // What lies beyond the edges is in the outermost bins, which reach as far as it does.
  const bounds = [Math.min(edges[0]!, min), ...edges.slice(1, -1), Math.max(edges.at(-1)!, max)];
  const [first, last] = [counts.findIndex((count) => count > 0), counts.findLastIndex((count) => count > 0)];
  const scale = Math.max(Math.abs(quantiles[1]!), Math.abs(quantiles[5]!)) || Math.max(Math.abs(min), Math.abs(max));
  const bent = (value: number) => Math.asinh(value / scale);
  const [start, end] = [bent(bounds[first]!), bent(bounds[last + 1]!)];
  const x = (value: number) => Math.min(width, Math.max(0, ((bent(value) - start) / (end - start)) * width));

  const most = Math.max(FEWEST_BARS, 3 * Math.cbrt(total));
  const stretches = (kept: number[]) => together(kept, bounds, first, last, (from, to) => x(to) - x(from) >= Math.max(NARROWEST, width / most));
  const others = stretches(counts.map((count, bin) => (bin === middle ? 0 : count)));
  const peak = Math.max(...others.map(density));
  const point = density({ from: bounds[middle]!, to: bounds[middle + 1]!, count: counts[middle]! }) > POINT * peak;
  const shown = (point ? others : stretches(counts)).filter(({ count }) => count > 0);

  const highest = Math.max(...shown.map(density));
  const lowest = Math.min(...shown.map(density));
  const y = heights(BASE * lowest, Math.max(highest, 2 * lowest), point ? 0.85 * height : height);
  const bars: Bar[] = shown.map((stretch) => ({ ...stretch, x: x(stretch.from), width: x(stretch.to) - x(stretch.from), height: y(density(stretch)), zero: false }));
  // A point has no width, and so no density: it reaches to the top.
  if (point) bars.push({ x: x(0) - NEEDLE / 2, width: NEEDLE, height, count: counts[middle]!, from: bounds[middle]!, to: bounds[middle + 1]!, zero: true });
  return { bars, x, across: round(bounds[first]!, bounds[last + 1]!, x), up: upwards(lowest, highest, y), zero: counts[middle]! / total, total, dense: true };
}

/** Bins `first` to `last`, neighbours drawn together until they are wide enough; what is left over is of the last. */
function together(counts: number[], bounds: number[], first: number, last: number, wide: (from: number, to: number) => boolean): Stretch[] {
  const found: Stretch[] = [];
  let [from, count] = [bounds[first]!, 0];
  for (let bin = first; bin <= last; bin++) {
    count += counts[bin]!;
    const to = bounds[bin + 1]!;
    if (!wide(from, to)) continue;
    found.push({ from, to, count });
    [from, count] = [to, 0];
  }
  const rest = { from, to: bounds[last + 1]!, count };
  const before = rest.to > rest.from ? found.pop() : undefined;
  if (before) found.push({ from: before.from, to: rest.to, count: before.count + rest.count });
  else if (rest.to > rest.from) found.push(rest);
  return found;
}

function density({ from, to, count }: Stretch): number {
  return count / (to - from);
}

function sum(counts: number[]): number {
  return counts.reduce((all, count) => all + count, 0);
}

/** A logarithmic scale from `low`, at the ground, to `high`. */
function heights(low: number, high: number, height: number): (value: number) => number {
  return (value) => (height * Math.log(Math.max(value, low) / low)) / Math.log(high / low);
}

/** Powers of ten from `low` to `high`, far enough apart to be read. */
function upwards(low: number, high: number, y: (value: number) => number): Tick[] {
  const all = powers(10, low, high).map((value) => ({ at: y(value), label: short(value) }));
  const every = Math.max(1, Math.ceil(ASIDE / (y(10 * low) - y(low) || ASIDE)));
  return all.filter((_, nth) => (all.length - 1 - nth) % every === 0);
}

/** Round values from `low` to `high`, as many as can be read: zero first, then the largest. */
function round(low: number, high: number, x: (value: number) => number): Tick[] {
  const found: Tick[] = [];
  for (const value of low < 0 && high > 0 ? aboutZero(Math.max(-low, high)) : evenly(low, high)) {
    const at = x(value);
    if (value >= low && value <= high && found.every((tick) => Math.abs(tick.at - at) >= APART)) found.push({ at, label: number(value) });
  }
  return found.sort((a, b) => a.at - b.at);
}

/** Zero, and 1, 2 and 5 times powers of ten on both sides of it. */
function aboutZero(far: number): number[] {
  const sizes = powers(10, far / 1e6, 10 * far).reverse().flatMap((power) => [power, power / 2, power / 5]);
  return [0, ...sizes.flatMap((size) => [size, -size])];
}

/** Multiples of a power of ten, a few to a few dozen. */
function evenly(low: number, high: number): number[] {
  const step = 10 ** Math.floor(Math.log10((high - low) / 3));
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, nth) => Number(((first + nth) * step).toPrecision(12)));
}

/** The last bin to draw, and how many next to that of zero are left out because they are empty. */
function occupied(counts: number[], middle: number): { last: number; skip: number } {
  const there = counts.flatMap((count, bin) => (count > 0 && bin > middle ? [bin] : []));
  if (!there.length) return { last: middle + FEWEST, skip: 0 };
  const last = there.at(-1)!;
  return { last, skip: Math.max(0, Math.min(there[0]! - middle - 1, last - middle - FEWEST)) };
}

/** The bin that holds `value`, and how far into it: 3.5 is the middle of bin 3. */
function binOf(value: number, edges: number[]): number {
  const bin = Math.min(edges.length - 2, Math.max(0, edges.findLastIndex((edge) => edge <= value)));
  const into = (value - edges[bin]!) / (edges[bin + 1]! - edges[bin]!);
  return bin + Math.min(0.999, Math.max(0, into));
}

/** Zero, and round values up to `high`, far enough apart to be read. */
function ticks(high: number, least: number, x: (value: number) => number): Tick[] {
  const base = powers(10, least, high).length > 1 ? 10 : 2;
  const found: Tick[] = [{ at: x(0), label: "0" }];
  // From the outside in: what lies far from zero tells most.
  for (const value of powers(base, least, high).reverse()) {
    const at = x(value);
    if (found.every((tick) => Math.abs(tick.at - at) >= APART)) found.push({ at, label: number(value) });
  }
  return found.sort((a, b) => a.at - b.at);
}

/** Powers of `base` from `low` to `high`, rising. */
function powers(base: number, low: number, high: number): number[] {
  const first = Math.ceil(Math.log(low) / Math.log(base) - 1e-9);
  const last = Math.floor(Math.log(high) / Math.log(base) + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, step) => base ** (first + step));
}

function short(count: number): string {
  if (count < 1) return number(count);
  const step = Math.floor(Math.log10(count) / 3 + 1e-9);
  if (step > 4) return count.toExponential(0).replace("+", "");
  return `${Math.round(count / 1000 ** step)}${["", "k", "M", "G", "T"][step] ?? ""}`;
}
