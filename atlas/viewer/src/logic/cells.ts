/**
 * The cells of one grid of an atlas: where they lie, how many samples each has, and whether its picture is reliable.
 *
 *     place | cell -> entry in the columns of the grid
 */
import { Status } from "./words";

/** Where a cell is: a grid, a column from the left and a row from the top. */
export interface Place {
  side: number;
  column: number;
  row: number;
}

/** What is drawn of all cells of a grid. */
export class Cells {
  /** The entry of a cell in the columns; -1 for one that is not filled. */
  readonly entry: Int32Array;

  constructor(
    readonly side: number,
    /** Samples in every cell, row by row from the top left. */
    readonly count: Int32Array,
    /** The filled cells, rising. */
    readonly filled: Int32Array,
    /** Of each filled cell's picture; null as long as there are none. */
    readonly status: Uint8Array | null,
    /** How many other pictures match each cell's direction at least as well as its own. */
    readonly rank: Int32Array | null,
    /** Whether each picture may be relied on; null where the store has not derived that. */
    readonly reliable: ArrayLike<number> | null,
  ) {
    this.entry = new Int32Array(side * side).fill(-1);
    filled.forEach((cell, entry) => (this.entry[cell] = entry));
  }

  cellAt(column: number, row: number): number {
    return column < 0 || row < 0 || column >= this.side || row >= this.side ? -1 : row * this.side + column;
  }

  entryAt({ column, row }: { column: number; row: number }): number {
    return this.entry[this.cellAt(column, row)] ?? -1;
  }

  placeOf(cell: number): Place {
    return { side: this.side, column: cell % this.side, row: Math.floor(cell / this.side) };
  }

  /** Why a picture should not be relied on; null where it may, or nobody knows. */
  doubt(entry: number): "absent" | "failed" | "rank" | null {
    const status = this.status?.[entry] ?? Status.ABSENT;
    if (status === Status.ABSENT) return "absent";
    if (status !== Status.OK) return "failed";
    return this.reliable && !this.reliable[entry] ? "rank" : null;
  }
}

/** The filled cell that lies next from `from` towards (right, down): the nearest, and rather straight ahead. */
export function neighbour(cells: Cells, from: { column: number; row: number }, right: number, down: number): number {
  let best = -1;
  let least = Infinity;
  for (const cell of cells.filled) {
    const [x, y] = [(cell % cells.side) - from.column, Math.floor(cell / cells.side) - from.row];
    const ahead = x * right + y * down;
    const aside = Math.abs(x * down) + Math.abs(y * right);
    if (ahead > 0 && aside <= ahead && ahead + 2 * aside < least) [best, least] = [cell, ahead + 2 * aside];
  }
  return best;
}

/** The filled cell nearest to a point of the map, in sides of it; -1 where there is none. */
export function nearestTo(cells: Cells, x: number, y: number): number {
  let best = -1;
  let least = Infinity;
  for (const cell of cells.filled) {
    const far = Math.hypot(((cell % cells.side) + 0.5) / cells.side - x, (Math.floor(cell / cells.side) + 0.5) / cells.side - y);
    if (far < least) [best, least] = [cell, far];
  }
  return best;
}
