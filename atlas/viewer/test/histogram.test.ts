import { expect, test } from "vitest";
import { drawHistogram, type Drawing } from "../src/logic/histogram";
import type { Histogram, Statistics } from "../src/logic/statistics";

const [WIDTH, HEIGHT] = [600, 168];

/** Quarters of octaves on both sides of zero, as a store has them. */
function edges(): number[] {
  const half = Array.from({ length: 81 }, (_, nth) => 2 ** (-10 + nth / 4));
  return [...half.map((edge) => -edge).reverse(), ...half];
}

/** `values` counted, and what is known of them. */
function counted(values: number[]): [Histogram, Statistics] {
  const bounds = edges();
  const counts: number[] = new Array(bounds.length - 1).fill(0);
  for (const value of values) counts[Math.min(counts.length - 1, Math.max(0, bounds.findLastIndex((edge) => edge <= value)))]!++;
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
  const quantiles = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99].map(at);
  return [{ counts, edges: bounds }, { mean: 0, std: 1, min: sorted[0]!, max: sorted.at(-1)!, activePositions: 0, activeImages: 0, quantiles, levels: null, nan: 0 }];
}

/** A bell curve without chance: its quantiles, evenly spread. */
function bell(count: number, mean: number, spread: number): number[] {
  return Array.from({ length: count }, (_, nth) => {
    const share = (nth + 0.5) / count;
    return mean + (spread * Math.log(share / (1 - share))) / 1.702;
  });
}

const RECTIFIED = [...new Array(900).fill(0), ...Array.from({ length: 100 }, (_, nth) => 0.1 + nth / 20)] as number[];

function sound({ bars, across, up, x }: Drawing, counts: number[]): void {
  expect(bars.reduce((sum, { count }) => sum + count, 0)).toBe(counts.reduce((sum, count) => sum + count, 0));
  for (const { x, width, height } of bars) {
    expect(x).toBeGreaterThanOrEqual(-5);
    expect(x + width).toBeLessThanOrEqual(WIDTH + 5);
    expect(height).toBeGreaterThanOrEqual(0);
    expect(height).toBeLessThanOrEqual(HEIGHT + 1e-9);
  }
  const places = across.map(({ at }) => at);
  expect(places.slice(1).every((at, nth) => at - places[nth]! >= 52)).toBe(true);
  expect(up.length).toBeGreaterThan(0);
  const values = Array.from({ length: 201 }, (_, nth) => -10 + nth / 10).map(x);
  expect(values.every((at, nth) => nth === 0 || at >= values[nth - 1]!)).toBe(true);
}

test("a rectified unit: zero stands apart, and a bar is as high as its count", () => {
  const [histogram, statistics] = counted(RECTIFIED);
  const drawing = drawHistogram(histogram, statistics, WIDTH, HEIGHT);
  sound(drawing, histogram.counts);
  expect(drawing.dense).toBe(false);
  expect(drawing.zero).toBe(0.9);
  expect(drawing.bars[0]).toMatchObject({ zero: true, x: 0, width: 16, count: 900 });
  expect(drawing.bars[0]!.height).toBeCloseTo(HEIGHT, 8);
  const rest = drawing.bars.slice(1);
  expect(new Set(rest.map(({ width }) => width.toFixed(6))).size).toBe(1);
  for (const a of rest) for (const b of rest) if (a.count > b.count) expect(a.height).toBeGreaterThan(b.height);
  expect(drawing.x(5)).toBeGreaterThan(drawing.x(0.5));
});

test("a signed unit: a bar is as high as its density, and highest where the values lie densest", () => {
  const [histogram, statistics] = counted(bell(100_000, 0.5, 1));
  const drawing = drawHistogram(histogram, statistics, WIDTH, HEIGHT);
  sound(drawing, histogram.counts);
  expect(drawing.dense).toBe(true);
  const highest = drawing.bars.reduce((best, bar) => (bar.height > best.height ? bar : best));
  expect((highest.from + highest.to) / 2).toBeCloseTo(0.5, 0);
  for (const bar of drawing.bars) for (const other of drawing.bars) {
    const [dense, thin] = [bar.count / (bar.to - bar.from), other.count / (other.to - other.from)];
    if (dense > 1.001 * thin) expect(bar.height).toBeGreaterThan(other.height);
  }
  expect(drawing.bars.every(({ width }) => width >= 6 - 1e-9)).toBe(true);
  expect(drawing.across.map(({ label }) => label)).toContain("0");
});

test("zeros themselves are a point in a signed unit", () => {
  const [histogram, statistics] = counted([...(new Array(50_000).fill(0) as number[]), ...bell(50_000, 0, 2)]);
  const points = drawHistogram(histogram, statistics, WIDTH, HEIGHT).bars.filter(({ zero }) => zero);
  expect(points).toHaveLength(1);
  expect(points[0]).toMatchObject({ height: HEIGHT, width: 10 });
  const [none, of] = counted(bell(50_000, 0, 2));
  expect(drawHistogram(none, of, WIDTH, HEIGHT).bars.some(({ zero }) => zero)).toBe(false);
});

test("a unit that is always zero has one bar", () => {
  const [histogram, statistics] = counted([0, 0, 0]);
  const drawing = drawHistogram(histogram, statistics, WIDTH, HEIGHT);
  expect(drawing.bars.filter(({ count }) => count > 0)).toHaveLength(1);
  expect(drawing.zero).toBe(1);
});

test("what lies beyond the last edge is drawn as far as it reaches", () => {
  const [histogram, statistics] = counted([-5000, ...bell(1000, 0, 1), 9000]);
  const { bars } = drawHistogram(histogram, statistics, WIDTH, HEIGHT);
  expect(Math.min(...bars.map(({ from }) => from))).toBe(-5000);
  expect(Math.max(...bars.map(({ to }) => to))).toBe(9000);
});
