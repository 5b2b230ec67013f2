/**
 * The numbers that images leave behind for a unit, and what follows from them.
 */

export const EXTREMES = ["top", "bottom"] as const;
/** Place of an extreme in the store. */
export type Extreme = 0 | 1;
/** Shares of the positions that lie below each of a unit's quantiles. */
export const QUANTILES = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/** An image on which a unit's activation is among the highest or lowest. */
export interface Example {
  rank: number;
  image: number;
  /** Which crop of the image; 0 is the one that the network is evaluated on. */
  crop: number;
  value: number;
  /** The part of it that the unit saw: left, top, right, bottom in pixels of the image; null where it is not measured. */
  box: number[] | null;
}

export interface Statistics {
  mean: number;
  std: number;
  min: number;
  max: number;
  /** Shares above zero of the positions, and of the images. */
  activePositions: number;
  activeImages: number;
  quantiles: number[];
  /** Positions whose value is no number. */
  nan: number;
}

export interface Histogram {
  counts: number[];
  /** One more than counts, rising. */
  edges: number[];
}

/** A number of something: a class and a unit's attribution to it, a unit and its activation. */
export interface Scored {
  index: number;
  value: number;
}

export interface Beside {
  top: number;
  bottom: number;
  dead: boolean;
}

/** What a wall needs of every unit of a layer. */
export interface Overview {
  mean: Float32Array;
  activeImages: Float32Array;
  /** Of the best and of the worst example, NaN where there is none. */
  top: Float32Array;
  bottom: Float32Array;
  dead: Uint8Array;
}

/** Whether a layer has values on both sides of zero. */
export function isSigned(least: ArrayLike<number>): boolean {
  return Array.from(least).some((value) => value < 0);
}

/** Whether a unit never fired: no crop drove it above zero. In a `signed` layer only constant units count as dead. */
export function isDead(top: number, signed: boolean, constant: boolean): boolean {
  return top <= 0 && (constant || !signed);
}

/** A picture's objective peak over the activation on its best example; NaN where that is none, zero or of the other sign. */
export function ratioOf(peak: number, example: number, negative: boolean): number {
  return (negative ? -example : example) > 0 ? peak / example : NaN;
}

/** `indices` with their `values`; a place that stays empty is -1. */
export function scored(indices: ArrayLike<number>, values: ArrayLike<number>): Scored[] {
  return Array.from(indices, (index, at) => ({ index, value: values[at]! })).filter(({ index }) => index >= 0);
}

/** The `nth` box of a row: left, top, right, bottom in pixels of the image; null where it was not measured. */
export function boxAt(boxes: ArrayLike<number> | null | undefined, nth: number): number[] | null {
  const sides = Array.from(boxes ?? []).slice(4 * nth, 4 * nth + 4);
  return sides.length && sides.every(Number.isFinite) ? sides : null;
}
