/**
 * The columns of the table `units` that a unit's page shows, as `atlas/catalogue/columns.py` names them.
 *
 *     first number of the unit's row in some arrays of its layer's statistics -> value
 */

export interface Column {
  /** As SQL has it. */
  name: string;
  title: string;
  /** The arrays that it rests on: the one of its name unless said. */
  arrays?: string[];
  /** What follows from them: the number itself unless said. */
  value?: (...numbers: number[]) => number;
}

export const COLUMNS: Column[] = [
  { name: "activation_mean", title: "Mean", arrays: ["mean"] },
  { name: "activation_std", title: "Std", arrays: ["std"] },
  { name: "activation_min", title: "Min", arrays: ["least"] },
  { name: "activation_max", title: "Max", arrays: ["largest"] },
];
