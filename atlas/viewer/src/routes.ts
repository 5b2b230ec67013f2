/**
 * The addresses of the pages, all behind the `#`, so that any static host can serve them.
 *
 *     #/                     home
 *     #/features.11          a layer's wall; `?sort=peak&variant=negative&status=ok` is how it is shown
 *     #/features.11:300      a unit; `#/features.11/BASIS:300` for another basis than the channels
 *
 * Names are encoded as by encodeURIComponent, so a layer called `a#b/c` is `#/a%23b%2Fc`.
 */

export const CHANNEL = "channel";

export type Route =
  | { page: "home" }
  | { page: "layer"; layer: string; view: URLSearchParams }
  | { page: "unit"; layer: string; basis: string; index: number }
  | { page: "nowhere"; text: string };

export function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  if (path === "") return { page: "home" };
  const match = /^(?<layer>[^:/]+)(?:\/(?<basis>[a-z][a-z0-9_-]*))?(?::(?<index>[0-9]+))?$/.exec(path);
  try {
    const layer = decodeURIComponent(match!.groups!.layer!);
    const { index, basis = CHANNEL } = match!.groups!;
    if (index !== undefined) return { page: "unit", layer, basis, index: Number(index) };
    return { page: "layer", layer, view: new URLSearchParams(query) };
  } catch {
    return { page: "nowhere", text: path };
  }
}

export const HOME = "#/";

export function toLayer(layer: string, view?: URLSearchParams): string {
  const query = view?.toString();
  return `#/${encodeURIComponent(layer)}${query ? `?${query}` : ""}`;
}

export function toUnit(layer: string, index: number, basis = CHANNEL): string {
  return `#/${encodeURIComponent(layer)}${basis === CHANNEL ? "" : `/${basis}`}:${index}`;
}

/** A unit's name as it is written in code and on the command line: `features.11:300`. */
export function unitName(layer: string, index: number, basis = CHANNEL): string {
  return `${layer}${basis === CHANNEL ? "" : `/${basis}`}:${index}`;
}
