/**
 * One layer, opened: its pictures and numbers.
 *
 *     catalogue entry -> layer -> (unit, variant) -> picture | status, objective, objective peak
 *                              -> what its units answered to images
 *
 * One request reads the layer's metadata, one the index of a shard, one a run of neighbouring pictures. Pictures, statistics
 * and examples may each be there or not.
 */
import * as zarr from "zarrita";
import type { Face, PictureNumbers } from "../logic/arrange";
import type { LayerEntry } from "../logic/entries";
import { toAtlas } from "../logic/routes";
import { EXTREMES } from "../logic/statistics";
import { quoted } from "../logic/text";
import { Status } from "../logic/words";
import { Answers } from "./answers";
import { Columns, openGroup, type Ranged } from "./columns";
import { forgetDerived, openDerived } from "./derived";
import { Gallery, NO_PICTURES, openPictures } from "./gallery";
import { once } from "./once";
import { damaged, Problem, sound } from "./problems";
import { placeOf, Receipts } from "./receipts";
import type { Folder, Owed } from "./store";

/** Pictures in one round: with a gap between any two of them, no request grows past a megabyte. */
const THUMBS = 40;
const IMAGES = 16;

interface Numbers extends PictureNumbers {
  /** Which of several tries was kept; null where there was one. */
  attempt: Uint8Array | null;
}

const NO_NUMBERS: Numbers = { objective: new Float32Array(), objectivePeak: new Float32Array(), agreement: null, attempt: null };

/** What of a recipe decides which numbers there are. */
interface Asked {
  tries?: number;
  agreement?: boolean;
}

/** What was rendered of a layer. */
interface Rendered {
  variants: string[];
  /** How: recipe and numerics. */
  attributes: Record<string, unknown>;
  image: Gallery;
  thumb: Gallery;
  statuses: Uint8Array;
  /** Asks for the numbers. */
  read: () => Promise<Numbers>;
}

const NOTHING: Rendered = { variants: [], attributes: {}, image: NO_PICTURES, thumb: NO_PICTURES, statuses: new Uint8Array(), read: () => Promise.resolve(NO_NUMBERS) };

/** Where the pictures of a face are. */
export interface PicturedFace extends Face {
  gallery: Gallery;
  column: number;
}

export class Layer {
  /** Read by `measured`; empty until then. */
  numbers: Numbers = NO_NUMBERS;
  /** The faces that there are, the one to begin with first. */
  readonly faces: PicturedFace[];

  constructor(
    readonly entry: LayerEntry,
    readonly made: Rendered,
    readonly answers: Answers | null,
  ) {
    const pictures = made.variants.map((name, variant): PicturedFace => ({ name, variant, gallery: this.wall, column: variant }));
    const best: PicturedFace[] = answers ? [{ name: EXAMPLE, variant: null, gallery: answers.pictures[0], column: 0 }] : [];
    this.faces = entry.features?.done ? [...pictures, ...best] : [...best, ...pictures];
  }

  get variants(): string[] {
    return this.made.variants;
  }

  get image(): Gallery {
    return this.made.image;
  }

  get thumb(): Gallery {
    return this.made.thumb;
  }

  /** Where unit and variant stand in the columns. */
  at(unit: number, variant: number): number {
    return unit * this.variants.length + variant;
  }

  /** What became of a picture; until the numbers are written, nobody knows of those that they do not tell of. */
  status(unit: number, variant: number): Status {
    const status = this.made.statuses[this.at(unit, variant)] ?? Status.ABSENT;
    return status === Status.ABSENT && !this.entry.features?.pictured ? Status.COMING : status;
  }

  /** The variants that every unit is known by, by their places: up and down; the others show more of the same. */
  get main(): number[] {
    const places = this.variants.map((_, place) => place).filter((place) => !isMore(this.variants[place]!));
    return places.length ? places : this.variants.map((_, place) => place).slice(0, 1);
  }

  /** The places of the other variants. */
  get more(): number[] {
    return this.variants.map((_, place) => place).filter((place) => !this.main.includes(place));
  }

  /** What may be shown of a unit on a wall of `face`; an example is there or not. */
  shown(unit: number, face: Face): Status {
    return face.variant === null ? Status.OK : this.status(unit, face.variant);
  }

  /** The face that stands for a unit among those of other layers. */
  faceOf(unit: number): PicturedFace | undefined {
    const there = this.faces.find((face) => this.shown(unit, face) !== Status.ABSENT);
    return there ?? this.faces[0];
  }

  /** Whether the columns say that this unit was rendered. */
  rendered(unit: number): boolean {
    return this.variants.some((_, variant) => (this.made.statuses[this.at(unit, variant)] ?? Status.ABSENT) !== Status.ABSENT);
  }

  /** Whether there is a picture of a unit, or of what it saw: of some layers only some units were asked for. */
  async shows(unit: number): Promise<boolean> {
    if (this.entry.features?.pictured ? this.rendered(unit) : this.entry.features?.done) return true;
    const box = await this.answers?.examples?.row("box", unit);
    return Boolean(box && Number.isFinite(box[0]));
  }

  /** What a wall shows: thumbnails, or the pictures themselves as long as there are none. */
  get wall(): Gallery {
    return this.entry.features?.pictured ? this.thumb : this.image;
  }
}

/** Whether a variant is another picture of what activates a unit, beside its first. */
function isMore(variant: string): boolean {
  return variant === "neuron" || variant.startsWith("diverse-");
}

/** A wall of the images that drive units most. */
export const EXAMPLE = "top activating image";

const opened = new Map<string, Promise<Layer>>();

/** The open layer of `entry`, without its numbers; asked for once, and again after it failed or was forgotten. */
export function openLayer(store: Folder, entry: LayerEntry): Promise<Layer> {
  return once(opened, entry.key, () => open(store, entry));
}

/** The open layer of `entry` with its numbers. */
export function measured(store: Folder, entry: LayerEntry): Promise<Layer> {
  return once(opened, `${entry.key}/numbers`, async () => {
    const layer = await openLayer(store, entry);
    layer.numbers = await layer.made.read();
    return layer;
  });
}

/** Read the layer anew when it is asked for next. */
export function forget(entry: LayerEntry): void {
  opened.delete(entry.key);
  opened.delete(`${entry.key}/numbers`);
  forgetDerived(entry);
}

async function open(store: Folder, entry: LayerEntry): Promise<Layer> {
  const { features, statistics } = entry;
  if (!features?.done && !statistics?.written) throw notYet(entry);
  const folder = store.folder("layers", entry.key).owing(owedOf(store, entry));
  return sound(`The metadata of ${entry.name}`, async () => {
    const root = await openGroup(folder);
    const answers = statistics?.written ? await openAnswers(store, root, entry) : null;
    return new Layer(entry, features ? await openRendered(root, entry, features.variants) : NOTHING, answers);
  });
}

/** What of a layer must be there, as its entry in the catalogue and its receipts say. */
function owedOf(store: Folder, { key: layer, features }: LayerEntry): Owed {
  const [rendered, cut] = ["features", "examples"].map((stage) => new Receipts(store, [stage, layer])) as [Receipts, Receipts];
  return (key) => {
    const { array, index } = placeOf(key) ?? {};
    if (array === "features/image") return rendered.done(index!);
    if (array === "examples/picture") return cut.done(index!);
    return array?.startsWith("features/") ? Boolean(features?.pictured) : true;
  };
}

async function openRendered(root: zarr.Location<Ranged>, entry: LayerEntry, variants: string[]): Promise<Rendered> {
  const group = await zarr.open.v3(root.resolve("features"), { kind: "group" });
  const columns = new Columns(root.store, group);
  const [image, thumb, status] = await Promise.all([openPictures(group, "image"), openPictures(group, "thumb"), columns.whole("status")]);
  if (status.length !== entry.channels * variants.length) throw damaged(root.store.nameOf(group.path), `does not hold ${variants.length} pictures of ${entry.channels} units`);
  const { tries = 1, agreement = false } = (group.attrs.recipe ?? {}) as Asked;
  const read = async () => {
    const wanted = ["mean", "peak", agreement && "agreement", tries > 1 && "attempt"] as const;
    const numbers = await Promise.all(wanted.map((name) => (name ? columns.whole(name) : null)));
    if (numbers.some((column) => column && column.length !== status.length)) throw damaged(root.store.nameOf(group.path), "holds more or fewer numbers than pictures");
    return { objective: numbers[0], objectivePeak: numbers[1], agreement: numbers[2], attempt: numbers[3] } as Numbers;
  };
  return { variants, attributes: group.attrs, image: new Gallery(image, IMAGES), thumb: new Gallery(thumb, THUMBS), statuses: status as Uint8Array, read };
}

async function openAnswers(store: Folder, root: zarr.Location<Ranged>, entry: LayerEntry): Promise<Answers> {
  const statistics = new Columns(root.store, root.resolve("statistics"));
  const derived = () => openDerived(store, entry);
  if (!entry.examples?.done) return new Answers(statistics, null, [NO_PICTURES, NO_PICTURES], derived);
  const group = await zarr.open.v3(root.resolve("examples"), { kind: "group" });
  const { photographs } = (group.attrs.recipe ?? {}) as { photographs?: boolean };
  const picture = photographs === false ? null : await openPictures(group, "picture");
  const [top, bottom] = EXTREMES.map((_, extreme) => new Gallery(picture, THUMBS, (unit, rank) => [unit, extreme, rank]));
  return new Answers(statistics, entry.examples.written ? new Columns(root.store, group) : null, [top!, bottom!], derived);
}

function notYet(entry: LayerEntry): Problem {
  const maps = Object.keys(entry.atlases ?? {});
  return new Problem("missing", `Nothing was rendered of ${entry.name} yet`, "Its channels are known, their pictures are not made.", [
    ...(maps.length ? [{ label: "Its activation atlas", href: toAtlas(entry.name, maps[0]) }] : []),
    { label: `atlas build MODEL --layers ${quoted(entry.name)} --store STORE` },
  ]);
}
