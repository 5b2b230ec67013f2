/** What the maps of a layer are called. */
import type { AtlasEntry, ImagesEntry } from "./entries";
import { ALL } from "./routes";
import { firstName, labelOf, plural } from "./words";

/** So few images make clusters of images, not of what a network tells apart. */
export const FEW_IMAGES = 200;

interface Words {
  name: string;
  /** Behind a number of activations. */
  of: string;
  /** Of a pair: what lies at the left and at the right. */
  ends: [string, string] | null;
}

/** `all`, `winners-207`, `strongest-207` and `pair-207-208`, as a store names them, in words. */
export function mapWords(map: string, labels: string[] | null): Words {
  if (map === ALL) return { name: "all activations", of: "", ends: null };
  const [kind, ...numbers] = map.split("-");
  const [one = map, other = ""] = numbers.map((number) => firstName(labelOf(labels, Number(number))));
  switch (kind) {
    case "winners":
      return { name: `class ${one}`, of: `: those whose highest attribution is to ${one}`, ends: null };
    case "strongest":
      return { name: `strongest for ${one}`, of: `: those with the highest attribution to ${one}`, ends: null };
    case "pair":
      return { name: `${one} or ${other}`, of: `, from attribution to ${other} on the left to ${one} on the right`, ends: [other, one] };
    default:
      return { name: map, of: "", ends: null };
  }
}

export function mapName(map: string, labels: string[] | null): string {
  return mapWords(map, labels).name;
}

/** What a map is made of, in a line. */
export function mapRestsOn(map: string, { placed, samples, approximate }: AtlasEntry, images: ImagesEntry | null | undefined, labels: string[] | null): string {
  const from = images ? ` from ${plural(images.used, "image")}` : "";
  const few = images && images.used < FEW_IMAGES ? "; so few images make clusters of images" : "";
  return `${plural(placed ?? samples, "activation")}${from}${mapWords(map, labels).of}${few}${approximate ? "; with so many classes attributions are approximate" : ""}`;
}
