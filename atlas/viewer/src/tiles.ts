/**
 * The tiles of one level of a map, as pictures that a canvas can draw.
 *
 *     tile -> JPEG file -> canvas with the corners of its cells rounded
 *
 * A tile is 400 pixels and holds whole cells: 5 x 5 of them, or 10 x 10 and more where the level is a halving of its grid.
 */
import type { Gallery } from "./gallery";

export const TILE = 400;
const CELL = 80;
/** Radius of a cell's corner, as a share of its side. */
const ROUND = 0.09;
/** Tiles kept decoded, 640 KB each, of all levels together. */
const KEPT = 160;
const kept = new Set<() => void>();

export class Tiles {
  #ready = new Map<number, HTMLCanvasElement>();
  #asked = new Set<number>();
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

  /** Ask for a tile; `then` is called when it is here. Nothing happens where it is, or was asked for. */
  ask(tile: number, then: () => void, failed: (error: unknown) => void): void {
    if (this.#ready.has(tile) || this.#asked.has(tile)) return;
    this.#asked.add(tile);
    this.gallery
      .picture(tile, 0)
      .then((address) => (address ? this.#decoded(address) : null))
      .then((canvas) => {
        if (!canvas) return; // a hole: it stays asked for
        this.#asked.delete(tile);
        this.#keep(tile, canvas);
        then();
      })
      .catch((error) => {
        this.#asked.delete(tile);
        failed(error);
      });
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

  async #decoded(address: string): Promise<HTMLCanvasElement> {
    const image = new Image();
    image.src = address;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = TILE;
    const pen = canvas.getContext("2d")!;
    pen.beginPath();
    for (let y = 0; y < TILE; y += this.cell) for (let x = 0; x < TILE; x += this.cell) pen.roundRect(x, y, this.cell, this.cell, ROUND * this.cell);
    pen.clip();
    pen.drawImage(image, 0, 0);
    return canvas;
  }
}
