/** Objects of a store, held in memory, and what was asked for of them: `KEY`, or `KEY OFFSET+LENGTH`. */
export class Objects {
  asked: string[] = [];
  readonly #objects = new Map<string, Uint8Array>();

  /** `folder` is where they lie in the store, as messages name them. */
  constructor(readonly folder = "") {}

  put(key: string, value: ArrayBufferView | object): void {
    const bytes = ArrayBuffer.isView(value) ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : new TextEncoder().encode(JSON.stringify(value));
    this.#objects.set(key, bytes);
  }

  forget(): void {
    this.asked = [];
    this.#objects.clear();
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    this.asked.push(key);
    return this.#objects.get(key);
  }

  async getRange(key: string, range: { offset: number; length: number }): Promise<Uint8Array | undefined> {
    this.asked.push(`${key} ${range.offset}+${range.length}`);
    return this.#objects.get(key)?.subarray(range.offset, range.offset + range.length);
  }

  lengthOf(key: string): number | undefined {
    return this.#objects.get(key)?.length;
  }

  nameOf(key: string): string {
    return this.folder + key.replace(/^\//, "");
  }
}

const LITTLE = [{ name: "bytes", configuration: { endian: "little" } }];

/** What Zarr says of an array; one chunk, little-endian and filled with zeros unless said. */
export function described(dtype: string, shape: number[], chunk = shape, codecs: unknown[] = LITTLE, fill = 0): object {
  return {
    zarr_format: 3,
    node_type: "array",
    shape,
    data_type: dtype,
    chunk_grid: { name: "regular", configuration: { chunk_shape: chunk } },
    chunk_key_encoding: { name: "default", configuration: { separator: "/" } },
    fill_value: fill,
    codecs,
    attributes: {},
  };
}
