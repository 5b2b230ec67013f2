import type { Attachment } from "svelte/attachments";

/** Calls `run` once, when the element comes within `margin` of the window: nothing is asked for that nobody may look at. */
export function whenNear(margin: string, run: () => void): Attachment {
  return (element) => {
    const watch = new IntersectionObserver(
      ([seen]) => {
        if (!seen?.isIntersecting) return;
        watch.disconnect();
        run();
      },
      { rootMargin: margin },
    );
    watch.observe(element);
    return () => watch.disconnect();
  };
}
