/**
 * One activation atlas, opened: its grids, what is known of their cells, and their pictures.
 *
 *     layer, map -> Atlas -> Grid -> Cells: what is drawn of all
 *                                 -> cell -> labels, patches, samples, units
 *
 * Of a grid what is drawn is read whole, a few numbers a cell; anything else for the one cell that is asked for.
 */
import * as zarr from "zarrita";
import { Cells } from "../logic/cells";
import type { AtlasEntry, GridEntry, LayerEntry } from "../logic/entries";
import { boxAt, scored, type Scored } from "../logic/statistics";
import { Columns, openGroup, type Ranged } from "./columns";
import { forgetDerived, openDerived, type Derived } from "./derived";
import { Gallery, openPictures } from "./gallery";
import { once } from "./once";
import { isDamage, Problem, sound } from "./problems";
import type { Folder } from "./store";
import { Tiles } from "./tiles";

/** Real patches beside a cell. */
export const PATCHES = 4;
/** Units that a cell's direction is told by. */
const UNITS = 8;
/** Pictures in one round. */
const PICTURES = 16;
/** Tiles are ten times as large: so many stay below half a megabyte together. */
const TILES = 6;

export interface Label extends Scored {
  /** Share of resamplings of the cell's samples in which it ranks at least as high, 0 to 1. */
  stability: number;
  /** Null where the store has not derived it. */
  reliable: boolean | null;
}

export interface Sample {
  image: number;
  cosine: number;
  /** What its position saw: left, top, right, bottom in pixels of the image; null where it is not measured. */
  box: number[] | null;
}

/** What is derived of a grid: the arrays of its layer that lie under its path. */
interface DerivedGrid {
  of: Derived;
  path: string;
}

export class Grid {
  #cells: Promise<Cells> | undefined;

  constructor(
    readonly entry: GridEntry,
    readonly columns: Columns,
    readonly icons: Columns,
    readonly boxes: Columns,
    /** Pictures of cells, `(entry, 0)`, and of what their nearest samples saw, `(entry, rank)`. */
    readonly picture: Gallery,
    readonly patch: Gallery,
    /** The grid's own tiles, then each half of the one before. */
    readonly levels: Tiles[],
    readonly samples: Columns,
    readonly derived: DerivedGrid | null,
  ) {}

  get side(): number {
    return this.entry.side;
  }

  cells(): Promise<Cells> {
    this.#cells ??= this.#read();
    this.#cells.catch(() => (this.#cells = undefined));
    return this.#cells;
  }

  async #read(): Promise<Cells> {
    const pictured = this.entry.pictured;
    const [count, cell, status, rank, reliable] = await Promise.all([
      this.columns.whole("count"),
      this.columns.whole("cell"),
      pictured ? this.icons.whole("status") : null,
      pictured ? this.icons.whole("rank") : null,
      pictured && this.derived ? this.derived.of.whole(`${this.derived.path}/picture_reliable`, this.side ** 2) : null,
    ]);
    const end = cell.indexOf(-1);
    const filled = (end < 0 ? cell : cell.subarray(0, end)) as Int32Array;
    return new Cells(this.side, count as Int32Array, filled, status as Uint8Array | null, rank as Int32Array | null, reliable);
  }

  async labels(entry: number): Promise<Label[]> {
    const [reliable, label, attribution, stability] = await Promise.all([
      this.derived?.of.row(`${this.derived.path}/label_reliable`, entry),
      ...["label", "label_strength", "label_frequency"].map((name) => this.columns.row(name, entry)),
    ]);
    return scored(label!, attribution!).map((one, at) => ({ ...one, stability: stability![at]!, reliable: reliable ? Boolean(reliable[at]) : null }));
  }

  /** What the samples nearest to the cell's direction saw, as addresses of pictures; empty for one that is damaged. */
  async seen(entry: number, signal: AbortSignal): Promise<string[]> {
    if (!this.patch.side) return [];
    const sample = await this.columns.row("sample", entry);
    const ranks = Array.from({ length: PATCHES }, (_, rank) => rank).filter((rank) => sample[rank]! >= 0);
    const torn = (error: unknown) => {
      if (isDamage(error)) return "";
      throw error;
    };
    const found = await Promise.all(ranks.map((rank) => this.patch.picture(entry, rank, signal).catch(torn)));
    return found.filter((address) => address !== null);
  }

  /** The real samples nearest to the cell's direction, the nearest first. */
  async nearest(entry: number): Promise<Sample[]> {
    const [sample, cosine, box] = await Promise.all([
      this.columns.row("sample", entry),
      this.columns.row("cosine", entry),
      this.entry.patched ? this.boxes.row("box", entry) : null,
    ]);
    const there = [...sample].filter((number) => number >= 0);
    const images = await Promise.all(there.map((number) => this.samples.row("image", number)));
    return there.map((_, rank) => ({ image: images[rank]![0]!, cosine: cosine[rank]!, box: rank < PATCHES ? boxAt(box, rank) : null }));
  }

  /** The channels with the largest components of the cell's direction. */
  async units(entry: number): Promise<Scored[]> {
    const direction = await this.columns.row("direction", entry);
    const all = Array.from(direction, (value, index) => ({ index, value })).filter(({ value }) => value > 0);
    return all.sort((a, b) => b.value - a.value).slice(0, UNITS);
  }

  /** Mean attribution of every filled cell to a class. */
  async attribution(number: number): Promise<Float32Array> {
    return (await this.columns.row("strength", number)) as Float32Array;
  }
}

export class Atlas {
  constructor(
    readonly layer: LayerEntry,
    readonly map: string,
    readonly entry: AtlasEntry,
    /** Those whose cells are known, from coarse to fine. */
    readonly grids: Grid[],
    /** Trustworthiness of the layout, and agreement of two seeds. */
    readonly quality: { trustworthiness: number; agreement: number } | null,
    readonly derived: Derived | null,
  ) {}

  grid(side: number): Grid | undefined {
    return this.grids.find((grid) => grid.side === side);
  }
}

const opened = new WeakMap<AtlasEntry, Promise<Atlas>>();

/** The open atlas of a layer's map; asked for once, and again after it failed. */
export function openAtlas(store: Folder, layer: LayerEntry, map: string): Promise<Atlas> {
  const entry = layer.atlases?.[map];
  if (!entry) return Promise.reject(new Problem("unknown", `${layer.name} has no map ${map}`, "Its maps are chosen when it is built."));
  const folder = store.folder("layers", layer.key).owing(() => true);
  return once(opened, entry, () => sound(`The atlas of ${layer.name}`, () => open(store, folder, layer, map, entry)));
}

/** Read the layer's atlases anew when they are asked for next. */
export function forgetAtlases(layer: LayerEntry): void {
  Object.values(layer.atlases ?? {}).forEach((entry) => opened.delete(entry));
  forgetDerived(layer);
}

async function open(store: Folder, folder: Folder, layer: LayerEntry, map: string, entry: AtlasEntry): Promise<Atlas> {
  const known = entry.grids.filter(({ filled }) => filled !== null);
  if (known.length === 0) throw notYet(layer, map);
  const [root, derived] = await Promise.all([openGroup(folder), openDerived(store, layer)]);
  const place = root.resolve(`atlas/${map}`);
  const samples = new Columns(root.store, root.resolve("activations"));
  const grids = await Promise.all(known.map((grid, nth) => openGrid(root, place.resolve(String(grid.side)), grid, nth === 0, samples, derived && { of: derived, path: `atlas/${map}/${grid.side}` })));
  const quality = await new Columns(root.store, place).whole("quality").then(
    ([trustworthiness, agreement]) => ({ trustworthiness: trustworthiness!, agreement: agreement! }),
    () => null,
  );
  return new Atlas(layer, map, entry, grids, quality, derived);
}

async function openGrid(root: zarr.Location<Ranged>, place: zarr.Location<Ranged>, entry: GridEntry, first: boolean, samples: Columns, derived: DerivedGrid | null): Promise<Grid> {
  const [patches, icons, tiles] = ["patches", "icons", "tiles"].map((name) => place.resolve(name)) as [typeof place, typeof place, typeof place];
  const [patch, picture, ...levels] = await Promise.all([
    entry.patched && (await hasPhotographs(patches)) ? openPictures(patches, "picture") : null,
    entry.pictured ? openPictures(icons, "image") : null,
    ...levelNames(first ? entry.side : 0).map((name) => (entry.tiled ? openPictures(tiles, name) : null)),
  ]);
  return new Grid(
    entry,
    new Columns(root.store, place),
    new Columns(root.store, icons),
    new Columns(root.store, patches),
    new Gallery(picture ?? null, PICTURES),
    new Gallery(patch ?? null, PICTURES, (row, rank) => [row, rank]),
    levels.filter((level) => level !== null && level !== undefined).map((level, halvings) => new Tiles(new Gallery(level, TILES, (tile) => [tile]), entry.side, halvings)),
    samples,
    derived,
  );
}

/** The grid's own tiles, and where it is the first those of each halving until one tile holds it. */
function levelNames(side: number): string[] {
  const names = ["tile"];
  for (let halvings = 1; side * 80 > 400 << (halvings - 1); halvings++) names.push(`below-${halvings}`);
  return names;
}

/** Whether what the samples saw was cut out, or its place alone is known. */
async function hasPhotographs(patches: zarr.Location<Ranged>): Promise<boolean> {
  const { attrs } = await zarr.open.v3(patches, { kind: "group" });
  return (attrs.recipe as { sampling?: { photographs?: boolean } } | undefined)?.sampling?.photographs !== false;
}

function notYet(layer: LayerEntry, map: string): Problem {
  return new Problem("missing", `The atlas of ${layer.name} is in the making`, `Its activations are collected or laid out; no cell of the map ${map} is known yet.`, [{ label: "atlas status STORE" }]);
}
