/**
 * What follows from stored numbers, by the rules of `atlas.catalogue.derived`: a test holds both to the same cases.
 */

/** Shares of the positions that lie below each of a unit's quantiles. */
export const QUANTILES = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];
/** A reliable picture ranks within this share of its grid's pictures. */
const TOP = 0.02;
/** A reliable label rests on so many samples, and has so high a stability. */
const SAMPLES = 5;
const HOLDS = 0.8;

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

/** Whether a picture's rank among so many is high enough to rely on it; one without a rank has -1. */
export function isHigh(rank: number, pictures: number): boolean {
  return rank >= 0 && rank < Math.max(1, Math.floor(TOP * pictures));
}

/** Whether a cell's label is reliable: of enough samples, and stable when these are resampled. */
export function isReliable(count: number, stability: number): boolean {
  return count >= SAMPLES && stability >= HOLDS;
}
