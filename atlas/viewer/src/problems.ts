/** What can go wrong on a page for a reason its reader can understand: what, where, what to do. */

export type Kind = "unknown" | "missing" | "unreadable" | "too-new" | "no-ranges" | "unreachable" | "changed";

export class Problem extends Error {
  constructor(
    readonly kind: Kind,
    readonly title: string,
    readonly advice: string,
    /** Commands or addresses that help, shown as code or links. */
    readonly offers: { label: string; href?: string }[] = [],
  ) {
    super(title);
  }

  /** Whether trying again may help. */
  get passing(): boolean {
    return this.kind === "unreachable" || this.kind === "missing" || this.kind === "changed";
  }
}

/** Any error as a `Problem`; what is no problem of ours keeps its own words. */
export function asProblem(error: unknown): Problem {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof Problem) return cause;
  }
  const text = error instanceof Error ? error.message : String(error);
  return new Problem("unreadable", "Something in this store could not be read", text);
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
