import { expect, test } from "vitest";
import { arrange, outcomes, readArrangement, SORTS, usual, valueOf, writtenArrangement, type Arrangeable, type Arrangement } from "../src/logic/arrange";
import type { Overview } from "../src/logic/statistics";
import { Status } from "../src/logic/words";

const { OK, NAN, ABSENT, COMING } = Status;
const [POSITIVE, NEGATIVE, EXAMPLE] = [
  { name: "positive", variant: 0 },
  { name: "negative", variant: 1 },
  { name: "top activating image", variant: null },
];
/** Of units 0 to 4: unit 3 was not rendered, and unit 1 has no positive picture. */
const STATUSES = [OK, OK, NAN, OK, OK, OK, ABSENT, ABSENT, OK, OK];
const OVERVIEW: Overview = {
  mean: Float32Array.of(5, 4, 3, 2, 1),
  activeImages: Float32Array.of(0.1, 0.5, 0.3, 0, 0.2),
  top: Float32Array.of(10, 20, 0, 5, NaN),
  dead: Uint8Array.of(0, 0, 1, 0, 0),
  ratio: Float32Array.of(0.3, 3, 9, 0.25, NaN, 1, 9, 9, 0.5, NaN),
  derived: true,
};

function layer(pictured = true): Arrangeable {
  const at = (unit: number, variant: number) => 2 * unit + variant;
  return {
    entry: { channels: 5, features: { variants: ["positive", "negative"], size: 32, recipe: "quick", steps: 8, units: 5, done: 4, pictured } },
    variants: ["positive", "negative"],
    faces: [POSITIVE!, NEGATIVE!, EXAMPLE!],
    numbers: { objectivePeak: Float32Array.of(3, -3, 99, -1, 3, -2, 99, 99, 1, -5), objective: Float32Array.of(1, 1, 1, 1, 2, 1, 1, 1, 3, 1), agreement: null },
    at,
    status: (unit, variant) => (pictured ? STATUSES[at(unit, variant)]! : COMING),
    rendered: (unit) => pictured && unit !== 3,
  };
}

function order(change: Partial<Arrangement>, of = layer(), overview: Overview | null = OVERVIEW): number[] {
  return arrange(of, overview, { face: POSITIVE!, sort: "index", status: "rendered", ...change });
}

test("units that were rendered, in their order", () => {
  expect(order({})).toEqual([0, 1, 2, 4]);
  expect(order({ status: "all" })).toEqual([0, 1, 2, 3, 4]);
});

test("the strongest first; equal ones in their order, and last what has no number", () => {
  expect(order({ sort: "objective_peak" })).toEqual([0, 2, 4, 1]);
  expect(order({ sort: "objective" })).toEqual([4, 2, 0, 1]);
  expect(order({ sort: "activation", status: "all" })).toEqual([0, 1, 2, 3, 4]);
  expect(order({ sort: "images", status: "all" })).toEqual([1, 2, 4, 0, 3]);
  expect(order({ sort: "example", status: "all" })).toEqual([1, 0, 3, 2, 4]);
});

test("of negatives the strongest is the lowest", () => {
  expect(order({ face: NEGATIVE!, sort: "objective_peak" })).toEqual([4, 0, 2, 1]);
});

test("the ratio is the store's, and none of a unit without a picture, or where the store has none", () => {
  const ratio = valueOf(layer(), OVERVIEW, POSITIVE!, "ratio");
  expect(ratio(0)).toBeCloseTo(0.3, 6);
  expect(ratio(1)).toBeNaN();
  expect(ratio(2)).toBeNaN();
  expect(valueOf(layer(), OVERVIEW, NEGATIVE!, "ratio")(1)).toBeCloseTo(0.25, 6);
  expect(valueOf(layer(), { ...OVERVIEW, ratio: null, derived: false }, POSITIVE!, "ratio")(0)).toBeNaN();
  expect(valueOf(layer(), null, POSITIVE!, "ratio")(0)).toBeNaN();
});

test("nobody is dead where the store does not say who is", () => {
  const silent = { ...OVERVIEW, dead: null };
  expect(order({ status: "dead" }, layer(), silent)).toEqual([]);
  expect(outcomes(layer(), silent, POSITIVE!).map(([status]) => status)).not.toContain("dead");
});

test("a status shows its units alone", () => {
  expect(order({ status: "nan" })).toEqual([1]);
  expect(order({ status: "absent" })).toEqual([3]);
  expect(order({ status: "dead" })).toEqual([2]);
  expect(order({ status: "dead" }, layer(), null)).toEqual([]);
  expect(order({ status: "no such" })).toEqual([]);
});

test("before the numbers are written all units are tried", () => {
  expect(order({}, layer(false))).toEqual([0, 1, 2, 3, 4]);
  expect(usual(layer(false), POSITIVE!)).toBe("all");
  expect(usual(layer(), POSITIVE!)).toBe("rendered");
  expect(usual(layer(), EXAMPLE!)).toBe("all");
});

test("how many units came to what", () => {
  expect(outcomes(layer(), OVERVIEW, POSITIVE!)).toEqual([
    ["ok", 3],
    ["nan", 1],
    ["absent", 1],
    ["dead", 1],
  ]);
  expect(outcomes(layer(false), null, POSITIVE!)).toEqual([]);
});

test("addresses of before lead where they did", () => {
  for (const [was, is] of [["sort=peak", "sort=objective_peak"], ["sort=mean&status=silent", "sort=objective&status=dead"]]) {
    const read = readArrangement(new URLSearchParams(was), layer());
    expect(read).toEqual(readArrangement(new URLSearchParams(is), layer()));
    expect(writtenArrangement(read, layer()).toString()).toBe(is);
  }
});

test("an arrangement is read as it is written", () => {
  for (const face of layer().faces) for (const sort of SORTS) for (const status of ["all", "rendered", "nan", "dead"]) {
    const of = layer();
    const wanted = { face: of.faces.find(({ name }) => name === face.name)!, sort, status };
    expect(readArrangement(writtenArrangement(wanted, of), of)).toEqual(wanted);
  }
});

test("what an address says wrongly is as usual, and what is usual is not said", () => {
  const of = layer();
  const shown = readArrangement(new URLSearchParams("sort=size&variant=no"), of);
  expect(shown).toEqual({ face: POSITIVE, sort: "index", status: "rendered" });
  expect(writtenArrangement(shown, of).toString()).toBe("");
});
