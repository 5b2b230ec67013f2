/**
 * The pictures of one array, as addresses that an <img> takes.
 *
 *     (row, column) -> "blob:..." | null where there is no picture
 *
 * Rows are units and columns their variants, or rows are images.
 *
 * Wishes of the same moment go out together, so that neighbours in the file share a request; the latest wishes
 * go first, for they are what the reader looks at now.
 */
import * as zarr from "zarrita";
import { isNothing, isPicture } from "./codec";
import { damaged, isDamage, sound } from "./problems";

/** Rounds of requests on their way at a time. */
const ROUNDS = 3;
/** Pictures kept in memory, of all galleries together; a picture on the page stays when its address is given back. */
const KEPT = 6000;
const kept = new Map<string, () => void>();

function keep(address: string, drop: () => void): void {
  kept.set(address, drop);
  for (const [oldest, forget] of kept) {
    if (kept.size <= KEPT) return;
    kept.delete(oldest);
    URL.revokeObjectURL(oldest);
    forget();
  }
}

/** The array of a group's pictures. */
export function openPictures(group: zarr.Location<zarr.Readable>, name: string): Promise<zarr.Array<"uint8">> {
  return zarr.open.v3(group.resolve(name), { kind: "array" }) as Promise<zarr.Array<"uint8">>;
}

interface Wish {
  row: number;
  column: number;
  signal: AbortSignal | undefined;
  grant: (address: string | null) => void;
  refuse: (error: unknown) => void;
}

export class Gallery {
  #array: zarr.Array<"uint8"> | null;
  #most: number;
  #place: (row: number, column: number) => number[];
  #known = new Map<string, string | null>();
  #wishes: Wish[] = [];
  #rounds = 0;
  #scheduled = false;

  /** `most` pictures are asked for in one round; where one lies in the array says `place`. There is none in null. */
  constructor(array: zarr.Array<"uint8"> | null, most = 1, place = (row: number, column: number) => [row, column]) {
    this.#array = array;
    this.#most = most;
    this.#place = place;
  }

  /** Side of a picture in pixels. */
  get side(): number {
    return this.#array?.shape.at(-2) ?? 0;
  }

  /** The address if it is already here; undefined if it must be asked for. */
  known(row: number, column: number): string | null | undefined {
    return this.#array ? this.#known.get(`${row}/${column}`) : null;
  }

  /** Raises `Problem` where there is something else than a picture. */
  picture(row: number, column: number, signal?: AbortSignal): Promise<string | null> {
    const known = this.known(row, column);
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((grant, refuse) => {
      this.#wishes.push({ row, column, signal, grant, refuse });
      this.#schedule();
    });
  }

  /** The same; null also for a picture that is damaged. */
  intact(row: number, column: number, signal?: AbortSignal): Promise<string | null> {
    return this.picture(row, column, signal).catch((error) => {
      if (isDamage(error)) return null;
      throw error;
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#rounds >= ROUNDS) return;
    this.#scheduled = true;
    setTimeout(() => {
      this.#scheduled = false;
      void this.#round();
    });
  }

  async #round(): Promise<void> {
    this.#wishes = this.#wishes.filter((wish) => !wish.signal?.aborted || (wish.grant(null), false));
    const wishes = this.#wishes.splice(-this.#most).sort((a, b) => a.row - b.row || a.column - b.column);
    if (wishes.length === 0) return;
    this.#rounds++;
    if (this.#wishes.length > 0) this.#schedule();
    await Promise.all(wishes.map((wish) => this.#fulfil(wish)));
    this.#rounds--;
    if (this.#wishes.length > 0) this.#schedule();
  }

  async #fulfil({ row, column, grant, refuse }: Wish): Promise<void> {
    try {
      const known = this.known(row, column);
      if (known !== undefined) return grant(known);
      const what = `A picture of ${this.#array!.path.slice(1)}`;
      const { data } = await sound(what, () => this.#array!.getChunk([...this.#place(row, column), 0, 0, 0]));
      if (!isPicture(data) && !isNothing(data)) throw damaged(what, "is no picture");
      const address = isPicture(data) ? URL.createObjectURL(new Blob([data as BlobPart], { type: "image/jpeg" })) : null;
      this.#known.set(`${row}/${column}`, address);
      if (address) keep(address, () => this.#known.delete(`${row}/${column}`));
      grant(address);
    } catch (error) {
      refuse(error);
    }
  }
}

export const NO_PICTURES = new Gallery(null);
