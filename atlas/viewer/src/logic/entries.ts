/** What the catalogue of a store says: the network, its layers, the images, and how much of each is there. */

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
export interface ImagesEntry {
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
  /** Whether of each activation only the highest and lowest attributions are known. */
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
  images?: ImagesEntry | null;
  /** The layers that similar and excited units were sought in, by the numbers that the store gives them. */
  relations?: string[] | null;
  /** Whether the store names the network's classes; older ones do not say. */
  named?: boolean;
  layers: LayerEntry[];
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

/** The layers of similar and excited units, in the order of their numbers; undefined for one that is not there. */
export function relatedLayers({ relations, layers }: Catalogue): (LayerEntry | undefined)[] {
  return (relations ?? []).map((related) => layers.find(({ name }) => name === related));
}
