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

  /** Ask for a tile; `then` is called when it is here. Nothing happens where it is, or was asked for. A damaged one is marked, and said. */
  ask(tile: number, then: () => void, failed: (error: unknown) => void): void {
    if (this.#ready.has(tile) || this.#asked.has(tile)) return;
    this.#asked.add(tile);
    this.gallery
      .picture(tile, 0)
      .then((address) => this.#decoded(address))
      .catch((error) => {
        if (!isDamage(error)) throw error;
        failed(error);
        return crossed();
      })
      .then((canvas) => {
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
