/**
 * What the units of a layer answered to the images that were shown.
 *
 *     unit -> statistics, histogram, examples, classes, similar units
 */
import { COLUMNS } from "../logic/columns";
import { boxAt, EXTREMES, scored, type Beside, type Example, type Extreme, type Histogram, type Overview, type Scored, type Statistics } from "../logic/statistics";
import type { Columns } from "./columns";
import type { Derived } from "./derived";
import { Gallery } from "./gallery";
import { damaged } from "./problems";

export class Answers {
  /** Pictures of examples, `(unit, rank)`; what is not there is null. */
  readonly pictures: readonly [Gallery, Gallery];
  #overview: Promise<Overview> | undefined;

  /**
   * `examples` are there as soon as they are measured: boxes and, in stores with photographs, pictures. `derived` asks for what
   * follows from all of it.
   */
  constructor(
    readonly statistics: Columns,
    readonly examples: Columns | null,
    pictures: readonly [Gallery, Gallery],
    readonly derived: () => Promise<Derived | null>,
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
      found.push({ rank, image: image![at]!, crop: crop![at]!, value: value![at]!, box: boxAt(box, at) });
    }
    return found;
  }

  async numbers(unit: number): Promise<Statistics> {
    const names = ["mean", "std", "least", "largest", "active_positions", "active_images", "nan"];
    const [derived, quantiles, ...rows] = await Promise.all([this.derived(), ...["quantile", ...names].map((name) => this.statistics.row(name, unit))]);
    const [mean, std, min, max, activePositions, activeImages, nan] = rows.map((row) => row[0]) as [number, number, number, number, number, number, number];
    return { mean, std, min, max, activePositions, activeImages, nan, quantiles: [...quantiles!], levels: derived?.constants.quantiles ?? null };
  }

  /** The columns that a unit's page shows as a table. */
  async table(unit: number): Promise<{ name: string; title: string; value: number }[]> {
    return Promise.all(
      COLUMNS.map(async ({ name, title, arrays = [name], value = (only: number) => only }) => {
        const rows = await Promise.all(arrays.map((array) => this.statistics.row(array, unit)));
        return { name, title, value: value(...rows.map((row) => row[0]!)) };
      }),
    );
  }

  async histogram(unit: number): Promise<Histogram> {
    const [counts, edges] = await Promise.all([this.statistics.row("histogram", unit), this.statistics.whole("edge")]);
    return { counts: [...counts], edges: [...edges] };
  }

  /** What of the examples a unit's pictures are compared with: the values of the best and of the worst; whether it never fired. */
  async beside(unit: number): Promise<Beside> {
    const [value, derived] = await Promise.all([this.statistics.row("example_value", unit), this.derived()]);
    const [dead, ratios] = await Promise.all([derived?.row("dead", unit), derived?.row("ratio", unit)]);
    const [top, bottom] = [value[0]!, value[value.length / EXTREMES.length]!];
    return { top, bottom, dead: dead ? Boolean(dead[0]) : null, ratios: ratios ?? null, derived: derived !== null };
  }

  /** How many images and positions the statistics were measured on. */
  async seen(): Promise<{ images: number; positions: number }> {
    const [images, positions] = await this.statistics.whole("seen");
    return { images: images!, positions: positions! };
  }

  /** The classes of a unit's highest attributions, the highest first. */
  async classes(unit: number): Promise<Scored[]> {
    return scored(await this.statistics.row("class", unit), await this.statistics.row("class_attribution", unit));
  }

  /** The units with the highest attribution to a class, and on how many images it was measured. */
  async unitsOf(number: number): Promise<{ units: Scored[]; images: number }> {
    const [unit, value, images] = await Promise.all(["unit_of_class", "unit_attribution", "class_images"].map((name) => this.statistics.row(name, number)));
    return { units: scored(unit!, value!), images: images![0]! };
  }

  /** The most similar units: number of the layer among the store's `relations`, unit, similarity. */
  async similar(unit: number): Promise<{ layer: number; unit: number; similarity: number }[]> {
    const [layer, other, similarity] = await Promise.all(["layer", "unit", "likeness"].map((name) => this.statistics.row(`neighbour_${name}`, unit)));
    return Array.from(layer!, (one, at) => ({ layer: one, unit: other![at]!, similarity: similarity![at]! })).filter(({ unit }) => unit >= 0);
  }

  /** Asked for once. */
  overview(): Promise<Overview> {
    this.#overview ??= this.#look();
    this.#overview.catch(() => (this.#overview = undefined));
    return this.#overview;
  }

  async #look(): Promise<Overview> {
    const names = ["mean", "active_images", "example_value"];
    const [derived, ...columns] = await Promise.all([this.derived(), ...names.map((name) => this.statistics.whole(name))]);
    const [mean, activeImages, value] = columns as Float32Array[];
    const units = mean!.length;
    if (activeImages!.length !== units || value!.length % (2 * units)) throw damaged(this.statistics.group.path, "holds columns of more or fewer units than others");
    const [dead, ratio] = await Promise.all([derived?.whole("dead", units), derived?.whole("ratio", units)]);
    const width = value!.length / units;
    const top = Float32Array.from({ length: units }, (_, unit) => value![unit * width]!);
    return { mean: mean!, activeImages: activeImages!, top, dead: dead ?? null, ratio: ratio ?? null, derived: derived !== null };
  }
}
