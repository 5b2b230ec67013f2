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

/** Bytes of a block that one row is read with: about as long on its way as the row alone. */
const BLOCK = 16 * 1024;
/** Most bytes of one request. */
const MOST = 512 * 1024;

/** Counts are stored as int64 and stay exact as float64. */
export type Numbers = Float32Array | Float64Array | Int32Array | Uint8Array;
const STORED = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array } as const;

type Stored = InstanceType<(typeof STORED)[keyof typeof STORED]>;

/** What of a group's store is used: ranges are always there. */
export type Ranged = AsyncReadable & Required<Pick<AsyncReadable, "getRange">>;

interface Column {
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
    const chunk = Math.floor(row / perChunk);
    const block = Math.floor((row - chunk * perChunk) / perBlock);
    const start = block * perBlock;
    const numbers = await this.#remembered(`${name}/${chunk}/${start}`, () => this.#read(column, chunk, start, Math.min(start + perBlock, perChunk)));
    const at = (row - chunk * perChunk - start) * width;
    return numbers.subarray(at, at + width);
  }

  /** All numbers of a chunk of rows. */
  async chunk(name: string, chunk: number): Promise<Numbers> {
    const column = await this.#column(name);
    const parts = await this.#remembered(`${name}/${chunk}`, () => this.#whole(column, chunk));
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

  /** Rows `start` to `stop` of a chunk. */
  async #read({ array, stored, perChunk, width, plain }: Column, chunk: number, start: number, stop: number): Promise<Numbers> {
    const place = [chunk, ...array.shape.slice(1).map(() => 0)];
    if (!plain || (start === 0 && stop === perChunk)) {
      const { data } = await array.getChunk(place);
      return told(data as Stored).subarray(start * width, stop * width);
    }
    const row = width * stored.BYTES_PER_ELEMENT;
    const { path } = array.resolve(["c", ...place].join("/"));
    const bytes = await this.store.getRange(path, { offset: start * row, length: (stop - start) * row });
    if (bytes) return told(new stored(bytes.slice().buffer as ArrayBuffer));
    return told(new stored((stop - start) * width).fill(array.fillValue as never));
  }

  #remembered(key: string, read: () => Promise<Numbers>): Promise<Numbers> {
    const known = this.#blocks.get(key);
    if (known) return known;
    const numbers = read();
    this.#blocks.set(key, numbers);
    numbers.catch(() => this.#blocks.delete(key));
    return numbers;
  }

  #column(name: string): Promise<Column> {
    const known = this.#columns.get(name);
    if (known) return known;
    const column = this.#open(name);
    this.#columns.set(name, column);
    column.catch(() => this.#columns.delete(name));
    return column;
  }

  async #open(name: string): Promise<Column> {
    const at = this.group.resolve(name);
    const [array, metadata] = await Promise.all([zarr.open.v3(at, { kind: "array" }), this.store.get(at.resolve("zarr.json").path as "/")]);
    const stored = STORED[array.dtype as keyof typeof STORED];
    if (!stored) throw new Error(`${at.path} holds ${array.dtype}, which this page does not read`);
    const width = array.shape.slice(1).reduce((product, length) => product * length, 1);
    const perChunk = array.chunks[0]!;
    const plain = isPlain(metadata);
    const perBlock = plain ? Math.min(perChunk, Math.max(1, Math.floor(BLOCK / (width * stored.BYTES_PER_ELEMENT)))) : perChunk;
    return { array, stored, rows: array.shape[0]!, perChunk, perBlock, width, plain };
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

/** Whether chunks are nothing but their numbers, so that a row lies where one can tell. */
function isPlain(metadata: Uint8Array | undefined): boolean {
  const { codecs } = JSON.parse(new TextDecoder().decode(metadata)) as { codecs: { name: string; configuration?: { endian?: string } }[] };
  return codecs.length === 1 && codecs[0]!.name === "bytes" && (codecs[0]!.configuration?.endian ?? "little") === "little";
}
