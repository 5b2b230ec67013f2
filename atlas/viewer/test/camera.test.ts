import { expect, test } from "vitest";
import { cameraOf, fit, placeBelow, placeIn, readPlace, readView, sideAt, squareOf, viewAt, viewOf, WHOLE, writtenPlace, writtenView, zooms, type Room } from "../src/logic/camera";

const ROOM: Room = { width: 900, height: 600, right: 300, below: 0 };
const VIEWS = [WHOLE, { x: 0.2, y: 0.9, zoom: 3 }, { x: 1.1, y: -0.1, zoom: 0.7 }];

test.each(VIEWS)("a view is that of its camera: %o", (view) => {
  const again = viewOf(cameraOf(view, ROOM));
  expect(again.x).toBeCloseTo(view.x, 12);
  expect(again.y).toBeCloseTo(view.y, 12);
  expect(again.zoom).toBeCloseTo(view.zoom, 12);
});

test.each(VIEWS)("whatever the zoom, the point of a view stays in the middle of what is not covered: %o", (view) => {
  for (const zoom of [0.7, 1, 2.5, 40]) {
    const { left, top, size } = cameraOf({ ...view, zoom }, ROOM);
    expect(left + view.x * size).toBeCloseTo(300, 8);
    expect(top + view.y * size).toBeCloseTo(300, 8);
  }
});

test("all of the map fits its room, and never less than a little", () => {
  expect(fit(ROOM)).toBeLessThan(600);
  expect(fit(ROOM)).toBeGreaterThan(500);
  expect(fit({ ...ROOM, width: 10 })).toBe(80);
});

test("a finer grid is shown once its cells are 48 pixels", () => {
  expect(sideAt(479, [10, 20, 40])).toBe(10);
  expect(sideAt(959, [10, 20, 40])).toBe(10);
  expect(sideAt(960, [10, 20, 40])).toBe(20);
  expect(sideAt(100_000, [10, 20, 40])).toBe(40);
});

test("zooming ends where a cell of the finest grid has 240 pixels", () => {
  const [least, most] = zooms(ROOM, [10, 20, 40]);
  expect(least).toBeLessThan(1);
  expect((most * fit(ROOM)) / 40).toBeCloseTo(240, 8);
  expect(zooms(ROOM, [1])[1]).toBe(2);
});

test.each([
  { side: 10, column: 0, row: 0 },
  { side: 20, column: 19, row: 7 },
])("the cell below its own square is itself: %o", (place) => {
  const camera = cameraOf({ x: 0.3, y: 0.6, zoom: 2 }, ROOM);
  const { x, y, size } = squareOf(camera, place);
  for (const part of [0.01, 0.5, 0.99]) expect(placeBelow(camera, x + part * size, y + part * size, place.side)).toEqual(place);
});

test("beside the map there is no cell", () => {
  const camera = cameraOf(WHOLE, ROOM);
  expect(placeBelow(camera, camera.left - 1, camera.top + 5, 10)).toBeNull();
  expect(placeBelow(camera, camera.left + camera.size, camera.top + 5, 10)).toBeNull();
  expect(placeBelow(camera, camera.left + 5, camera.top + camera.size, 10)).toBeNull();
});

test("the view of a cell has its middle in the middle", () => {
  const place = { side: 20, column: 3, row: 11 };
  const { left, top, size } = cameraOf(viewAt(place, ROOM), ROOM);
  expect(placeBelow({ left, top, size, room: ROOM }, 300, 300, 20)).toEqual(place);
});

test("a cell lies in that of a coarser grid, and in one of a finer", () => {
  expect(placeIn({ side: 20, column: 19, row: 6 }, 10)).toEqual({ side: 10, column: 9, row: 3 });
  expect(placeIn({ side: 10, column: 9, row: 3 }, 20)).toEqual({ side: 20, column: 19, row: 7 });
});

test("views and cells are read as they are written", () => {
  const view = { x: 0.1235, y: 0.75, zoom: 2.125 };
  expect(readView(new URLSearchParams(writtenView(view)))).toEqual(view);
  expect(readPlace(writtenPlace({ side: 20, column: 7, row: 12 }))).toEqual({ side: 20, column: 7, row: 12 });
});

test.each(["", "at=0.5,0.5", "at=a,b&zoom=2", "at=0.5,0.5&zoom=0", "at=0.5,0.5&zoom=-1", "at=0.5&zoom=2", "zoom=2", "at=,&zoom=Infinity"])("an address that says no view shows all of the map: %j", (query) => {
  expect(readView(new URLSearchParams(query))).toEqual(WHOLE);
});

test("an address cannot lead far from the map", () => {
  expect(readView(new URLSearchParams("at=-7,9&zoom=2"))).toEqual({ x: -0.2, y: 1.2, zoom: 2 });
});

test.each([null, "", "20", "20:7", "20:20,0", "20:0,20", "0:0,0", "20:-1,3", "20:7,12,1", "20:7.5,1"])("%j names no cell", (text) => {
  expect(readPlace(text)).toBeNull();
});
