/**
 * Which units a wall shows, and in which order.
 *
 *     (layer, view) -> unit indices
 */
import type { Layer } from "./layer";
import { Status, statusName } from "./words";

export const SORTS = ["index", "peak", "mean"] as const;

export interface View {
  variant: number;
  sort: (typeof SORTS)[number];
  /** A status by its name, `rendered` for every one but absent, or `all`. */
  status: string;
}

/** The view that an address asks for; what it does not say, or says wrongly, is as usual. */
export function viewOf(query: URLSearchParams, variants: string[]): View {
  const sort = SORTS.find((name) => name === query.get("sort")) ?? "index";
  const variant = Math.max(0, variants.indexOf(query.get("variant") ?? ""));
  return { variant, sort, status: query.get("status") ?? "rendered" };
}

export function arrange(layer: Layer, { variant, sort, status }: View): number[] {
  const all = Array.from({ length: layer.entry.channels }, (_, unit) => unit);
  const shown = all.filter((unit) => fits(layer, unit, variant, status));
  if (sort === "index") return shown;
  const column = layer.numbers[sort];
  // The strongest first: of negatives that is the lowest. What has no number comes last.
  const sign = layer.variants[variant] === "negative" ? 1 : -1;
  // A unit without a picture has the number of the plain grey that is stored in its place.
  const value = (unit: number) => (layer.status(unit, variant) === Status.OK ? sign * (column[layer.at(unit, variant)] ?? NaN) : NaN);
  const key = (unit: number) => (Number.isNaN(value(unit)) ? Infinity : value(unit));
  return shown.sort((a, b) => (key(a) === key(b) ? a - b : key(a) - key(b)));
}

function fits(layer: Layer, unit: number, variant: number, status: string): boolean {
  if (status === "all") return true;
  // Before the numbers are written, nobody knows which units are there: all are tried.
  if (status === "rendered") return !layer.entry.features?.pictured || layer.rendered(unit);
  return statusName(layer.status(unit, variant)) === status;
}

/** How many units of a variant came to each status, `[status, count]`. */
export function outcomes(layer: Layer, variant: number): [Status, number][] {
  const counts = new Map<Status, number>();
  for (let unit = 0; unit < layer.entry.channels; unit++) {
    const status = layer.status(unit, variant);
    counts.set(status, (counts.get(status) ?? 0) + 1);
  }
  return [...counts].sort(([a], [b]) => a - b);
}
