/**
 * Where the bars and marks of a histogram stand that is logarithmic on both sides of zero.
 *
 *     (counts, edges, width, height) -> bars, places of values, ticks
 *
 * Every bin is as wide as any other; the one around zero stands apart. Counts are logarithmic too: next to the zeros of a
 * rectified unit nothing else would be seen.
 */
import type { Histogram } from "./answers";
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

export function draw({ counts, edges }: Histogram, width: number, height: number): Drawing {
  const middle = edges.findLastIndex((edge) => edge < 0);
  const { first, last, skip } = occupied(counts, middle);
  const left = Math.max(0, middle - first - skip);
  const right = Math.max(0, last - middle - skip);
  const room = width - ZERO - (left ? GAP : 0) - (right ? GAP : 0);
  const step = room / Math.max(1, left + right);
  const zero = left ? left * step + GAP : 0;

  const place = (bin: number) => {
    if (bin < middle) return Math.min(left * step, Math.max(0, (bin - middle + skip + left) * step));
    if (bin < middle + 1) return zero + ZERO / 2;
    return zero + ZERO + GAP + Math.min(right * step, Math.max(0, (bin - middle - 1 - skip) * step));
  };
  const x = (value: number) => place(binOf(value, edges));
  const most = Math.max(1, ...counts);
  const y = (count: number) => (height * Math.log(Math.max(count, BASE) / BASE)) / Math.log(most / BASE);

  const bars: Bar[] = [];
  for (let bin = first; bin <= last; bin++) {
    const count = counts[bin]!;
    const stands = bin === middle ? { x: zero, width: ZERO } : { x: place(bin), width: step };
    if (count || bin === middle) bars.push({ ...stands, height: count ? y(count) : 0, count, from: edges[bin]!, to: edges[bin + 1]!, zero: bin === middle });
  }
  const total = counts.reduce((sum, count) => sum + count, 0);
  const up = powers(10, 1, most).map((count) => ({ at: y(count), label: short(count) }));
  const least = edges[middle + 1 + skip]!;
  const across = ticks(left ? -edges[first]! : 0, right ? edges[middle + 1 + skip + right]! : 0, least, x);
  return { bars, x, across, up, zero: total ? counts[middle]! / total : 0, total };
}

/** First and last bin to draw, and how many next to that of zero are left out because they are empty on both sides. */
function occupied(counts: number[], middle: number): { first: number; last: number; skip: number } {
  const there = counts.flatMap((count, bin) => (count > 0 && bin !== middle ? [bin] : []));
  if (!there.length) return { first: middle, last: middle + FEWEST, skip: 0 };
  const [first, last] = [Math.min(middle, there[0]!), Math.max(middle, there.at(-1)!)];
  const nearest = Math.min(...there.map((bin) => Math.abs(bin - middle)));
  const furthest = Math.max(last - middle, middle - first);
  return { first, last, skip: Math.max(0, Math.min(nearest - 1, furthest - FEWEST)) };
}

/** The bin that holds `value`, and how far into it: 3.5 is the middle of bin 3. */
function binOf(value: number, edges: number[]): number {
  const bin = Math.min(edges.length - 2, Math.max(0, edges.findLastIndex((edge) => edge <= value)));
  const into = (value - edges[bin]!) / (edges[bin + 1]! - edges[bin]!);
  return bin + Math.min(0.999, Math.max(0, into));
}

/** Zero, and round values up to `low` below it and `high` above, far enough apart to be read. */
function ticks(low: number, high: number, least: number, x: (value: number) => number): Tick[] {
  const base = powers(10, least, Math.max(low, high)).length > 1 ? 10 : 2;
  const values = [...powers(base, least, high).reverse(), ...powers(base, least, low).map((value) => -value).reverse()];
  const found: Tick[] = [{ at: x(0), label: "0" }];
  // From the outside in: what lies far from zero tells most.
  for (const value of values) {
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
  const step = Math.floor(Math.log10(count) / 3 + 1e-9);
  return `${Math.round(count / 1000 ** step)}${["", "k", "M", "G", "T"][step] ?? ""}`;
}
