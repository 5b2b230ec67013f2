/** What a store holds, in one small file that is read first. */
import { damaged, Problem } from "./problems";
import { fields, flag, list, maybe, real, table, text, upTo, words, type Shape } from "../logic/shape";
import type { Folder } from "./store";
import { visible } from "../logic/text";

/** Newest major version of a store that this page reads. */
const MAJOR = 1;

export interface Model {
  spec: string;
  title: string;
  random: boolean;
  input: [number, number];
  weights: string;
  labels: number | null;
}

export interface Features {
  variants: string[];
  size: number;
  recipe: string;
  steps: number;
  /** Units asked for so far, and those rendered. */
  units: number;
  done: number;
  /** Whether the numbers and thumbnails are written. */
  pictured: boolean;
}

/** How much is there of a stage that shows the network images. */
export interface Stage {
  asked: number;
  done: number;
  /** Whether its columns are written. */
  written: boolean;
}

/** The images that everything rests on. */
export interface Images {
  count: number;
  /** Of these were looked at so far, and could be shown to the network. */
  done: number;
  used: number;
  crops: number;
  /** Size of the reference set, and every how many images one belongs to it. */
  reference: number;
  step: number;
  classes: number;
  /** Whether the store holds parts of the images. */
  photographs: boolean;
  /** How many images came to each status. */
  statuses?: Record<string, number>;
}

/** One grid of an atlas, and how much of it is there. */
export interface GridEntry {
  /** Cells along each edge. */
  side: number;
  /** Cells with enough samples; null until they are known. */
  filled: number | null;
  /** Whether the real patches, the numbers of the pictures and the tiles are written. */
  patched: boolean;
  pictured: boolean;
  tiled: boolean;
}

/** One activation atlas of a layer. */
export interface AtlasEntry {
  /** Activations that were collected, and those that have a place on this map. */
  samples: number;
  placed: number | null;
  crops: number;
  positions: number;
  /** Whether of each activation only the classes it speaks most for and most against are known. */
  approximate: boolean;
  /** Whether the layout is written. */
  written: boolean;
  /** From coarse to fine; each has twice the cells of the one before along each edge. */
  grids: GridEntry[];
}

export interface LayerEntry {
  name: string;
  /** Its name as it can be shown. */
  shown: string;
  key: string;
  kind: "conv" | "tokens" | "linear";
  channels: number;
  size: number[];
  stride: number;
  flops: number;
  features?: Features | null;
  statistics?: Stage | null;
  examples?: Stage | null;
  /** Activation atlases by the name of their map: `all`, `winners-207`, `strongest-207`, `pair-207-208`. */
  atlases?: Record<string, AtlasEntry> | null;
}

export interface Catalogue {
  "encoding-type": string;
  "encoding-version": string;
  "written-by"?: string;
  model: Model;
  note: string | null;
  /** Absent where no images were given, as in stores of version 1.0. */
  images?: Images | null;
  /** The layers that neighbours and excited units were sought in, by the numbers that the store gives them. */
  relations?: string[] | null;
  /** Whether the store names the network's classes; older ones do not say. */
  named?: boolean;
  layers: LayerEntry[];
}

export async function readCatalogue(store: Folder): Promise<Catalogue> {
  const bytes = await store.get("catalogue.json");
  const where = store.base.href;
  if (bytes === undefined) {
    throw new Problem("missing", "There is no store here (yet)", `${where} holds no catalogue.json. Build a store, or name another one with ?store=ADDRESS.`, [
      { label: "atlas build MODEL --store STORE" },
      { label: "atlas serve STORE" },
    ]);
  }
  const value = parsed(bytes);
  if (value?.["encoding-type"] !== "atlas-catalogue") {
    throw new Problem("unreadable", "This is no atlas store", `What lies at ${where}catalogue.json is no catalogue, or is damaged: atlas verify STORE --repair makes it anew.`);
  }
  if (parseInt(String(value["encoding-version"])) > MAJOR) {
    const writer = value["written-by"] ?? "a newer atlas-builder";
    throw new Problem("too-new", "This store is newer than this page", `It has version ${value["encoding-version"]}, and this page reads ${MAJOR}.x. Serve it with at least ${writer}.`);
  }
  const wrong = CATALOGUE(value, "");
  if (wrong !== null) throw damaged("catalogue.json", `is not what it must be at ${wrong || "its top"}`);
  return shown(value as unknown as Catalogue);
}

function parsed(bytes: Uint8Array): Record<string, unknown> | null {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown> | null;
  } catch {
    return null;
  }
}

/** Most rows of anything, and most cells along an edge of a grid: more are a damaged number, and would take all memory. */
const rows = upTo(2 ** 31);
const units = upTo(2 ** 24);
const stage = maybe(fields({ asked: rows, done: rows, written: flag }));
const grid = fields({ side: upTo(4096), filled: maybe(rows), patched: flag, pictured: flag, tiled: flag });
const map = fields({ samples: rows, placed: maybe(rows), crops: rows, positions: rows, approximate: flag, written: flag, grids: list(grid, ({ side }: GridEntry) => side) });
const pictures = fields({ variants: list(text, (name: string) => name), size: rows, recipe: text, steps: rows, units, done: units, pictured: flag });
const layer = fields({
  name: text,
  // A segment of an address: never one that leads out of the store.
  key: words(/^(?!\.{1,2}$)[^/]+$/),
  kind: text,
  channels: units,
  size: list(rows),
  stride: real,
  flops: real,
  features: maybe(pictures),
  statistics: stage,
  examples: stage,
  atlases: maybe(table(words(/^[a-z0-9-]+$/), map)),
});
const CATALOGUE: Shape = fields({
  "encoding-version": words(/^\d+\.\d+$/),
  model: fields({ spec: text, title: text, random: flag, input: list(rows), weights: text, labels: maybe(rows) }),
  note: maybe(text),
  images: maybe(
    fields({ count: rows, done: rows, used: rows, crops: rows, reference: rows, step: rows, classes: rows, photographs: flag, statuses: maybe(table(text, rows)) }),
  ),
  relations: maybe(list(text)),
  named: maybe(flag),
  layers: list(layer, ({ name }: LayerEntry) => name),
});

/** The catalogue with its words as they can be shown; a layer keeps the name that it is known by. */
function shown(catalogue: Catalogue): Catalogue {
  const { model, note, layers } = catalogue;
  return {
    ...catalogue,
    model: { ...model, title: visible(model.title), spec: visible(model.spec), weights: visible(model.weights) },
    note: note && visible(note),
    layers: layers.map((entry) => ({ ...entry, shown: visible(entry.name), kind: visible(entry.kind) as LayerEntry["kind"], features: entry.features && told(entry.features) })),
  };
}

function told(features: Features): Features {
  return { ...features, variants: features.variants.map(visible), recipe: visible(features.recipe) };
}

/** Whether something that was asked for is still to come. */
export function unfinished({ images, layers }: Catalogue): boolean {
  if (images && images.done < images.count) return true;
  return layers.some(({ features, statistics, examples, atlases }) => {
    if (Object.values(atlases ?? {}).some(({ written, grids }) => !written || grids.some(({ tiled }) => !tiled))) return true;
    if (features && (features.done < features.units || !features.pictured)) return true;
    return [statistics, examples].some((stage) => stage && (stage.done < stage.asked || !stage.written));
  });
}
