/** Names that a reader may have meant. */

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
