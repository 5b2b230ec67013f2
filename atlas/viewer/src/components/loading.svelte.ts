/** What a component reads of the store, for as long as the component needs it. */
import { asProblem, type Problem } from "../data/problems";

/** Runs `read` as an effect. What arrives after it ran again, or after the component is gone, is dropped. */
export function load<T>(read: (signal: AbortSignal) => Promise<T> | null | undefined, found: (value: T) => void, failed?: (problem: Problem) => void): void {
  $effect(() => {
    const leaving = new AbortController();
    read(leaving.signal)?.then(
      (value) => leaving.signal.aborted || found(value),
      (error) => leaving.signal.aborted || failed?.(asProblem(error)),
    );
    return () => leaving.abort();
  });
}

/** The same, as a value: null until it is here, and where it is `fresh`, again whenever `read` runs again. */
export function loaded<T>(read: (signal: AbortSignal) => Promise<T> | null | undefined, failed?: (problem: Problem) => void, fresh = false): { readonly value: T | null } {
  let value = $state.raw<T | null>(null);
  const begun = (signal: AbortSignal) => {
    if (fresh) value = null;
    return read(signal);
  };
  load(begun, (found) => (value = found), failed);
  return {
    get value() {
      return value;
    },
  };
}
