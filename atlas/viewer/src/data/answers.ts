/**
 * What the units of a layer answered to the images that were shown.
 *
 *     unit -> statistics, histogram, examples, classes, neighbours
 */
import type { Columns } from "./columns";
import { Gallery } from "./gallery";
import { damaged } from "./problems";

export const EXTREMES = ["top", "bottom"] as const;
/** Place of an extreme in the store. */
export type Extreme = 0 | 1;
/** Shares of the positions that lie below each of a unit's quantiles. */
export const QUANTILES = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/** An image that drives a unit far up or down. */
export interface Example {
  rank: number;
  image: number;
  /** Which crop of the image; 0 is the one that the network is evaluated on. */
  crop: number;
  value: number;
  /** What the unit saw of it: left, top, right, bottom in pixels of the image; null where it is not measured. */
  box: number[] | null;
}

export interface Statistics {
  mean: number;
  std: number;
  least: number;
  largest: number;
  /** Shares above zero of the positions, and of the images. */
  activePositions: number;
  activeImages: number;
  quantiles: number[];
  /** Positions whose value is no number. */
  nan: number;
}

export interface Histogram {
  counts: number[];
  /** One more than counts, rising. */
  edges: number[];
}

/** A number of something: a class and how much a unit does for it, a unit and how much it is alike. */
export interface Scored {
  index: number;
  value: number;
}

export interface Beside {
  top: number;
  bottom: number;
  silent: boolean;
}

/** What a wall needs of every unit of a layer. */
export interface Overview {
  mean: Float32Array;
  activeImages: Float32Array;
  /** Of the best and of the worst example, NaN where there is none. */
  top: Float32Array;
  bottom: Float32Array;
  silent: Uint8Array;
}

export class Answers {
  /** Pictures of examples, `(unit, rank)`; what is not there is null. */
  readonly pictures: readonly [Gallery, Gallery];
  #overview: Promise<Overview> | undefined;

  /** `examples` are there as soon as they are measured: boxes and, in stores with photographs, pictures. */
  constructor(
    readonly statistics: Columns,
    readonly examples: Columns | null,
    pictures: readonly [Gallery, Gallery],
  ) {
    this.pictures = pictures;
  }

  async strongest(unit: number, extreme: Extreme): Promise<Example[]> {
    const [image, value, crop, box] = await Promise.all([
      ...["image", "value", "crop"].map((name) => this.statistics.row(`example_${name}`, unit)),
      this.examples?.row("box", unit),
    ]);
    const count = image!.length / EXTREMES.length;
    const found: Example[] = [];
    for (let rank = 0; rank < count; rank++) {
      const at = extreme * count + rank;
      if (image![at]! < 0) break;
      const sides = box ? [...box.subarray(4 * at, 4 * at + 4)] : [];
      found.push({
        rank,
        image: image![at]!,
        crop: crop![at]!,
        value: value![at]!,
        box: sides.length && sides.every(Number.isFinite) ? sides : null,
      });
    }
    return found;
  }

  async numbers(unit: number): Promise<Statistics> {
    const names = ["mean", "std", "least", "largest", "active_positions", "active_images", "nan"];
    const [quantiles, ...rows] = await Promise.all(["quantile", ...names].map((name) => this.statistics.row(name, unit)));
    const [mean, std, least, largest, activePositions, activeImages, nan] = rows.map((row) => row[0]) as [number, number, number, number, number, number, number];
    return { mean, std, least, largest, activePositions, activeImages, nan, quantiles: [...quantiles!] };
  }

  async histogram(unit: number): Promise<Histogram> {
    const [counts, edges] = await Promise.all([this.statistics.row("histogram", unit), this.statistics.whole("edge")]);
    return { counts: [...counts], edges: [...edges] };
  }

  /** What of the examples a unit's pictures are compared with: the values of the best and of the worst; whether it never fired. */
  async beside(unit: number): Promise<Beside> {
    const { statistics } = this;
    const [value, least, largest] = await Promise.all([statistics.row("example_value", unit), statistics.whole("least"), statistics.whole("largest")]);
    const [top, bottom] = [value[0]!, value[value.length / EXTREMES.length]!];
    return { top, bottom, silent: isSilent(top, isSigned(least), least[unit] === largest[unit]) };
  }

  /** How many images and positions the statistics rest on. */
  async seen(): Promise<{ images: number; positions: number }> {
    const [images, positions] = await this.statistics.whole("seen");
    return { images: images!, positions: positions! };
  }

  /** The classes that a unit does most for, the strongest first. */
  async classes(unit: number): Promise<Scored[]> {
    return scored(await this.statistics.row("class", unit), await this.statistics.row("class_attribution", unit));
  }

  /** The units that do most for a class, and on how many images that rests. */
  async unitsOf(number: number): Promise<{ units: Scored[]; images: number }> {
    const [unit, value, images] = await Promise.all(["unit_of_class", "unit_attribution", "class_images"].map((name) => this.statistics.row(name, number)));
    return { units: scored(unit!, value!), images: images![0]! };
  }

  /** The units that answer most alike: number of the layer among the store's `relations`, unit, likeness. */
  async neighbours(unit: number): Promise<{ layer: number; unit: number; likeness: number }[]> {
    const [layer, other, likeness] = await Promise.all(["layer", "unit", "likeness"].map((name) => this.statistics.row(`neighbour_${name}`, unit)));
    return Array.from(layer!, (one, at) => ({ layer: one, unit: other![at]!, likeness: likeness![at]! })).filter(({ unit }) => unit >= 0);
  }

  /** Asked for once. */
  overview(): Promise<Overview> {
    this.#overview ??= this.#look();
    this.#overview.catch(() => (this.#overview = undefined));
    return this.#overview;
  }

  async #look(): Promise<Overview> {
    const names = ["mean", "active_images", "least", "largest", "example_value"];
    const [mean, activeImages, least, largest, value] = (await Promise.all(names.map((name) => this.statistics.whole(name)))) as Float32Array[];
    const units = mean!.length;
    if ([activeImages, least, largest].some((column) => column!.length !== units) || value!.length % (2 * units)) throw damaged(this.statistics.group.path, "holds columns of more or fewer units than others");
    const width = value!.length / units;
    const top = Float32Array.from({ length: units }, (_, unit) => value![unit * width]!);
    const bottom = Float32Array.from({ length: units }, (_, unit) => value![unit * width + width / 2]!);
    const signed = isSigned(least!);
    const silent = Uint8Array.from({ length: units }, (_, unit) => Number(isSilent(top[unit]!, signed, least![unit] === largest![unit])));
    return { mean: mean!, activeImages: activeImages!, top, bottom, silent };
  }
}

/** Whether a layer has values on both sides of zero. */
function isSigned(least: ArrayLike<number>): boolean {
  return Array.from(least).some((value) => value < 0);
}

/** Whether a unit never fired: no crop drove it above zero. In a `signed` layer a value below zero says as much as one above. */
function isSilent(top: number, signed: boolean, constant: boolean): boolean {
  return top <= 0 && (constant || !signed);
}

/** How far a picture drives a unit beside its best example; NaN where that is none, zero or of the other sign. */
export function ratioOf(peak: number, example: number, negative: boolean): number {
  return (negative ? -example : example) > 0 ? peak / example : NaN;
}

/** `indices` with their `values`; a place that stays empty is -1. */
export function scored(indices: ArrayLike<number>, values: ArrayLike<number>): Scored[] {
  return Array.from(indices, (index, at) => ({ index, value: values[at]! })).filter(({ index }) => index >= 0);
}
