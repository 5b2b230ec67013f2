/**
 * The visible cells of a grid onto a canvas.
 *
 *     camera, grid, cells, look -> pixels; tiles that are not here are asked for
 *
 * Cells are drawn one by one out of their tiles, so that each can fade or shrink by itself.
 */
import type { Grid } from "../../data/atlas";
import type { Tiles, Waiting } from "../../data/tiles";
import type { Camera } from "../../logic/camera";
import type { Look } from "../../logic/cell-style";
import type { Cells } from "../../logic/cells";

/** Share of a cell's side that is left free around its picture, where a cell is large enough to leave any. */
const GAP = 0.035;
const SMALL = 12;

export interface Scene {
  grid: Grid;
  cells: Cells;
  look: Look;
}

export interface Ink {
  /** Where a cell has samples and no picture. */
  dot: string;
  /** Around a cell whose picture could not be made. */
  line: string;
}

/** Ask for what the visible cells need; how many of their pictures are nowhere yet. `density` pixels make one of the page. */
export function ask(camera: Camera, { grid, cells }: Scene, density: number, waiting: Waiting): number {
  const level = levelFor(grid.levels, (camera.size / cells.side) * density);
  if (!level) return 0;
  let missing = 0;
  for (const { entry, column, row } of inSight(camera, cells)) {
    if (entry < 0 || !pictured(cells, entry)) continue;
    level.ask(level.locate(column, row).tile, waiting);
    if (!here(grid.levels, level, column, row)) missing++;
  }
  return missing;
}

/** Draw the visible cells of a grid. `alpha` is of all of them. */
export function draw(pen: CanvasRenderingContext2D, camera: Camera, { grid, cells, look }: Scene, alpha: number, density: number, ink: Ink): void {
  const pixels = camera.size / cells.side;
  const level = levelFor(grid.levels, pixels * density);
  const gap = pixels < SMALL ? 0 : GAP * pixels;
  // To whole pixels of the screen: gaps between cells would differ else.
  const snapped = (value: number) => Math.round(value * density) / density;
  for (const { cell, entry, column, row } of inSight(camera, cells)) {
    const [x, y] = [snapped(camera.left + column * pixels), snapped(camera.top + row * pixels)];
    pen.globalAlpha = entry < 0 ? alpha : alpha * look.opacity[entry]!;
    if (entry < 0) {
      if (cells.count[cell]! > 0) dot(pen, x + pixels / 2, y + pixels / 2, pixels, ink.dot);
      continue;
    }
    const whole = snapped(camera.left + (column + 1) * pixels) - x;
    const size = snapped((whole - 2 * gap) * look.scale[entry]!);
    const edge = snapped((whole - size) / 2);
    const from = level && pictured(cells, entry) ? here(grid.levels, level, column, row) : null;
    if (from) pen.drawImage(from.canvas, from.x, from.y, from.cell, from.cell, x + edge, y + edge, size, size);
    else if (!level || !pictured(cells, entry)) frame(pen, x + edge, y + edge, size, ink.line, cells.doubt(entry) === "failed");
  }
  pen.globalAlpha = 1;
}

interface Seen {
  cell: number;
  entry: number;
  column: number;
  row: number;
}

/** The cells within the window, row by row. */
function* inSight({ left, top, size, room }: Camera, { side, entry }: Cells): Generator<Seen> {
  const pixels = size / side;
  const [down, right] = [visible(top, room.height, pixels, side), visible(left, room.width, pixels, side)];
  for (let row = down.from; row < down.to; row++) {
    for (let column = right.from; column < right.to; column++) {
      const cell = row * side + column;
      yield { cell, entry: entry[cell]!, column, row };
    }
  }
}

function visible(start: number, room: number, pixels: number, side: number): { from: number; to: number } {
  return { from: Math.max(0, Math.floor(-start / pixels)), to: Math.min(side, Math.ceil((room - start) / pixels)) };
}

function pictured(cells: Cells, entry: number): boolean {
  const doubt = cells.doubt(entry);
  return doubt === null || doubt === "rank";
}

/** The smallest level whose cells are as large as they are shown, or nearly. */
function levelFor(levels: Tiles[], pixels: number): Tiles | undefined {
  return levels.findLast(({ cell }) => cell >= 0.8 * pixels) ?? levels[0];
}

/** A cell in its tile, or in another level's while that is on its way; null where it is nowhere yet. */
function here(levels: Tiles[], level: Tiles, column: number, row: number): { canvas: HTMLCanvasElement; x: number; y: number; cell: number } | null {
  for (const one of [level, ...levels]) {
    const { tile, x, y } = one.locate(column, row);
    const canvas = one.ready(tile);
    if (canvas) return { canvas, x, y, cell: one.cell };
  }
  return null;
}

function frame(pen: CanvasRenderingContext2D, x: number, y: number, size: number, colour: string, dashed: boolean): void {
  pen.beginPath();
  pen.roundRect(x + 0.5, y + 0.5, Math.max(1, size - 1), Math.max(1, size - 1), 0.09 * size);
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  pen.setLineDash(dashed ? [3, 3] : []);
  pen.stroke();
  pen.setLineDash([]);
}

/** Too few samples to say anything, but some. */
function dot(pen: CanvasRenderingContext2D, x: number, y: number, pixels: number, colour: string): void {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(x, y, Math.max(0.7, Math.min(2.5, 0.05 * pixels)), 0, 2 * Math.PI);
  pen.fill();
}
