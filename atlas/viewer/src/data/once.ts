/** What is asked for once, and again after it failed or was forgotten. */

interface Known<Key, Value> {
  get(key: Key): Promise<Value> | undefined;
  set(key: Key, value: Promise<Value>): unknown;
  delete(key: Key): boolean;
}

/** What `known` holds for `key`, made where it holds nothing. */
export function once<Key, Value>(known: Known<Key, Value>, key: Key, make: () => Promise<Value>): Promise<Value> {
  const before = known.get(key);
  if (before) return before;
  const value = make();
  known.set(key, value);
  value.catch(() => known.delete(key));
  return value;
}
