import { expect, test } from "vitest";
import { isDead, isHigh, isReliable, isSigned, QUANTILES, ratioOf } from "../src/logic/derived";
import cases from "./derived.json";

/** JSON has no NaN: null stands for it. */
const number = (value: unknown) => (value === null ? NaN : (value as number));

test("quantiles are at the levels that Python names", () => {
  expect(QUANTILES).toEqual(cases.quantiles);
});

test.each(cases.ratio)("ratio of %s to %s, %s: %s", (peak, example, variant, ratio) => {
  expect(Math.fround(ratioOf(number(peak), number(example), variant === "negative"))).toEqual(number(ratio));
});

test.each(cases.dead)("best example %s in a layer from %s, values up to %s, dead: %s", (top, least, largest, dead) => {
  expect(isDead(number(top), isSigned([number(least), 0]), least === largest)).toBe(dead);
});

test.each(cases.picture)("rank %s of %s pictures is high: %s", (rank, pictures, high) => {
  expect(isHigh(number(rank), number(pictures))).toBe(high);
});

test.each(cases.label)("a label of %s samples and stability %s is reliable: %s", (count, stability, reliable) => {
  expect(isReliable(number(count), number(stability))).toBe(reliable);
});
