/** What the maps of a layer are called. */
import { labelOf } from "../data/labels";
import { ALL } from "./routes";

interface Words {
  name: string;
  /** Behind a number of activations. */
  of: string;
  /** Of a pair: what lies at the left and at the right. */
  ends: [string, string] | null;
}

/** `all`, `winners-207`, `strongest-207` and `pair-207-208` in words. */
export function mapWords(map: string, labels: string[]): Words {
  if (map === ALL) return { name: "all activations", of: "", ends: null };
  const [kind, ...numbers] = map.split("-");
  const [one = map, other = ""] = numbers.map((number) => short(labelOf(labels, Number(number))));
  switch (kind) {
    case "winners":
      return { name: `speak for ${one} before all`, of: `: those that speak for ${one} before any other class`, ends: null };
    case "strongest":
      return { name: `speak most for ${one}`, of: `: those that speak most for ${one}`, ends: null };
    case "pair":
      return { name: `${one} or ${other}`, of: `, parted by what speaks for ${one} and what for ${other}`, ends: [other, one] };
    default:
      return { name: map, of: "", ends: null };
  }
}

export function mapName(map: string, labels: string[]): string {
  return mapWords(map, labels).name;
}

/** The first of several names of a class: `tabby, tabby cat` -> `tabby`. */
export function short(label: string): string {
  return label.split(",", 1)[0]!;
}
