import { beforeEach, expect, test } from "vitest";
import { forgetDerived, openDerived } from "../src/data/derived";
import type { Folder } from "../src/data/store";
import type { LayerEntry } from "../src/logic/entries";

const ENTRY = { name: "a/b", key: "a%2Fb", channels: 3 } as LayerEntry;
const CONSTANTS = { quantiles: [0.25, 0.5], reliable: { rank: 0.02, samples: 5, stability: 0.8 } };

let asked: string[] = [];
let objects = new Map<string, Uint8Array>();

/** A store whose one folder is that of what is derived of the layer. */
const store = {
  folder: (...names: string[]) => {
    expect(names).toEqual(["layers", "a%2Fb", "derived"]);
    return { owing: () => folder };
  },
} as unknown as Folder;
const folder = {
  async get(key: string) {
    asked.push(key);
    return objects.get(key);
  },
  async getRange(key: string, range: { offset: number; length: number }) {
    asked.push(`${key} ${range.offset}+${range.length}`);
    return objects.get(key)?.subarray(range.offset, range.offset + range.length);
  },
  lengthOf: (key: string) => objects.get(key)?.length,
  nameOf: (key: string) => `derived/${key.replace(/^\//, "")}`,
};

function array(dtype: string, shape: number[]): object {
  return {
    zarr_format: 3,
    node_type: "array",
    shape,
    data_type: dtype,
    chunk_grid: { name: "regular", configuration: { chunk_shape: shape } },
    chunk_key_encoding: { name: "default", configuration: { separator: "/" } },
    fill_value: 0,
    codecs: [{ name: "bytes", configuration: { endian: "little" } }],
    attributes: {},
  };
}

function describe(arrays: Record<string, object>, attributes: object = CONSTANTS): void {
  const consolidated = { kind: "inline", must_understand: false, metadata: arrays };
  const group = { zarr_format: 3, node_type: "group", attributes, consolidated_metadata: consolidated };
  objects.set("/zarr.json", new TextEncoder().encode(JSON.stringify(group)));
}

beforeEach(() => {
  asked = [];
  objects = new Map();
  forgetDerived(ENTRY);
});

test("the metadata of all arrays is read once; then an array whole, and rows of it", async () => {
  describe({ dead: array("uint8", [3]), ratio: array("float32", [3, 2]), "atlas/all/5/label_reliable": array("uint8", [3, 2]) });
  objects.set("/dead/c/0", Uint8Array.of(0, 1, 0));
  objects.set("/ratio/c/0/0", new Uint8Array(Float32Array.of(1, 2, 3, NaN, 5, 6).buffer));
  objects.set("/atlas/all/5/label_reliable/c/0/0", Uint8Array.of(1, 0, 0, 1, 0, 0));
  const derived = (await openDerived(store, ENTRY))!;
  expect(await openDerived(store, ENTRY)).toBe(derived);
  expect(derived.constants).toMatchObject(CONSTANTS);
  expect([...(await derived.whole("dead", 3))!]).toEqual([0, 1, 0]);
  expect([...(await derived.row("ratio", 1))!]).toEqual([3, NaN]);
  expect([...(await derived.row("atlas/all/5/label_reliable", 1))!]).toEqual([0, 1]);
  expect(asked.filter((key) => key.endsWith("zarr.json"))).toEqual(["/zarr.json"]);
});

test("an array that is not derived yet is none, and not asked for", async () => {
  describe({ dead: array("uint8", [3]) });
  const derived = (await openDerived(store, ENTRY))!;
  expect(await derived.whole("ratio", 3)).toBeNull();
  expect(await derived.row("atlas/all/5/picture_reliable", 0)).toBeNull();
  expect(asked).toEqual(["/zarr.json"]);
});

test("a store without any is told from a damaged one", async () => {
  expect(await openDerived(store, ENTRY)).toBeNull();
  forgetDerived(ENTRY);
  describe({}, { quantiles: "many" });
  await expect(openDerived(store, ENTRY)).rejects.toMatchObject({ kind: "damaged" });
  // What tells of no array at all is none too: the same command mends it.
  objects.set("/zarr.json", new TextEncoder().encode('{"zarr_format": 3, '));
  expect(await openDerived(store, ENTRY)).toBeNull();
});

test("an array of other rows is damage", async () => {
  describe({ dead: array("uint8", [4]) });
  objects.set("/dead/c/0", Uint8Array.of(0, 1, 0, 0));
  const derived = (await openDerived(store, ENTRY))!;
  await expect(derived.whole("dead", 3)).rejects.toMatchObject({ kind: "damaged" });
});
