/**
 * One layer, opened: its pictures and numbers.
 *
 *     catalogue entry -> layer -> (unit, variant) -> picture | status, mean, peak
 *
 * One request reads the layer's metadata, one the index of a shard, one a run of neighbouring pictures.
 */
import * as zarr from "zarrita";
import type { LayerEntry } from "./catalogue";
import { Gallery } from "./gallery";
import { Problem } from "./problems";
import type { Folder } from "./store";
import { Status } from "./words";

/**
 * Pictures this near in a file are read with one request, bytes. Zarr writes the pictures of a shard as unit 0 and 1
 * positive, then 0 and 1 negative, and so on: between two of a sign lie up to two of the other, 5 KB each and at most 8.3.
 */
const GAP = 17 * 1024;
/** Pictures in one round: with a gap between any two of them, no request grows past a megabyte. */
const THUMBS = 40;
const IMAGES = 16;

export interface Numbers {
  status: Uint8Array;
  mean: Float32Array;
  peak: Float32Array;
}

export class Layer {
  constructor(
    readonly entry: LayerEntry,
    readonly variants: string[],
    readonly attributes: Record<string, unknown>,
    readonly image: Gallery,
    readonly thumb: Gallery,
    readonly numbers: Numbers,
  ) {}

  /** Where unit and variant stand in the columns. */
  at(unit: number, variant: number): number {
    return unit * this.variants.length + variant;
  }

  status(unit: number, variant: number): Status {
    return this.numbers.status[this.at(unit, variant)] ?? Status.ABSENT;
  }

  /** Whether the columns say that this unit was rendered. */
  rendered(unit: number): boolean {
    return this.variants.some((_, variant) => this.status(unit, variant) !== Status.ABSENT);
  }

  /** What a wall shows: thumbnails, or the pictures themselves as long as there are none. */
  get wall(): Gallery {
    return this.entry.features?.pictured ? this.thumb : this.image;
  }
}

const opened = new Map<string, Promise<Layer>>();

/** The open layer of `entry`; asked for once, and again after it failed or was forgotten. */
export function openLayer(store: Folder, entry: LayerEntry): Promise<Layer> {
  const known = opened.get(entry.key);
  if (known) return known;
  const layer = open(store.folder("layers", entry.key), entry);
  opened.set(entry.key, layer);
  layer.catch(() => opened.delete(entry.key));
  return layer;
}

/** Read the layer anew when it is asked for next. */
export function forget(entry: LayerEntry): void {
  opened.delete(entry.key);
}

async function open(folder: Folder, entry: LayerEntry): Promise<Layer> {
  if (!entry.features) throw notYet(entry);
  const store = zarr.withRangeCoalescing(await zarr.withMaybeConsolidatedMetadata(folder, { format: "v3" }), { coalesceSize: GAP });
  const group = await zarr.open.v3(zarr.root(store).resolve("features"), { kind: "group" }).catch((error) => {
    throw error instanceof zarr.NotFoundError ? notYet(entry) : error;
  });
  const array = (name: string) => zarr.open.v3(group.resolve(name), { kind: "array" });
  const [image, thumb, ...columns] = await Promise.all(["image", "thumb", "status", "mean", "peak"].map(array));
  // A column is a single chunk.
  const [status, mean, peak] = await Promise.all(columns.map(async (column) => (await column.getChunk([0, 0])).data));
  return new Layer(
    entry,
    entry.features.variants,
    group.attrs,
    new Gallery(image as zarr.Array<"uint8">, IMAGES),
    new Gallery(thumb as zarr.Array<"uint8">, THUMBS),
    { status: status as Uint8Array, mean: mean as Float32Array, peak: peak as Float32Array },
  );
}

function notYet(entry: LayerEntry): Problem {
  return new Problem("missing", `Nothing was rendered of ${entry.name} yet`, "Its channels are known, their pictures are not made.", [
    { label: `atlas build MODEL --layers '${entry.name}'` },
  ]);
}
