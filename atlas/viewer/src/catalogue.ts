/** What a store holds, in one small file that is read first. */
import { Problem } from "./problems";
import type { Folder } from "./store";

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

export interface LayerEntry {
  name: string;
  key: string;
  kind: "conv" | "tokens" | "linear";
  channels: number;
  size: number[];
  stride: number;
  flops: number;
  features?: Features | null;
}

export interface Catalogue {
  "encoding-type": string;
  "encoding-version": string;
  "written-by"?: string;
  model: Model;
  note: string | null;
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
  const catalogue = parseCatalogue(bytes);
  if (catalogue === null) {
    throw new Problem("unreadable", "This is no atlas store", `What lies at ${where}catalogue.json is no catalogue.`);
  }
  if (parseInt(catalogue["encoding-version"]) > MAJOR) {
    const writer = catalogue["written-by"] ?? "a newer atlas-builder";
    throw new Problem("too-new", "This store is newer than this page", `It has version ${catalogue["encoding-version"]}, and this page reads ${MAJOR}.x. Serve it with at least ${writer}.`);
  }
  return catalogue;
}

function parseCatalogue(bytes: Uint8Array): Catalogue | null {
  try {
    const value = JSON.parse(new TextDecoder().decode(bytes));
    return value["encoding-type"] === "atlas-catalogue" ? value : null;
  } catch {
    return null;
  }
}

/** Whether some pictures that were asked for are still to come. */
export function unfinished(catalogue: Catalogue): boolean {
  return catalogue.layers.some(({ features }) => features && (features.done < features.units || !features.pictured));
}
