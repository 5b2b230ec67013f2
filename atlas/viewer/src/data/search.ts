/**
 * The images that came to a status.
 *
 *     (images, status) -> their numbers, told as they are found
 */
import { CHUNK, type Images } from "./images";

/** Chunks of statuses, a kilobyte each, that are on their way together. */
const TOGETHER = 8;

/** What of the images is read. */
type Searched = Pick<Images, "count" | "entry" | "statusName"> & { columns: Pick<Images["columns"], "chunk"> };

/** Look through all statuses in order; `tell` hears what has been found and how many images have been looked at. */
export async function search(images: Searched, status: string, signal: AbortSignal, tell: (found: number[], looked: number) => void): Promise<void> {
  const chunks = Math.ceil(images.count / CHUNK);
  const known = images.entry.statuses ? (images.entry.statuses[status.replaceAll(" ", "_")] ?? 0) : Infinity;
  let found: number[] = [];
  for (let first = 0; first < chunks; first += TOGETHER) {
    const some = Array.from({ length: Math.min(TOGETHER, chunks - first) }, (_, nth) => first + nth);
    const parts = await Promise.all(some.map((chunk) => images.columns.chunk("status", chunk)));
    if (signal.aborted) return;
    const more = parts.flatMap((codes, nth) => Array.from(codes, (code, at) => (images.statusName(code) === status ? (first + nth) * CHUNK + at : -1)).filter((number) => number >= 0));
    found = found.concat(more);
    // Where it is known how many there are, no more is looked for than that.
    const all = found.length >= known;
    tell(found, all ? images.count : Math.min(images.count, (first + some.length) * CHUNK));
    if (all) return;
  }
}
