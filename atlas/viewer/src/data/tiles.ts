/**
 * The tiles of one level of a map, as pictures that a canvas can draw.
 *
 *     tile -> JPEG file -> canvas with the corners of its cells rounded
 *
 * A tile is 400 pixels and holds whole cells: 5 x 5 of them, or 10 x 10 and more where the level is a halving of its grid.
 */
import type { Gallery } from "./gallery";
import { damaged, isDamage } from "./problems";

export const TILE = 400;
const CELL = 80;
/** Radius of a cell's corner, as a share of its side. */
const ROUND = 0.09;
/** Tiles kept decoded, 640 KB each, of all levels together. */
const KEPT = 160;
const kept = new Set<() => void>();

/** Who waits for a tile: each is told, since the first to ask may have left the page when it comes. */
export interface Waiting {
  come: () => void;
  failed: (error: unknown) => void;
}

export class Tiles {
  #ready = new Map<number, HTMLCanvasElement>();
  #asked = new Map<number, Set<Waiting>>();
  /** Pixels of a cell. */
  readonly cell: number;
  /** Tiles along an edge of the map. */
  readonly across: number;

  constructor(
    readonly gallery: Gallery,
    readonly side: number,
    halvings: number,
  ) {
    this.cell = CELL / 2 ** halvings;
    this.across = Math.ceil((side * this.cell) / TILE);
  }

  /** Cells along the edge of a tile. */
  get holds(): number {
    return TILE / this.cell;
  }

  /** The tile that holds a cell, and where in it the cell begins. */
  locate(column: number, row: number): { tile: number; x: number; y: number } {
    const [right, down] = [Math.floor(column / this.holds), Math.floor(row / this.holds)];
    return { tile: down * this.across + right, x: (column - right * this.holds) * this.cell, y: (row - down * this.holds) * this.cell };
  }

  /** A tile if it is here. */
  ready(tile: number): HTMLCanvasElement | undefined {
    return this.#ready.get(tile);
  }

  /** Ask for a tile. Nothing happens where it is, or where `waiting` waits for it already. A damaged one is marked, and said. */
  ask(tile: number, waiting: Waiting): void {
    if (this.#ready.has(tile)) return;
    const asked = this.#asked.get(tile);
    if (asked) asked.add(waiting);
    else void this.#fetch(tile, new Set([waiting]));
  }

  async #fetch(tile: number, waiting: Set<Waiting>): Promise<void> {
    this.#asked.set(tile, waiting);
    const failed = (error: unknown) => waiting.forEach((one) => one.failed(error));
    try {
      this.#keep(tile, await this.#drawn(tile, failed));
      this.#asked.delete(tile);
      waiting.forEach((one) => one.come());
    } catch (error) {
      this.#asked.delete(tile);
      failed(error);
    }
  }

  async #drawn(tile: number, failed: (error: unknown) => void): Promise<HTMLCanvasElement> {
    try {
      return await this.#decoded(await this.gallery.picture(tile, 0));
    } catch (error) {
      if (!isDamage(error)) throw error;
      failed(error);
      return crossed();
    }
  }

  #keep(tile: number, canvas: HTMLCanvasElement): void {
    this.#ready.set(tile, canvas);
    kept.add(() => this.#ready.delete(tile));
    for (const forget of kept) {
      if (kept.size <= KEPT) return;
      kept.delete(forget);
      forget();
    }
  }

  async #decoded(address: string | null): Promise<HTMLCanvasElement> {
    const image = new Image();
    image.src = address ?? "";
    await image.decode().catch(() => null);
    if (image.naturalWidth !== TILE) throw damaged("A tile of this map", address ? "cannot be decoded" : "is missing");
    const [canvas, pen] = blank();
    pen.beginPath();
    for (let y = 0; y < TILE; y += this.cell) for (let x = 0; x < TILE; x += this.cell) pen.roundRect(x, y, this.cell, this.cell, ROUND * this.cell);
    pen.clip();
    pen.drawImage(image, 0, 0);
    return canvas;
  }
}

function blank(): [HTMLCanvasElement, CanvasRenderingContext2D] {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = TILE;
  return [canvas, canvas.getContext("2d")!];
}

/** What stands for a tile that is damaged: hatched, so that it is no picture. */
function crossed(): HTMLCanvasElement {
  const [canvas, pen] = blank();
  pen.fillStyle = "#8884";
  pen.fillRect(0, 0, TILE, TILE);
  pen.strokeStyle = "#c33c";
  pen.lineWidth = 3;
  pen.beginPath();
  for (let at = -TILE; at < TILE; at += 20) {
    pen.moveTo(at, 0);
    pen.lineTo(at + TILE, TILE);
  }
  pen.stroke();
  return canvas;
}
