/**
 * How strongly each cell of a grid is drawn, and how large.
 *
 *     cells, attribution to a class, switches -> opacity and scale of every filled cell
 */
import type { Cells } from "./cells";

/** Evidence for a class, or against it. */
export type Sign = 1 | -1;

export interface Wish {
  /** Each filled cell's attribution to the selected class; null for none. */
  attribution: Float32Array | null;
  sign: Sign;
  /** Whether cells of few samples are small. */
  sized: boolean;
  /** Whether unreliable pictures are faint. */
  faint: boolean;
}

export interface Look {
  opacity: Float32Array;
  scale: Float32Array;
  /** The attribution that is drawn at full opacity; 0 without a selected class, or without evidence for it. */
  full: number;
}

const FAINT = 0.26;
const UNMOVED = 0.07;
/** The strongest hundredth of the cells may be as strong as they are: all are drawn in full. */
const FULL = 0.99;
const LEAST_SCALE = 0.28;

export function lookOf(cells: Cells, { attribution, sign, sized, faint }: Wish): Look {
  const total = cells.filled.length;
  const opacity = new Float32Array(total).fill(1);
  const scale = new Float32Array(total).fill(1);
  const full = attribution ? quantile(attribution.subarray(0, total).map((value) => sign * value).filter((value) => value > 0), FULL) : 0;
  const usual = sized ? quantile(Float32Array.from(cells.filled, (cell) => cells.count[cell]!), 0.8) : 1;
  for (let entry = 0; entry < total; entry++) {
    if (attribution) opacity[entry] = UNMOVED + (1 - UNMOVED) * Math.min(1, Math.max(0, (sign * attribution[entry]!) / (full || 1)) || 0);
    if (sized) scale[entry] = Math.max(LEAST_SCALE, Math.min(1, Math.sqrt(cells.count[cells.filled[entry]!]! / usual)));
    if (faint && cells.doubt(entry) === "rank") opacity[entry]! *= FAINT;
  }
  return { opacity, scale, full };
}

/** What a share of the values lie below; 0 for no values. */
function quantile(values: Float32Array, share: number): number {
  return values.length ? values.sort()[Math.min(values.length - 1, Math.floor(share * values.length))]! : 0;
}
