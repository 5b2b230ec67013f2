"""Work done ahead by threads, in order and never far ahead.

    (function, items) -> results, in the items' order

Reading, hashing, decoding and resampling let other threads run meanwhile, so this goes on beside a forward pass.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None, ahead: int | None = None
) -> Iterator[Result]:
    """`function` of every item, in their order, on `workers` threads (as many as cores).

    At most `ahead` items (twice the threads) are taken and not yet asked for, so memory does not grow with their
    number. What `function` raises is raised here, in its turn; what was not begun by then, or when the caller stops,
    is left undone.
    """
    threads = max(1, workers or os.cpu_count() or 1)
    rest = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
        window: deque[Future[Result]] = deque()
        try:
            window.extend(pool.submit(function, item) for item in islice(rest, max(1, ahead or 2 * threads)))
            while window:
                result = window.popleft().result()
                window.extend(pool.submit(function, item) for item in islice(rest, 1))
                yield result
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
