/**
 * Where a map of side 1 lies on the page, and which of its grids is looked at.
 *
 *     view (centre, zoom), room -> camera -> place on the page | cell below a point
 */
import type { Place } from "./cells";

/** What an address says: the point in the middle, in sides of the map, and how many times larger than all of it at once. */
export interface View {
  x: number;
  y: number;
  zoom: number;
}

export const WHOLE: View = { x: 0.5, y: 0.5, zoom: 1 };
/** Pixels of the page that a cell has at least before the next finer grid is shown in its stead. */
const LEAST = 48;
/** Pixels that a cell of the finest grid may grow to. */
const MOST = 240;
/** Room around the map when all of it is shown, as a share of the room there is. */
const MARGIN = 0.04;

/** The window of a map, pixels, and what of it at the right and below is covered. */
export interface Room {
  width: number;
  height: number;
  right: number;
  below: number;
}

/** Size and place of the map's square in its window. */
export interface Camera {
  left: number;
  top: number;
  size: number;
  room: Room;
}

/** Side of the square when all of the map is shown. */
export function fit({ width, height }: Room): number {
  return Math.max(80, Math.min(width, height) * (1 - 2 * MARGIN));
}

function middle({ width, height, right, below }: Room): [number, number] {
  return [(width - right) / 2, (height - below) / 2];
}

export function cameraOf({ x, y, zoom }: View, room: Room): Camera {
  const size = zoom * fit(room);
  const [across, down] = middle(room);
  return { left: across - x * size, top: down - y * size, size, room };
}

export function viewOf({ left, top, size, room }: Camera): View {
  const [across, down] = middle(room);
  return { x: (across - left) / size, y: (down - top) / size, zoom: size / fit(room) };
}

/** The side of the grid that is shown: the finest whose cells are large enough, else the coarsest. */
export function sideAt(size: number, sides: number[]): number {
  return sides.findLast((side) => size / side >= LEAST) ?? sides[0]!;
}

/** Zooms between which a map is shown. */
export function zooms(room: Room, sides: number[]): [number, number] {
  return [0.7, Math.max(2, (MOST * sides.at(-1)!) / fit(room))];
}

/** The cell of a grid of `side` below a point of the page; null beside the map. */
export function placeBelow({ left, top, size }: Camera, x: number, y: number, side: number): Place | null {
  const [column, row] = [Math.floor(((x - left) / size) * side), Math.floor(((y - top) / size) * side)];
  return column < 0 || row < 0 || column >= side || row >= side ? null : { side, column, row };
}

/** Where a cell lies on the page. */
export function squareOf({ left, top, size }: Camera, { side, column, row }: Place): { x: number; y: number; size: number } {
  return { x: left + (column / side) * size, y: top + (row / side) * size, size: size / side };
}

/** The view that shows a cell large, with some of what is around it. */
export function viewAt({ side, column, row }: Place, room: Room): View {
  return { x: (column + 0.5) / side, y: (row + 0.5) / side, zoom: (1.5 * LEAST * side) / fit(room) };
}

export function writtenView({ x, y, zoom }: View): { at: string; zoom: string } {
  const short = (value: number, digits: number) => String(Number(value.toFixed(digits)));
  return { at: `${short(x, 4)},${short(y, 4)}`, zoom: short(zoom, 3) };
}

/** The view that an address says; all of the map where it says none. */
export function readView(query: URLSearchParams): View {
  const [x, y] = (query.get("at") ?? "").split(",").map(Number);
  const zoom = Number(query.get("zoom"));
  const good = x !== undefined && y !== undefined && query.get("at") && [x, y, zoom].every(Number.isFinite) && zoom > 0;
  return good ? { x: Math.min(1.2, Math.max(-0.2, x)), y: Math.min(1.2, Math.max(-0.2, y)), zoom } : WHOLE;
}

export function writtenPlace({ side, column, row }: Place): string {
  return `${side}:${column},${row}`;
}

/** The cell that `text`, SIDE:COLUMN,ROW, names; null where it names none. */
export function readPlace(text: string | null): Place | null {
  const [, side, column, row] = (/^(\d+):(\d+),(\d+)$/.exec(text ?? "") ?? []).map(Number);
  return side && column! < side && row! < side ? { side, column: column!, row: row! } : null;
}

/** The cell of another grid in which the middle of a cell lies. */
export function placeIn({ side, column, row }: Place, other: number): Place {
  return { side: other, column: Math.floor(((column + 0.5) / side) * other), row: Math.floor(((row + 0.5) / side) * other) };
}
