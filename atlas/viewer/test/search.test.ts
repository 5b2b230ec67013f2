import { expect, test } from "vitest";
import { CHUNK } from "../src/data/images";
import { search } from "../src/data/search";
import type { ImagesEntry } from "../src/logic/entries";

const NAMES = ["ok", "truncated", "not an image"];

/** Images whose codes are `codes`; what was read of them is noted in `read`. */
function images(codes: number[], statuses?: Record<string, number>) {
  const read: number[] = [];
  const entry = { count: codes.length, statuses } as ImagesEntry;
  const chunk = (_: string, nth: number) => {
    read.push(nth);
    return Promise.resolve(Uint8Array.from(codes.slice(nth * CHUNK, (nth + 1) * CHUNK)));
  };
  return { read, count: codes.length, entry, statusName: (code: number) => NAMES[code]!, columns: { chunk } };
}

async function searched(of: ReturnType<typeof images>, status: string, signal = new AbortController().signal): Promise<[number[], number][]> {
  const told: [number[], number][] = [];
  await search(of, status, signal, (found, looked) => told.push([found, looked]));
  return told;
}

const codes = (count: number, bad: number[]) => Array.from({ length: count }, (_, nth) => (bad.includes(nth) ? 1 : 0));
const LAST = 20 * CHUNK + 5;

test("all images of a status, in order, told as they are found", async () => {
  const of = images(codes(LAST, [0, CHUNK, LAST - 1]));
  const told = await searched(of, "truncated");
  expect(told.map(([, looked]) => looked)).toEqual([8 * CHUNK, 16 * CHUNK, LAST]);
  expect(told.map(([found]) => found)).toEqual([[0, CHUNK], [0, CHUNK], [0, CHUNK, LAST - 1]]);
  expect(of.read).toEqual(Array.from({ length: 21 }, (_, nth) => nth));
});

test("where it is known how many there are, no more is read than that takes", async () => {
  const of = images(codes(LAST, [3, CHUNK]), { ok: LAST - 2, truncated: 2 });
  expect(await searched(of, "truncated")).toEqual([[[3, CHUNK], LAST]]);
  expect(of.read).toHaveLength(8);
});

test("a status of several words is counted by its name in the store", async () => {
  const of = images([2, ...codes(LAST, [])], { ok: LAST, not_an_image: 1 });
  expect(await searched(of, "not an image")).toEqual([[[0], LAST + 1]]);
});

test("a status that no image came to", async () => {
  const of = images(codes(10, []));
  expect(await searched(of, "truncated")).toEqual([[[], 10]]);
});

test("a reader that left is told nothing", async () => {
  expect(await searched(images(codes(10, [1])), "truncated", AbortSignal.abort())).toEqual([]);
});
