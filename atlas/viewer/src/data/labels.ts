/** The names of the classes, where the store has them: `classes.json` holds a list of them, or an object with their `names`. */
import { parsed } from "../logic/shape";
import { visible } from "../logic/text";
import { once } from "./once";
import type { Folder } from "./store";

const asked = new Map<Folder, Promise<string[]>>();

/** Whether the store names classes; not known of older ones. */
let named = true;

export function expectLabels(there: boolean | undefined): void {
  named = there !== false;
}

/** The name of every class by its number; empty where the store does not say. */
export function readLabels(store: Folder): Promise<string[]> {
  return named ? once(asked, store, () => read(store)) : Promise.resolve([]);
}

async function read(store: Folder): Promise<string[]> {
  const value = parsed(await store.get("classes.json")) as { names?: unknown } | null;
  const names = Array.isArray(value) ? value : value?.names;
  return Array.isArray(names) ? names.map((name) => visible(String(name))) : [];
}
