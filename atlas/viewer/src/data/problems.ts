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
