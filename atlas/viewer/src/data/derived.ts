/**
 * What the store derives of a layer's numbers: which units are dead, ratios, and which pictures and labels of cells are reliable.
 *
 *     catalogue entry -> derived arrays, rows of one | null, where the store has none
 *
 * The rules are Python's (`atlas.catalogue.derived`): nothing of this is computed here. One request reads the metadata of all
 * arrays of a layer.
 */
import * as zarr from "zarrita";
import type { LayerEntry } from "../logic/entries";
import { fields, list, real } from "../logic/shape";
import { Columns, openGroupIfAny, type Group, type Numbers } from "./columns";
import { once } from "./once";
import { damaged, sound } from "./problems";
import type { Folder } from "./store";

/** The constants of the rules. */
export interface Constants {
  /** Shares of the positions that lie below each of a unit's quantiles. */
  quantiles: number[];
  /** A reliable picture ranks within this share of its grid's; a reliable label has so many samples and this stability. */
  reliable: { rank: number; samples: number; stability: number };
}

const CONSTANTS = fields({ quantiles: list(real), reliable: fields({ rank: real, samples: real, stability: real }) });

export class Derived {
  readonly #columns: Columns;

  constructor(
    readonly group: Group,
    readonly constants: Constants,
  ) {
    this.#columns = new Columns(group.at.store, group.at);
  }

  /** All of an array, `rows` of them; null where what it follows from is not written yet. */
  async whole(name: string, rows: number): Promise<Numbers | null> {
    if (!this.group.arrays.has(name)) return null;
    const numbers = await this.#columns.whole(name);
    if (numbers.length % rows) throw damaged(this.#columns.store.nameOf(name), `is not of ${rows} rows`);
    return numbers;
  }

  /** A row of it; null as `whole`. */
  async row(name: string, row: number): Promise<Numbers | null> {
    return this.group.arrays.has(name) ? this.#columns.row(name, row) : null;
  }
}

const opened = new Map<string, Promise<Derived | null>>();

/** What is derived of the layer of `entry`; asked for once, and again after it failed or was forgotten. */
export function openDerived(store: Folder, entry: LayerEntry): Promise<Derived | null> {
  return once(opened, entry.key, () => sound(`What is derived of ${entry.name}`, () => open(store, entry)));
}

/** Read it anew when it is asked for next. */
export function forgetDerived(entry: LayerEntry): void {
  opened.delete(entry.key);
}

async function open(store: Folder, entry: LayerEntry): Promise<Derived | null> {
  const group = await openGroupIfAny(store.folder("layers", entry.key, "derived").owing((key) => key !== "/zarr.json"));
  if (group === null) return null;
  const { attrs } = await zarr.open.v3(group.at, { kind: "group" });
  if (CONSTANTS(attrs, "") !== null) throw damaged(group.at.store.nameOf("zarr.json"), "does not say what its numbers mean");
  return new Derived(group, attrs as unknown as Constants);
}
