/**
 * Which objects must be there.
 *
 * A reader of Zarr takes an object that is gone for one that was never written, and its numbers for the array's fill value. The
 * store writes every object of an array, also one of nothing but fill values: so one that is gone is damage once its shard or
 * reduce is done. The catalogue says so of reduces, receipts and manifests of shards; they are asked for only where something
 * is gone.
 */
import { once } from "./once";
import type { Folder } from "./store";

/** The shards of a stage that are done. */
export class Receipts {
  readonly #known = new Map<number, Promise<boolean>>();
  #all: Promise<boolean> | undefined;

  /** `path` is that of the plan: `["features", LAYER]`, `["images"]`. */
  constructor(
    readonly store: Folder,
    readonly path: string[],
  ) {}

  /** Whether a shard is done, asked for once: a receipt of its own says so, or the manifest that all were folded into. */
  done(shard: number): Promise<boolean> {
    return once(this.#known, shard, () => this.#look(shard));
  }

  async #look(shard: number): Promise<boolean> {
    if (await this.store.folder("receipts", ...this.path).has(`${String(shard).padStart(5, "0")}.json`)) return true;
    this.#all ??= this.store.folder("manifests", ...this.path.slice(0, -1)).has(`${this.path.at(-1)}.json`);
    return this.#all;
  }
}

/** The array that an object belongs to, and its number along the first axis: `features/image/c/3/0` -> `features/image`, 3. */
export function placeOf(key: string): { array: string; index: number } | null {
  const [, array, index] = /^\/?(.+)\/c\/(\d+)(?:\/\d+)*$/.exec(key) ?? [];
  return array === undefined ? null : { array, index: Number(index) };
}
