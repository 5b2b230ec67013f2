/** Keys that lead from page to page. */

/** Whether the reader writes into a field: then keys are its own. */
export function isTyping({ target }: KeyboardEvent): boolean {
  return target instanceof HTMLElement && target.matches("input, select, textarea");
}

/** The arrows lead to the page a `step` away, where there is one, and Escape a level up. */
export function turnPage(event: KeyboardEvent, to: (step: 1 | -1) => string | undefined, up: string): void {
  if (isTyping(event) || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const ways: Record<string, () => string | undefined> = { ArrowLeft: () => to(-1), ArrowRight: () => to(1), Escape: () => up };
  const next = ways[event.key]?.();
  if (next === undefined) return;
  location.hash = next;
  event.preventDefault();
}
