"""How the host computes: threads, and memory that stays.

numerics -> context in which torch computes
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from atlas.recipe import Numerics

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Parameters of the GNU C library's `mallopt`."""


@contextmanager
def computing(numerics: Numerics) -> Iterator[None]:
    """Torch computes with the threads of `numerics` inside; on CUDA in whole float32, and repeatably where it can."""
    _keep_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(numerics.threads)
    try:
        with torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def _keep_memory() -> None:
    """Memory that a step gives back stays in this process for the next one.

    Every step asks for the same few megabytes; handing them to the kernel and faulting them in again
    page by page cost 25-30% of a step. Only the GNU C library knows the switch; elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, 32 * 2**20)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
