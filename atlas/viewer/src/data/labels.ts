/** The names of the classes, where the store has them: `classes.json` holds a list of them, or an object with their `names`. */
import { visible } from "../logic/text";
import type { Folder } from "./store";

let asked: { store: Folder; names: Promise<string[]> } | undefined;

/** Whether the store names classes; not known of older ones. */
let named = true;

export function expectLabels(there: boolean | undefined): void {
  named = there !== false;
}

/** The name of every class by its number; empty where the store does not say. */
export function readLabels(store: Folder): Promise<string[]> {
  if (!named) return Promise.resolve([]);
  if (asked?.store === store) return asked.names;
  const names = read(store);
  asked = { store, names };
  names.catch(() => (asked = undefined));
  return names;
}

async function read(store: Folder): Promise<string[]> {
  const bytes = await store.get("classes.json");
  if (!bytes) return [];
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    const names: unknown = Array.isArray(value) ? value : (value as { names?: unknown }).names;
    return Array.isArray(names) ? names.map((name) => visible(String(name))) : [];
  } catch {
    return [];
  }
}
