/** What can go wrong on a page for a reason its reader can understand: what, where, what to do. */

import { visible } from "../logic/text";

export type Kind = "unknown" | "missing" | "unreadable" | "damaged" | "too-new" | "no-ranges" | "unreachable" | "changed";

/** What is said of a picture or a number that is not as it was written. */
export const DAMAGED = "damaged: run atlas verify STORE --repair";

export class Problem extends Error {
  readonly title: string;
  readonly advice: string;
  /** Commands or addresses that help, shown as code or links. */
  readonly offers: { label: string; href?: string }[];

  constructor(
    readonly kind: Kind,
    title: string,
    advice: string,
    offers: { label: string; href?: string }[] = [],
  ) {
    super(visible(title));
    this.title = this.message;
    this.advice = visible(advice);
    this.offers = offers.map(({ label, href }) => ({ label: visible(label), ...(href === undefined ? {} : { href }) }));
  }

  /** Whether trying again may help. */
  get passing(): boolean {
    return ["unreachable", "missing", "changed", "damaged"].includes(this.kind);
  }
}

/** A part of the store that is not as it was written: `what` it is, and `how` it is instead. */
export function damaged(what: string, how: string): Problem {
  return new Problem("damaged", "A part of this store is damaged", `${what} ${how}. Run atlas verify STORE --repair; the next build makes again what was lost.`);
}

export function isDamage(error: unknown): boolean {
  return problemIn(error)?.kind === "damaged";
}

/** What `read` gives. An error that is no `Problem` says that `what` was read and does not hold what it must: it is damaged. */
export async function sound<T>(what: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (problemIn(error) || (error instanceof DOMException && error.name === "AbortError")) throw error;
    throw damaged(what, `cannot be read (${error instanceof Error ? error.message : String(error)})`);
  }
}

/** Any error as a `Problem`; what is no problem of ours keeps its own words. */
export function asProblem(error: unknown): Problem {
  const text = error instanceof Error ? error.message : String(error);
  return problemIn(error) ?? new Problem("unreadable", "Something in this store could not be read", text);
}

function problemIn(error: unknown): Problem | null {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof Problem) return cause;
  }
  return null;
}

/** Those of `known` nearest to `name`: the same beginning counts most, then the fewest edits. */
export function nearest(name: string, known: string[], most = 4): string[] {
  const distance = (other: string) => edits(name.toLowerCase(), other.toLowerCase());
  const near = known.map((other) => ({ other, far: distance(other) }));
  const least = Math.min(...near.map(({ far }) => far));
  return near
    .filter(({ other, far }) => far <= Math.max(2, other.length / 2) && far <= least + 2)
    .sort((a, b) => a.far - b.far)
    .slice(0, most)
    .map(({ other }) => other);
}

/** Levenshtein's distance. */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
