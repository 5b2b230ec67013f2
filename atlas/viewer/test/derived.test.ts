import { beforeEach, expect, test } from "vitest";
import { forgetDerived, openDerived } from "../src/data/derived";
import type { Folder } from "../src/data/store";
import type { LayerEntry } from "../src/logic/entries";
import { described, Objects } from "./objects";

const ENTRY = { name: "a/b", key: "a%2Fb", channels: 3 } as LayerEntry;
const CONSTANTS = { quantiles: [0.25, 0.5], reliable: { rank: 0.02, samples: 5, stability: 0.8 } };

const objects = new Objects("derived/");
/** A store whose one folder is that of what is derived of the layer. */
const store = {
  folder: (...names: string[]) => {
    expect(names).toEqual(["layers", "a%2Fb", "derived"]);
    return { owing: () => objects };
  },
} as unknown as Folder;

function describe(arrays: Record<string, object>, attributes: object = CONSTANTS): void {
  const consolidated = { kind: "inline", must_understand: false, metadata: arrays };
  const group = { zarr_format: 3, node_type: "group", attributes, consolidated_metadata: consolidated };
  objects.put("/zarr.json", group);
}

beforeEach(() => {
  objects.forget();
  forgetDerived(ENTRY);
});

test("the metadata of all arrays is read once; then an array whole, and rows of it", async () => {
  describe({ dead: described("uint8", [3]), ratio: described("float32", [3, 2]), "atlas/all/5/label_reliable": described("uint8", [3, 2]) });
  objects.put("/dead/c/0", Uint8Array.of(0, 1, 0));
  objects.put("/ratio/c/0/0", Float32Array.of(1, 2, 3, NaN, 5, 6));
  objects.put("/atlas/all/5/label_reliable/c/0/0", Uint8Array.of(1, 0, 0, 1, 0, 0));
  const derived = (await openDerived(store, ENTRY))!;
  expect(await openDerived(store, ENTRY)).toBe(derived);
  expect(derived.constants).toMatchObject(CONSTANTS);
  expect([...(await derived.whole("dead", 3))!]).toEqual([0, 1, 0]);
  expect([...(await derived.row("ratio", 1))!]).toEqual([3, NaN]);
  expect([...(await derived.row("atlas/all/5/label_reliable", 1))!]).toEqual([0, 1]);
  expect(objects.asked.filter((key) => key.endsWith("zarr.json"))).toEqual(["/zarr.json"]);
});

test("an array that is not derived yet is none, and not asked for", async () => {
  describe({ dead: described("uint8", [3]) });
  const derived = (await openDerived(store, ENTRY))!;
  expect(await derived.whole("ratio", 3)).toBeNull();
  expect(await derived.row("atlas/all/5/picture_reliable", 0)).toBeNull();
  expect(objects.asked).toEqual(["/zarr.json"]);
});

test("a store without any is told from a damaged one", async () => {
  expect(await openDerived(store, ENTRY)).toBeNull();
  forgetDerived(ENTRY);
  describe({}, { quantiles: "many" });
  await expect(openDerived(store, ENTRY)).rejects.toMatchObject({ kind: "damaged" });
  // What tells of no array at all is none too: the same command mends it.
  objects.put("/zarr.json", new TextEncoder().encode('{"zarr_format": 3, '));
  expect(await openDerived(store, ENTRY)).toBeNull();
});

test("an array of other rows is damage", async () => {
  describe({ dead: described("uint8", [4]) });
  objects.put("/dead/c/0", Uint8Array.of(0, 1, 0, 0));
  const derived = (await openDerived(store, ENTRY))!;
  await expect(derived.whole("dead", 3)).rejects.toMatchObject({ kind: "damaged" });
});
