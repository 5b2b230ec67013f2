/** The words and numbers of the pages. */
import type { ImagesEntry, LayerEntry } from "./entries";

export const Status = { OK: 0, UNSTARTED: 1, NAN: 2, RECTIFIED: 3, ABSENT: 255, COMING: -1 } as const;
export type Status = number;

export const STATUS: Record<number, { name: string; means: string }> = {
  [Status.OK]: { name: "ok", means: "" },
  [Status.UNSTARTED]: {
    name: "unstarted",
    means: "No gradient was found, so no picture could be optimized.",
  },
  [Status.NAN]: { name: "nan", means: "The network gave NaN or infinity, so there is no picture to show." },
  [Status.RECTIFIED]: {
    name: "rectified",
    means: "There is no negative: this unit is never below zero, and the value before its rectifier is out of reach.",
  },
  [Status.ABSENT]: { name: "absent", means: "Not rendered yet." },
  [Status.COMING]: { name: "absent", means: "Not rendered yet." },
};

/** What became of an image that could not be shown to the network, by the name of its status. */
export const IMAGE_STATUS: Record<string, string> = {
  duplicate: "The same bytes as an earlier image in the list, which was used instead.",
  "not an image": "Empty, or not in a supported image format.",
  truncated: "The file is cut short; no part of it is used.",
  damaged: "The file begins like an image, but could not be decoded.",
  "too large": "The image has more pixels or bytes than the limit.",
  unreadable: "The file, folder or data set could not be read.",
  changed: "The file has changed since the build began.",
  unsupported: "A kind of image that is not supported: a drawing, or bands that are not colours.",
  beside: "A mask or other file beside the picture of its sample.",
  absent: "Not looked at yet.",
};

/** Whether a picture may be there: also where it is not yet written down what became of it. Any other is stored plain grey. */
export function mayShow(status: Status): boolean {
  return status === Status.OK || status === Status.COMING;
}

export function statusName(status: Status): string {
  return STATUS[status]?.name ?? `status ${status}`;
}

const SIGNIFICANT = new Intl.NumberFormat("en", { maximumSignificantDigits: 4, useGrouping: false });
const WHOLE = new Intl.NumberFormat("en");
const ORDINAL = new Intl.PluralRules("en", { type: "ordinal" });

/** Four significant digits; a dash where there is no number, dots where it is still to come. */
export function number(value: number | undefined): string {
  if (value === undefined) return "…";
  return Number.isNaN(value) ? "–" : SIGNIFICANT.format(value).replace("-", "−");
}

/** A share in hundredths: `38%`, `0.12%`, `99.97%`, `under 0.01%`. */
export function share(value: number): string {
  if (Number.isNaN(value)) return "–";
  const percent = 100 * value;
  if (percent > 0 && percent < 0.01) return "under 0.01%";
  if (percent > 99 && percent < 100) return `${Math.min(99.99, percent).toFixed(2)}%`;
  return `${percent >= 10 ? percent.toFixed(0) : SIGNIFICANT.format(Number(percent.toPrecision(2)))}%`;
}

export function count(value: number): string {
  return WHOLE.format(value);
}

export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

const KIND: Record<string, string> = { conv: "convolution", tokens: "tokens", linear: "linear" };

/** Floating point operations in a word: `312 MFLOP`. */
export function cost(flops: number): string {
  const step = Math.max(0, Math.min(4, Math.floor(Math.log10(Math.max(flops, 1)) / 3)));
  return `${number(Number((flops / 1000 ** step).toPrecision(3)))} ${["", "k", "M", "G", "T"][step]}FLOP`;
}

/** `convolution, 512 channels`. */
export function width(layer: LayerEntry): string {
  return `${KIND[layer.kind] ?? layer.kind}, ${plural(layer.channels, "channel")}`;
}

/** `13 × 13 positions, 16 px apart`; nothing where a layer has no positions. */
export function positions(layer: LayerEntry): string {
  if (layer.size.length === 0) return "";
  const places = `${layer.size.join(" × ")} ${layer.kind === "tokens" ? "patches" : "positions"}`;
  return layer.stride > 1 ? `${places}, ${number(layer.stride)} px apart` : places;
}

/** `1st`, `22nd`, `113th`. */
export function ordinal(value: number): string {
  const ending = { one: "st", two: "nd", few: "rd" }[ORDINAL.select(value) as "one"] ?? "th";
  return count(value) + ending;
}

/** The images that all results are based on, in words: `20 images, 64 crops of each: 18 used, 2 skipped`. */
export function restsOn({ count: all, done, used, crops }: ImagesEntry): string {
  const told = `${plural(all, "image")}, ${plural(crops, "crop")} of each: ${count(used)} used`;
  const rest = [
    [done - used, "skipped"],
    [all - done, "not looked at yet"],
  ] as const;
  return told + rest.map(([number, what]) => (number > 0 ? `, ${count(number)} ${what}` : "")).join("");
}

/** How much of a layer is there, in words. */
export function progress(layer: LayerEntry): string {
  const features = layer.features;
  if (!features) return layer.statistics?.written ? "statistics of all, no pictures" : layer.statistics ? "statistics to come" : "not rendered yet";
  const { units, done, pictured } = features;
  if (done < units) return `${count(done)} of ${count(units)} rendered so far`;
  const all = units >= layer.channels ? `all ${count(units)} rendered` : `${count(units)} of ${count(layer.channels)} rendered`;
  return pictured ? all : `${all}, numbers to come`;
}

/** A class by its name, or by its number where the store does not name it. */
export function labelOf(names: string[] | null, number: number): string {
  return names?.[number] || `class ${number}`;
}

/** The first of several names of a class: `tabby, tabby cat` -> `tabby`. */
export function firstName(label: string): string {
  return label.split(",", 1)[0]!;
}
