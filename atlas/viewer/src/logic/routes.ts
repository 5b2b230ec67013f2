/**
 * The addresses of the pages, all behind the `#`, so that any static host can serve them.
 *
 *     #/                     home
 *     #/features.11          a layer's wall; `?sort=objective_peak&variant=negative&status=ok` is how it is shown
 *     #/features.11/atlas    its activation atlas, `/atlas/class-207` another of its maps; `?at=0.5,0.5&zoom=2&cell=20:7,12`
 *     #/features.11:300      a unit; `#/features.11/BASIS:300` for another basis than the channels
 *     #/images/              the wall of images; `?status=truncated&from=20000`
 *     #/images/12            an image
 *     #/classes/7            a class
 *
 * A slash stands in no encoded name and, before a basis, only together with a colon: so no layer's name is an image's address.
 * `#/images` without its slash is the layer of that name where there is one.
 * Names are encoded as by encodeURIComponent, so a layer called `a#b/c` is `#/a%23b%2Fc`. Behind `#/` a unit's name
 * as it is written in Python (`unitName`) is an address as well.
 */

import { encodedUnseen } from "./text";

export const CHANNEL = "channel";
/** The segment before an image's number. */
export const IMAGES = "images";

/** The map of all activations of a layer. */
export const ALL = "all";

export type Route =
  | { page: "home" }
  | { page: "layer"; layer: string; view: URLSearchParams }
  | { page: "atlas"; layer: string; map: string; view: URLSearchParams }
  | { page: "unit"; layer: string; basis: string; index: number }
  | { page: "images"; view: URLSearchParams }
  | { page: "image"; number: number }
  | { page: "class"; number: number }
  | { page: "nowhere"; text: string };

export function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  if (path === "") return { page: "home" };
  const unit = parseUnit(path);
  if (unit) return { page: "unit", ...unit };
  const view = new URLSearchParams(query);
  if (path === "images/") return { page: "images", view };
  const [, group, number] = /^(images|classes)\/([0-9]+)$/.exec(path) ?? [];
  if (group) return { page: group === "images" ? "image" : "class", number: Number(number) };
  const [, of, map = ALL] = /^([^:/]+)\/atlas(?:\/([a-z0-9-]+))?$/.exec(path) ?? [];
  if (of) return { page: "atlas", layer: decoded(of), map: storedMap(map), view };
  if (/[:/]/.test(path)) return { page: "nowhere", text: path };
  return { page: "layer", layer: decoded(path), view };
}

export interface Unit {
  layer: string;
  basis: string;
  index: number;
}

/** The unit that `text` names, LAYER[/BASIS]:INDEX, as Python's `Unit.parse` reads it; null where it names none. */
export function parseUnit(text: string): Unit | null {
  const match = /^(?<layer>[^:/]+)(?:\/(?<basis>[a-z][a-z0-9_-]*))?:(?<index>[0-9]+)$/.exec(text);
  if (!match) return null;
  const { layer = "", basis = CHANNEL, index } = match.groups!;
  return { layer: decoded(layer), basis, index: Number(index) };
}

/** The address that a reader means by `text`, in a store that has the layers `names`. */
export function meant(text: string, names: string[]): string {
  if (names.includes(text)) return toLayer(text);
  const written = parseUnit(text);
  if (written && names.includes(written.layer)) return toUnit(written.layer, written.index, written.basis);
  // What Python would not take, but is plain enough: the layer's name as it is.
  const [, plain = "", index] = /^(.+):([0-9]+)$/.exec(text) ?? [];
  if (names.includes(plain)) return toUnit(plain, Number(index));
  return written ? toUnit(written.layer, written.index, written.basis) : toLayer(text);
}

/** Percent-encoding undone, and left as it is where it is none: like Python's `unquote`. */
function decoded(text: string): string {
  return text.replace(/(?:%[0-9a-f]{2})+/gi, (bytes) => {
    try {
      return decodeURIComponent(bytes);
    } catch {
      return bytes;
    }
  });
}

/** How a stored map is called in addresses and on the command line: `class-207` for `winners-207`. */
export function shownMap(map: string): string {
  return map.replace(/^winners-/, "class-");
}

/** The other way round; a stored name, as addresses had it before, stays. */
export function storedMap(map: string): string {
  return map.replace(/^class-/, "winners-");
}

export const HOME = "#/";

export function toLayer(layer: string, view?: URLSearchParams): string {
  const query = view?.toString();
  return `#/${encodeURIComponent(layer)}${query ? `?${query}` : ""}`;
}

export function toAtlas(layer: string, map = ALL, view?: URLSearchParams): string {
  const query = view?.toString();
  return `#/${encodeURIComponent(layer)}/atlas${map === ALL ? "" : `/${shownMap(map)}`}${query ? `?${query}` : ""}`;
}

export function toUnit(layer: string, index: number, basis = CHANNEL): string {
  return `#/${encodeURIComponent(layer)}${basis === CHANNEL ? "" : `/${basis}`}:${index}`;
}

export function toImages(view?: URLSearchParams): string {
  const query = view?.toString();
  return `#/images/${query ? `?${query}` : ""}`;
}

export function toImage(number: number): string {
  return `#/images/${number}`;
}

export function toClass(number: number): string {
  return `#/classes/${number}`;
}

/** A unit's name as it is written in code and on the command line: `features.11:300`, as Python's `str(Unit)`. */
export function unitName(layer: string, index: number, basis = CHANNEL): string {
  return `${spared(layer)}${basis === CHANNEL ? "" : `/${basis}`}:${index}`;
}

/** `layer` without the signs that part a unit's name, and without those that cannot be seen. */
export function spared(layer: string): string {
  return encodedUnseen(layer.replace(/[%/:]/g, encodeURIComponent));
}
