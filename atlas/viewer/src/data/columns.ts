/**
 * Rows of the arrays of one group.
 *
 *     (name, row) -> numbers of that row
 *
 * A column may hold a million rows and is often one plain chunk: of such a one a block of rows is read by its range. Blocks
 * stay in memory, so that the rows beside one are there already. Packed chunks are read whole.
 */
import * as zarr from "zarrita";
import type { AsyncReadable } from "zarrita";
import { once } from "./once";
import { damaged, sound } from "./problems";
import type { Folder } from "./store";

/** Bytes of a block that one row is read with: about as long on its way as the row alone. */
const BLOCK = 16 * 1024;
/** Most bytes of one request. */
const MOST = 512 * 1024;
/**
 * Pictures this near in a file are read with one request, bytes. Zarr writes the pictures of a shard as unit 0 and 1
 * positive, then 0 and 1 negative, and so on: between two of a sign lie up to two of the other, 5 KB each and at most 8.3.
 */
const GAP = 17 * 1024;

/** Counts are stored as int64 and stay exact as float64. */
export type Numbers = Float32Array | Float64Array | Int32Array | Uint8Array;
const STORED = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array } as const;

type Stored = InstanceType<(typeof STORED)[keyof typeof STORED]>;

/** What of a group's store is used: ranges are always there, and lengths of what was read are known. */
export type Ranged = AsyncReadable & Required<Pick<AsyncReadable, "getRange">> & Pick<Folder, "lengthOf" | "nameOf">;

/** The folder of a group and the metadata below it, read at once. Ranges that lie near are asked for together. */
export async function openGroup(folder: Folder): Promise<zarr.Location<Ranged>> {
  return located(await zarr.withMaybeConsolidatedMetadata(folder, { format: "v3" }));
}

/** A group, with the paths of the arrays below it. */
export interface Group {
  at: zarr.Location<Ranged>;
  arrays: Set<string>;
}

/** A group that has the metadata of all that is below it, opened as `openGroup` does; null where there is none that can be read. */
export async function openGroupIfAny(folder: Folder): Promise<Group | null> {
  const store = await zarr.withMaybeConsolidatedMetadata(folder, { format: "v3" });
  if (!("contents" in store)) return null;
  const arrays = store.contents().filter(({ kind }) => kind === "array");
  return { at: located(store), arrays: new Set(arrays.map(({ path }) => path.slice(1))) };
}

function located(store: AsyncReadable): zarr.Location<Ranged> {
  return zarr.root(zarr.withRangeCoalescing(store, { coalesceSize: GAP }) as unknown as Ranged);
}

interface Column {
  name: string;
  array: zarr.Array<zarr.DataType>;
  stored: (typeof STORED)[keyof typeof STORED];
  /** Rows of the array, of a chunk, and of a block; numbers of a row. */
  rows: number;
  perChunk: number;
  perBlock: number;
  width: number;
  plain: boolean;
}

export class Columns {
  readonly #columns = new Map<string, Promise<Column>>();
  readonly #blocks = new Map<string, Promise<Numbers>>();

  constructor(
    readonly store: Ranged,
    readonly group: zarr.Location<Ranged>,
  ) {}

  /** The numbers of one row. */
  async row(name: string, row: number): Promise<Numbers> {
    const column = await this.#column(name);
    const { perChunk, perBlock, width } = column;
    if (row >= column.rows) throw damaged(column.name, `has ${column.rows} rows, and row ${row} was asked for`);
    const chunk = Math.floor(row / perChunk);
    const block = Math.floor((row - chunk * perChunk) / perBlock);
    const start = block * perBlock;
    const numbers = await once(this.#blocks, `${name}/${chunk}/${start}`, () => this.#read(column, chunk, start, Math.min(start + perBlock, perChunk)));
    const at = (row - chunk * perChunk - start) * width;
    return numbers.subarray(at, at + width);
  }

  /** All numbers of a chunk of rows. */
  async chunk(name: string, chunk: number): Promise<Numbers> {
    const column = await this.#column(name);
    const parts = await once(this.#blocks, `${name}/${chunk}`, () => this.#whole(column, chunk));
    return parts.subarray(0, Math.min(column.perChunk, column.rows - chunk * column.perChunk) * column.width);
  }

  /** All numbers of a column, row by row. */
  async whole(name: string): Promise<Numbers> {
    const { rows, perChunk, width } = await this.#column(name);
    const parts = await Promise.all(Array.from({ length: Math.ceil(rows / perChunk) }, (_, chunk) => this.chunk(name, chunk)));
    return joined(parts, rows * width, perChunk * width);
  }

  async #whole(column: Column, chunk: number): Promise<Numbers> {
    const { perChunk, stored, width, plain } = column;
    const step = plain ? Math.max(1, Math.floor(MOST / (width * stored.BYTES_PER_ELEMENT))) : perChunk;
    const starts = Array.from({ length: Math.ceil(perChunk / step) }, (_, part) => part * step);
    const parts = await Promise.all(starts.map((start) => this.#read(column, chunk, start, Math.min(start + step, perChunk))));
    return joined(parts, perChunk * width, step * width);
  }

  /** Rows `start` to `stop` of a chunk. Raises `Problem` where it does not hold as many numbers as it must. */
  async #read({ array, stored, perChunk, width, plain }: Column, chunk: number, start: number, stop: number): Promise<Numbers> {
    const place = [chunk, ...array.shape.slice(1).map(() => 0)];
    const { path } = array.resolve(["c", ...place].join("/"));
    const name = this.store.nameOf(path);
    if (!plain || (start === 0 && stop === perChunk)) {
      const { data } = await sound(name, () => array.getChunk(place));
      const numbers = told(data as Stored);
      if (numbers.length !== perChunk * width) throw damaged(name, `holds ${numbers.length} numbers instead of ${perChunk * width}`);
      return numbers.subarray(start * width, stop * width);
    }
    const row = width * stored.BYTES_PER_ELEMENT;
    const bytes = await this.store.getRange(path, { offset: start * row, length: (stop - start) * row });
    const size = this.store.lengthOf(path);
    if (size !== undefined && size !== perChunk * row) throw damaged(name, `has ${size} bytes instead of ${perChunk * row}`);
    if (bytes) return told(new stored(bytes.slice().buffer as ArrayBuffer));
    return told(new stored((stop - start) * width).fill(array.fillValue as never));
  }

  #column(name: string): Promise<Column> {
    return once(this.#columns, name, () => this.#open(name));
  }

  async #open(name: string): Promise<Column> {
    const at = this.group.resolve(name);
    const described = this.store.nameOf(at.resolve("zarr.json").path);
    const [array, plain] = await sound(described, () =>
      Promise.all([zarr.open.v3(at, { kind: "array" }), this.store.get(at.resolve("zarr.json").path as "/").then(isPlain)]),
    );
    const stored = STORED[array.dtype as keyof typeof STORED];
    if (!stored || !isColumn(array.shape, array.chunks)) throw damaged(described, "describes no column");
    const width = array.shape.slice(1).reduce((product, length) => product * length, 1);
    const perChunk = array.chunks[0]!;
    const perBlock = plain ? Math.min(perChunk, Math.max(1, Math.floor(BLOCK / (width * stored.BYTES_PER_ELEMENT)))) : perChunk;
    return { name: this.store.nameOf(at.path), array, stored, rows: array.shape[0]!, perChunk, perBlock, width, plain };
  }
}

function told(numbers: Stored): Numbers {
  return numbers instanceof BigInt64Array ? Float64Array.from(numbers, Number) : numbers;
}

/** `parts` one after the other, `step` numbers each but for the last. */
function joined(parts: Numbers[], length: number, step: number): Numbers {
  const [first] = parts;
  if (parts.length === 1 && first!.length === length) return first!;
  const all = new (first!.constructor as Float32ArrayConstructor)(length);
  parts.forEach((part, nth) => all.set(part, nth * step));
  return all;
}

/** Whether an array is cut along its rows alone. Metadata may say anything. */
function isColumn(shape: unknown, chunks: unknown): boolean {
  if (!Array.isArray(shape) || !Array.isArray(chunks) || shape.length === 0 || shape.length !== chunks.length) return false;
  return [...shape, ...chunks].every((length) => Number.isSafeInteger(length) && length > 0) && chunks.slice(1).every((length, nth) => length === shape[nth + 1]);
}

/** Whether chunks are nothing but their numbers, so that a row lies where one can tell. */
function isPlain(metadata: Uint8Array | undefined): boolean {
  const { codecs } = JSON.parse(new TextDecoder().decode(metadata)) as { codecs: { name: string; configuration?: { endian?: string } }[] };
  return codecs.length === 1 && codecs[0]!.name === "bytes" && (codecs[0]!.configuration?.endian ?? "little") === "little";
}
