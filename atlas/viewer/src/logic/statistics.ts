/**
 * The numbers that images leave behind for a unit, and what the store derives of them.
 */

export const EXTREMES = ["top", "bottom"] as const;
/** Place of an extreme in the store. */
export type Extreme = 0 | 1;

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
  /** Shares of the positions that lie below each of the quantiles; null where the store does not say. */
  levels: number[] | null;
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

/** The real images that a unit's pictures are compared with. */
export interface Beside {
  /** Values of the best and of the worst example. */
  top: number;
  bottom: number;
  /** Whether it never fired, and the ratio of each of its pictures; null where the store has not derived that. */
  dead: boolean | null;
  ratios: ArrayLike<number> | null;
  /** Whether the store derives anything of its layer. */
  derived: boolean;
}

/** What a wall needs of every unit of a layer. */
export interface Overview {
  mean: Float32Array;
  activeImages: Float32Array;
  /** Of the best example, NaN where there is none. */
  top: Float32Array;
  /** Whether each unit never fired, and the ratio of each of its pictures; null where the store has not derived that. */
  dead: ArrayLike<number> | null;
  ratio: ArrayLike<number> | null;
  /** Whether the store derives anything of the layer. */
  derived: boolean;
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
