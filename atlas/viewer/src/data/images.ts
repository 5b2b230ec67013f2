/**
 * The images that were shown to the network.
 *
 *     number -> path, size, status, classes, what it excites, thumbnail
 *
 * Everything lies in chunks of 1024 images, and only those of the images asked for are read: there may be a million.
 */
import * as zarr from "zarrita";
import type { ImagesEntry } from "../logic/entries";
import { scored, type Scored } from "../logic/statistics";
import { visible } from "../logic/text";
import { Columns, openGroup, type Numbers } from "./columns";
import { Gallery, openPictures } from "./gallery";
import { once } from "./once";
import { damaged, sound } from "./problems";
import { placeOf, Receipts } from "./receipts";
import type { Folder } from "./store";

/** Images a chunk of every column. */
export const CHUNK = 1024;
/** Pictures in one round. */
const THUMBS = 32;

export interface Excited {
  /** Number of the layer among the store's `relations`. */
  layer: number;
  unit: number;
  /** Standard deviations above the unit's mean over the reference set. */
  score: number;
}

export class Images {
  constructor(
    readonly entry: ImagesEntry,
    readonly thumb: Gallery,
    /** What the codes of a status are called. */
    readonly statuses: Map<number, string>,
    readonly columns: Columns,
  ) {}

  get count(): number {
    return this.entry.count;
  }

  async path(number: number): Promise<string> {
    return text(await this.columns.row("path", number));
  }

  /** Why an image could not be used; empty where it could. */
  async reason(number: number): Promise<string> {
    return text(await this.columns.row("reason", number));
  }

  /** Width and height in pixels; zeros where there is no picture. */
  async size(number: number): Promise<[number, number]> {
    const [width, height] = await this.columns.row("size", number);
    return [width!, height!];
  }

  async status(number: number): Promise<string> {
    const [code] = await this.columns.row("status", number);
    return this.statusName(code!);
  }

  statusName(code: number): string {
    return (this.statuses.get(code) ?? `status ${code}`).replaceAll("_", " ");
  }

  /** The image before it in the list with the same content; null where there is none. */
  async sameAs(number: number): Promise<number | null> {
    const [other] = await this.columns.row("same_as", number);
    return other! < 0 ? null : other!;
  }

  /** The predicted classes, with their probabilities. */
  async classes(number: number): Promise<Scored[]> {
    return scored(await this.columns.row("class", number), await this.columns.row("probability", number));
  }

  /** The units that it excites most. */
  async excited(number: number): Promise<Excited[]> {
    const [layer, unit, score] = await Promise.all(["layer", "unit", "score"].map((name) => this.columns.row(`excited_${name}`, number)));
    return Array.from(layer!, (one, at) => ({ layer: one, unit: unit![at]!, score: score![at]! })).filter(({ unit }) => unit >= 0);
  }
}

const opened = new WeakMap<ImagesEntry, Promise<Images>>();

/** The open images of `entry`; asked for once, and again after it failed. */
export function openImages(store: Folder, entry: ImagesEntry): Promise<Images> {
  return once(opened, entry, () => open(store, entry));
}

/** Read the images anew when they are asked for next. */
export function forgetImages(entry: ImagesEntry): void {
  opened.delete(entry);
}

/** What shards of images write, each its rows. */
const OF_SHARDS = ["status", "reason", "size", "class", "probability", "thumb"];
/** What is written with their list, which has a receipt of its own. */
const OF_LIST = ["path", "sha256", "same_as"];

async function open(store: Folder, entry: ImagesEntry): Promise<Images> {
  const shown = new Receipts(store, ["images"]);
  const folder = store.folder("images").owing((key) => {
    const place = placeOf(key);
    if (place && OF_LIST.includes(place.array)) return store.folder("receipts").has("list.json");
    if (place && OF_SHARDS.includes(place.array)) return shown.done(place.index);
    return store.folder("receipts").has("relations.json"); // what images excite is written last of all
  });
  return sound("The metadata of images", async () => {
    const group = await zarr.open.v3(await openGroup(folder), { kind: "group" });
    const thumb = entry.photographs ? await openPictures(group, "thumb") : null;
    const statuses = Object.entries(group.attrs.statuses as Record<string, number>).map(([name, code]) => [code, visible(name)] as const);
    if (statuses.length === 0) throw damaged("images/zarr.json", "does not say what its statuses mean");
    return new Images(entry, new Gallery(thumb, THUMBS, (image) => [image]), new Map(statuses), new Columns(group.store, group));
  });
}

function text(bytes: Numbers): string {
  const row = bytes as Uint8Array;
  const end = row.indexOf(0);
  return visible(new TextDecoder().decode(end < 0 ? row : row.subarray(0, end)));
}
