/**
 * What is looked at on an atlas, and the query of the address that says it.
 *
 *     ?at=0.5,0.5&zoom=2&cell=20:7,12&class=3&sign=against&sized&faint=no
 */
import { readPlace, readView, WHOLE, writtenPlace, writtenView, type View } from "./camera";
import type { Sign } from "./cell-style";
import type { Place } from "./cells";

/** How the cells are drawn. */
export interface Emphasis {
  /** The class that is looked for. */
  label: number | null;
  sign: Sign;
  /** Whether cells of few samples are small, and pictures that cannot be relied on faint. */
  sized: boolean;
  faint: boolean;
}

export interface AtlasView extends Emphasis {
  at: View;
  /** The cell that is open. */
  cell: Place | null;
}

/** What a query says, of a network that tells so many `classes` apart. */
export function readAtlasView(query: URLSearchParams, classes: number): AtlasView {
  const label = query.get("class") ?? "";
  return {
    at: readView(query),
    cell: readPlace(query.get("cell")),
    label: /^\d+$/.test(label) && Number(label) < classes ? Number(label) : null,
    sign: query.get("sign") === "against" ? -1 : 1,
    sized: query.has("sized"),
    faint: query.get("faint") !== "no",
  };
}

export function writtenAtlasView({ at, cell, ...emphasis }: AtlasView): URLSearchParams {
  const said = new URLSearchParams();
  const [here, all] = [writtenView(at), writtenView(WHOLE)];
  if (here.at !== all.at || here.zoom !== all.zoom) Object.entries(here).forEach(([name, value]) => said.set(name, value));
  if (cell) said.set("cell", writtenPlace(cell));
  return new URLSearchParams([...said, ...writtenEmphasis(emphasis)]);
}

/** What of it another map can be looked at by. */
export function writtenEmphasis({ label, sign, sized, faint }: Emphasis): URLSearchParams {
  const said = new URLSearchParams();
  if (label !== null) said.set("class", String(label));
  if (label !== null && sign < 0) said.set("sign", "against");
  if (sized) said.set("sized", "");
  if (!faint) said.set("faint", "no");
  return said;
}

/** An address of an atlas as it is easy to read. */
export function plain(address: string): string {
  return address.replace(/%2C/g, ",").replace(/%3A/g, ":").replace(/sized=(&|$)/, "sized$1");
}
