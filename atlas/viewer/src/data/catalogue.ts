/** What a store holds, in one small file that is read first. */
import type { Catalogue, Features, GridEntry, LayerEntry } from "../logic/entries";
import { fields, flag, list, maybe, parsed, real, table, text, upTo, words, type Shape } from "../logic/shape";
import { visible } from "../logic/text";
import { damaged, Problem } from "./problems";
import type { Folder } from "./store";

/** Newest major version of a store that this page reads. */
const MAJOR = 1;

export async function readCatalogue(store: Folder): Promise<Catalogue> {
  const bytes = await store.get("catalogue.json");
  const where = store.base.href;
  if (bytes === undefined) {
    throw new Problem("missing", "There is no store here (yet)", `${where} holds no catalogue.json. Build a store, or name another one with ?store=ADDRESS.`, [
      { label: "atlas build MODEL --store STORE" },
      { label: "atlas serve STORE" },
    ]);
  }
  const value = parsed(bytes) as Record<string, unknown> | null;
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
