/**
 * Which units a wall shows, and in which order.
 *
 *     (layer, arrangement) -> unit indices
 */
import type { LayerEntry } from "./entries";
import type { Overview } from "./statistics";
import { Status, statusName } from "./words";

export const SORTS = ["index", "objective_peak", "objective", "ratio", "agreement", "activation", "images", "example"] as const;
export type Sort = (typeof SORTS)[number];
/** What addresses called the face of images before. */
const FORMER = "best example";
/** Which numbers units can be sorted by, in words: those of a picture, and those of what images did. */
export const OF_PICTURES: Partial<Record<Sort, string>> = { objective_peak: "objective peak", objective: "objective", ratio: "ratio to best image", agreement: "agreement of seeds" };
export const OF_IMAGES: Partial<Record<Sort, string>> = { activation: "mean activation", images: "active images", example: "top activating image" };
export const DEAD = "dead";
/** Names that addresses had before; those that were kept still lead where they did. */
const OLD: Record<string, string> = { peak: "objective_peak", mean: "objective", silent: DEAD };

/** What a wall can show of every unit: a picture that was made, or the image with its highest activation. */
export interface Face {
  name: string;
  /** Place among the variants; null for an image. */
  variant: number | null;
}

/** The numbers of all pictures of a layer, as `at` counts them. */
export interface PictureNumbers {
  objective: Float32Array;
  objectivePeak: Float32Array;
  /** How similar a second seed's picture is to the network; null where it was not asked for. */
  agreement: Float32Array | null;
}

/** What of a layer decides which units a wall shows, and where. */
export interface Arrangeable<F extends Face = Face> {
  entry: Pick<LayerEntry, "channels" | "features">;
  variants: string[];
  /** The one to begin with first. */
  faces: F[];
  numbers: PictureNumbers;
  /** Where unit and variant stand in the columns. */
  at(unit: number, variant: number): number;
  status(unit: number, variant: number): Status;
  /** Whether the columns say that this unit was rendered. */
  rendered(unit: number): boolean;
}

export interface Arrangement<F extends Face = Face> {
  face: F;
  sort: Sort;
  /** A status by its name, `rendered` for every one but absent, `dead`, or `all`. */
  status: string;
}

/** The arrangement that an address asks for; what it does not say, or says wrongly, is as usual. */
export function readArrangement<F extends Face>(query: URLSearchParams, layer: Arrangeable<F>): Arrangement<F> {
  const sort = SORTS.find((name) => name === current(query.get("sort"))) ?? "index";
  const wanted = query.get("variant");
  const face = layer.faces.find(({ name, variant }) => name === wanted || (variant === null && wanted === FORMER)) ?? layer.faces[0]!;
  return { face, sort, status: current(query.get("status")) ?? usual(layer, face) };
}

function current(name: string | null): string | null {
  return name === null ? null : (OLD[name] ?? name);
}

/** What is shown of a face unless said otherwise: whatever has a picture, as soon as it is written which units have one. */
export function usual(layer: Arrangeable, face: Face): string {
  return face.variant === null || !layer.entry.features?.pictured ? "all" : "rendered";
}

/** The query of the address that asks for an arrangement. */
export function writtenArrangement({ face, sort, status }: Arrangement, layer: Arrangeable): URLSearchParams {
  const query = new URLSearchParams();
  if (face !== layer.faces[0]) query.set("variant", face.name);
  if (sort !== "index") query.set("sort", sort);
  if (status !== usual(layer, face)) query.set("status", status);
  return query;
}

export function arrange(layer: Arrangeable, overview: Overview | null, { face, sort, status }: Arrangement): number[] {
  const all = Array.from({ length: layer.entry.channels }, (_, unit) => unit);
  const shown = all.filter((unit) => fits(layer, overview, unit, face, status));
  if (sort === "index") return shown;
  const value = valueOf(layer, overview, face, sort);
  // The strongest first: of a negative's own numbers that is the lowest. What has no number comes last.
  const sign = face.name === "negative" && (sort === "objective_peak" || sort === "objective") ? 1 : -1;
  const key = (unit: number) => (Number.isNaN(value(unit)) ? Infinity : sign * value(unit));
  return shown.sort((a, b) => (key(a) === key(b) ? a - b : key(a) - key(b)));
}

/** The number that units are sorted by; NaN where there is none. */
export function valueOf(layer: Arrangeable, overview: Overview | null, face: Face, sort: Sort): (unit: number) => number {
  // Where a wall shows images, a picture's numbers are those of the first variant.
  const variant = face.variant ?? 0;
  // A unit without a picture has the number of the plain grey that is stored in its place.
  const picture = (column: ArrayLike<number> | null | undefined, unit: number) => (layer.status(unit, variant) === Status.OK ? (column?.[layer.at(unit, variant)] ?? NaN) : NaN);
  switch (sort) {
    case "index":
      return (unit) => unit;
    case "objective_peak":
      return (unit) => picture(layer.numbers.objectivePeak, unit);
    case "objective":
      return (unit) => picture(layer.numbers.objective, unit);
    case "ratio":
      return (unit) => picture(overview?.ratio, unit);
    case "agreement":
      return (unit) => layer.numbers.agreement?.[layer.at(unit, variant)] ?? NaN;
    case "activation":
      return (unit) => overview?.mean[unit] ?? NaN;
    case "images":
      return (unit) => overview?.activeImages[unit] ?? NaN;
    case "example":
      return (unit) => overview?.top[unit] ?? NaN;
  }
}

function fits(layer: Arrangeable, overview: Overview | null, unit: number, face: Face, status: string): boolean {
  if (status === "all") return true;
  if (status === DEAD) return Boolean(overview?.dead?.[unit]);
  if (face.variant === null) return status === "rendered" && layer.rendered(unit);
  // Before the numbers are written, nobody knows which units are there: all are tried.
  if (status === "rendered") return !layer.entry.features?.pictured || layer.rendered(unit);
  return statusName(layer.status(unit, face.variant)) === status;
}

/** How many units of a face came to each status, `[name, count]`. */
export function outcomes(layer: Arrangeable, overview: Overview | null, face: Face): [string, number][] {
  const counts = new Map<Status, number>();
  for (let unit = 0; unit < layer.entry.channels && face.variant !== null; unit++) {
    const status = layer.status(unit, face.variant);
    if (status === Status.COMING) continue;
    counts.set(status, (counts.get(status) ?? 0) + 1);
  }
  const named = [...counts].sort(([a], [b]) => a - b).map(([status, count]): [string, number] => [statusName(status), count]);
  const dead = Array.from(overview?.dead ?? []).filter(Boolean).length;
  return dead ? [...named, [DEAD, dead]] : named;
}
