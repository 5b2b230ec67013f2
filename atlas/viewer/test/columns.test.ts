import * as zarr from "zarrita";
import { beforeEach, expect, test } from "vitest";
import { Columns, type Ranged } from "../src/data/columns";
import { described, Objects } from "./objects";

const objects = new Objects();
const store = objects as unknown as Ranged;

function put(name: string, ...array: Parameters<typeof described>): void {
  objects.put(`/group/${name}/zarr.json`, described(...array));
}

function write(key: string, numbers: ArrayBufferView): void {
  objects.put(`/group/${key}`, numbers);
}

const rising = (length: number, from = 0) => Float32Array.from({ length }, (_, nth) => from + nth);
const columns = () => new Columns(store, zarr.root(store).resolve("group"));
const chunks = () => objects.asked.filter((key) => key.includes("/c/"));

beforeEach(() => objects.forget());

test("rows, chunks and all of a column that is cut in two", async () => {
  put("small", "float32", [6, 2], [4, 2]);
  write("small/c/0/0", rising(8));
  write("small/c/1/0", rising(8, 8));
  const found = columns();
  expect([...(await found.row("small", 0))]).toEqual([0, 1]);
  expect([...(await found.row("small", 5))]).toEqual([10, 11]);
  expect([...(await found.chunk("small", 1))]).toEqual([8, 9, 10, 11]);
  expect([...(await found.whole("small"))]).toEqual([...rising(12)]);
});

test("of a large chunk one block is read, once", async () => {
  put("large", "float32", [10_000], [10_000]);
  write("large/c/0", rising(10_000));
  const found = columns();
  expect([...(await found.row("large", 5000))]).toEqual([5000]);
  expect([...(await found.row("large", 4100))]).toEqual([4100]);
  expect(chunks()).toEqual(["/group/large/c/0 16384+16384"]);
  expect([...(await found.row("large", 9999))]).toEqual([9999]);
  expect(chunks()).toHaveLength(2);
});

test("counts stay exact", async () => {
  put("count", "int64", [2], [2]);
  write("count/c/0", BigInt64Array.of(2n ** 52n + 1n, -3n));
  expect([...(await columns().whole("count"))]).toEqual([2 ** 52 + 1, -3]);
});

test("an object that is gone and was not owed is its fill value", async () => {
  put("gone", "float32", [10_000], [10_000], undefined, 7);
  expect([...(await columns().row("gone", 3))]).toEqual([7]);
});

test("a column of other length than it must have is damaged", async () => {
  put("short", "float32", [10_000], [10_000]);
  write("short/c/0", rising(9_000));
  await expect(columns().row("short", 3)).rejects.toMatchObject({ kind: "damaged" });
});

test("and one that is not there is read again when it is asked for again", async () => {
  await expect(columns().row("late", 0)).rejects.toThrow();
  const found = columns();
  await expect(found.row("late", 0)).rejects.toThrow();
  put("late", "float32", [1], [1]);
  write("late/c/0", Float32Array.of(4));
  expect([...(await found.row("late", 0))]).toEqual([4]);
});

test("what is no column is damaged: cut across its rows, of another type, or with fewer rows", async () => {
  put("across", "float32", [4, 4], [4, 2]);
  put("wide", "float64", [4], [4]);
  put("few", "float32", [2], [2]);
  write("few/c/0", rising(2));
  for (const [name, row] of [["across", 0], ["wide", 0], ["few", 2]] as const) await expect(columns().row(name, row)).rejects.toMatchObject({ kind: "damaged" });
});
