/**
 * The pictures of one array, as addresses that an <img> takes.
 *
 *     (unit, variant) -> "blob:..." | null where there is no picture
 *
 * Wishes of the same moment go out together, so that neighbours in the file share a request; the latest wishes
 * go first, for they are what the reader looks at now.
 */
import type * as zarr from "zarrita";
import { isPicture } from "./codec";

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

interface Wish {
  unit: number;
  variant: number;
  signal: AbortSignal | undefined;
  grant: (address: string | null) => void;
  refuse: (error: unknown) => void;
}

export class Gallery {
  #array: zarr.Array<"uint8">;
  #most: number;
  #known = new Map<string, string | null>();
  #wishes: Wish[] = [];
  #rounds = 0;
  #scheduled = false;

  /** `most` pictures are asked for in one round. */
  constructor(array: zarr.Array<"uint8">, most: number) {
    this.#array = array;
    this.#most = most;
  }

  /** Side of a picture in pixels. */
  get side(): number {
    return this.#array.shape[3] ?? 0;
  }

  /** The address if it is already here; undefined if it must be asked for. */
  known(unit: number, variant: number): string | null | undefined {
    return this.#known.get(`${unit}/${variant}`);
  }

  picture(unit: number, variant: number, signal?: AbortSignal): Promise<string | null> {
    const known = this.known(unit, variant);
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((grant, refuse) => {
      this.#wishes.push({ unit, variant, signal, grant, refuse });
      this.#schedule();
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
    const wishes = this.#wishes.splice(-this.#most).sort((a, b) => a.unit - b.unit || a.variant - b.variant);
    if (wishes.length === 0) return;
    this.#rounds++;
    if (this.#wishes.length > 0) this.#schedule();
    await Promise.all(wishes.map((wish) => this.#fulfil(wish)));
    this.#rounds--;
    if (this.#wishes.length > 0) this.#schedule();
  }

  async #fulfil({ unit, variant, grant, refuse }: Wish): Promise<void> {
    try {
      const known = this.known(unit, variant);
      if (known !== undefined) return grant(known);
      const { data } = await this.#array.getChunk([unit, variant, 0, 0, 0]);
      const address = isPicture(data) ? URL.createObjectURL(new Blob([data as BlobPart], { type: "image/jpeg" })) : null;
      this.#known.set(`${unit}/${variant}`, address);
      if (address) keep(address, () => this.#known.delete(`${unit}/${variant}`));
      grant(address);
    } catch (error) {
      refuse(error);
    }
  }
}
