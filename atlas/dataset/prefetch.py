"""Work done ahead by threads, in order and never far ahead.

    (function, items) -> results, in the items' order

Reading, hashing, decoding and resampling let other threads run meanwhile, so this goes on beside a forward pass.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

END: Any = object()
Item = TypeVar("Item")
Result = TypeVar("Result")


class Carry(Protocol):
    """Who does the same work on many items: threads of this process, or a cluster."""

    def __call__(self, function: Callable[[Item], Result], items: Sequence[Item], /) -> Iterator[Result]:
        """`function` of every item, in their order."""
        ...


def prefetch(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    ahead: int | None = None,
    size: Callable[[Item], int] = lambda _: 0,
    room: int = 1,
) -> Iterator[Result]:
    """`function` of every item, in their order, on `workers` threads (as many as cores).

    At most `ahead` items (twice the threads) are taken and not yet asked for, so memory does not grow with their
    number; with `size`, none beyond the first while those that are have `room` bytes or more together. What `function`
    raises is raised here, in its turn; what was not begun by then, or when the caller stops, is left undone.
    """
    threads = max(1, workers or os.cpu_count() or 1)
    rest = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
        window: deque[tuple[Future[Result], int]] = deque()

        def fill() -> None:
            while len(window) < max(1, ahead or 2 * threads) and (not window or sum(one for _, one in window) < room):
                if (item := next(rest, END)) is END:
                    return
                window.append((pool.submit(function, item), size(item)))

        try:
            fill()
            while window:
                result = window.popleft()[0].result()
                fill()
                yield result
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
