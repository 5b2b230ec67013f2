/** Which way the folders of the app depend on each other. */
import { expect, test } from "vitest";

/** A file imports from its own floor and those after it: pages -> components -> data -> logic. */
const FLOORS = ["", "pages", "components", "data", "logic"];
const SOURCES = import.meta.glob<string>("../src/**/*.{ts,svelte}", { query: "?raw", import: "default", eager: true });

interface Import {
  from: string;
  to: string;
}

/** The folder of `src` that a path lies in; "" for what lies beside the folders. */
function folder(path: string): string {
  return path.includes("/") ? path.split("/", 1)[0]! : "";
}

function resolved(file: string, address: string): string {
  return new URL(address, `file:///${file}`).pathname.slice(1);
}

const imports = Object.entries(SOURCES).flatMap(([path, text]): Import[] => {
  const from = path.replace("../src/", "");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g)].map(([, address]) => ({ from, to: resolved(from, address!) }));
});

test("every source lies on a floor, and imports were found on each", () => {
  const found = new Set(imports.map(({ from }) => folder(from)));
  expect([...found].sort()).toEqual([...FLOORS].sort());
});

test("nothing is imported from a floor above", () => {
  const upwards = imports.filter(({ from, to }) => FLOORS.indexOf(folder(to)) < FLOORS.indexOf(folder(from)));
  expect(upwards).toEqual([]);
});

test("logic asks no server, touches no page and needs no package", () => {
  const logic = Object.entries(SOURCES).filter(([path]) => path.startsWith("../src/logic/"));
  expect(logic.length).toBeGreaterThan(10);
  expect(logic.filter(([, text]) => /\b(document|window)\.\w|\bfetch\(|from "[^.]/.test(text)).map(([path]) => path)).toEqual([]);
});
