import { expect, test } from "vitest";
import { plain, readAtlasView, writtenAtlasView, writtenEmphasis, type AtlasView } from "../src/logic/atlas-view";
import { WHOLE } from "../src/logic/camera";

const USUAL: AtlasView = { at: WHOLE, cell: null, label: null, sign: 1, sized: false, faint: true };
const VIEWS: AtlasView[] = [
  USUAL,
  { ...USUAL, at: { x: 0.25, y: 0.75, zoom: 3.5 } },
  { at: { x: 0.1, y: 0.2, zoom: 2 }, cell: { side: 20, column: 7, row: 12 }, label: 3, sign: -1, sized: true, faint: false },
  { ...USUAL, label: 0 },
];

test.each(VIEWS)("is read as it is written: %o", (view) => {
  expect(readAtlasView(writtenAtlasView(view), 10)).toEqual(view);
});

test.each(VIEWS)("and from an address that is easy to read: %o", (view) => {
  const address = plain(`#/a/atlas?${writtenAtlasView(view)}`);
  expect(address).not.toMatch(/%2C|%3A|sized=/);
  expect(readAtlasView(new URLSearchParams(address.split("?")[1]), 10)).toEqual(view);
});

test("what is as usual is not said", () => {
  expect(writtenAtlasView(USUAL).toString()).toBe("");
  expect(writtenEmphasis({ ...USUAL, sign: -1 }).toString()).toBe("");
});

test.each(["10", "-1", "1.5", "x", ""])("a class that the network does not know is none: %j", (label) => {
  expect(readAtlasView(new URLSearchParams({ class: label }), 10).label).toBeNull();
});
