import { describe, expect, test } from "vitest";
import { ALL, CHANNEL, meant, parse, parseUnit, toAtlas, toClass, toImage, toImages, toLayer, toUnit, unitName } from "../src/logic/routes";

const NAMES = ["features.11", "a/b", "/", "%", "100%", "%2F", "a%zz", "a#b", "a?b=c&d", "a:3", ":", "a b", "ünïcödé", "日本語", "😀", "images", "classes", "images/3", "a/atlas", "..", "a\u202eb", "'\"<b>"];

describe.each(NAMES)("the layer %j", (layer) => {
  test("is found again by its address", () => {
    expect(parse(toLayer(layer))).toMatchObject({ page: "layer", layer });
  });

  test("keeps how its wall is shown", () => {
    const route = parse(toLayer(layer, new URLSearchParams({ sort: "objective_peak", status: "not an image", odd: "?&#/" })));
    expect(route).toMatchObject({ page: "layer", layer });
    expect(Object.fromEntries((route as { view: URLSearchParams }).view)).toEqual({ sort: "objective_peak", status: "not an image", odd: "?&#/" });
  });

  test("has units with addresses, in each basis", () => {
    expect(parse(toUnit(layer, 300))).toEqual({ page: "unit", layer, basis: CHANNEL, index: 300 });
    expect(parse(toUnit(layer, 0, "pca_2"))).toEqual({ page: "unit", layer, basis: "pca_2", index: 0 });
  });

  test("has atlases with addresses", () => {
    expect(parse(toAtlas(layer))).toMatchObject({ page: "atlas", layer, map: ALL });
    expect(parse(toAtlas(layer, "pair-207-208", new URLSearchParams("at=0.5,0.5")))).toMatchObject({ page: "atlas", layer, map: "pair-207-208" });
  });

  test("is what a reader means who writes its name, or its unit", () => {
    expect(meant(layer, [layer, "other"])).toBe(toLayer(layer));
    expect(meant(`${layer}:7`, [layer, "other"])).toBe(toUnit(layer, 7));
  });
});

test.each(NAMES.filter((name) => !name.includes("\u202e")))("a unit of %j is parsed from its name", (layer) => {
  expect(parseUnit(unitName(layer, 12))).toEqual({ layer, basis: CHANNEL, index: 12 });
  expect(parseUnit(unitName(layer, 12, "pca"))).toEqual({ layer, basis: "pca", index: 12 });
});

test("pages without a layer have addresses", () => {
  expect(parse("")).toEqual({ page: "home" });
  expect(parse("#/")).toEqual({ page: "home" });
  expect(parse(toImage(12))).toEqual({ page: "image", number: 12 });
  expect(parse(toClass(7))).toEqual({ page: "class", number: 7 });
  expect(parse(toImages())).toMatchObject({ page: "images" });
  expect((parse(toImages(new URLSearchParams({ from: "20000" }))) as { view: URLSearchParams }).view.get("from")).toBe("20000");
});

test("a map of a class is called as the command line says it, and found by its stored name too", () => {
  const stored = { page: "atlas", layer: "a", map: "winners-207" };
  expect(toAtlas("a", "winners-207")).toBe("#/a/atlas/class-207");
  for (const address of ["#/a/atlas/class-207", "#/a/atlas/winners-207"]) expect(parse(address)).toMatchObject(stored);
});

test("what names nothing leads nowhere", () => {
  for (const text of ["a/b/c", "a/B:3", "a:b:3", "a:x", "images/x", "classes/", ":3", "/3", "a/atlas/B"]) expect(parse(`#/${text}`)).toEqual({ page: "nowhere", text });
});

test("a name that is no percent-encoding stays as it is", () => {
  expect(parse("#/100%")).toMatchObject({ page: "layer", layer: "100%" });
  expect(parse("#/%ff")).toMatchObject({ page: "layer", layer: "%ff" });
});

test("the layer of a name is meant before a unit", () => {
  expect(meant("a:3", ["a:3", "a"])).toBe(toLayer("a:3"));
  expect(meant("a:3", ["a"])).toBe(toUnit("a", 3));
  expect(meant("a%3A:3", ["a:"])).toBe(toUnit("a:", 3));
  expect(meant("unknown", ["a"])).toBe(toLayer("unknown"));
});
