"""Whether an activation is a function of one image.

    what passes answered to the same images, beside others and again -> what differs

Dropout that was left on, a code that is drawn anew and normalisation by the batch all give numbers that nobody can have
again; they raise nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ENTRIES = 4096
"""Of an image's activation so many entries are compared, evenly spread."""
AGAIN = 1e-6
"""What two passes over the same batch may differ by, as a part of the largest entry: matrix products round."""
APART = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.03}
"""What passes over different batches may differ by, by dtype: they take other paths through a library."""

HIDDEN = 0.5
"""A part of itself by which an entry that rounding makes differ hardly does, but one that is another number does."""
MANY = 0.05
"""Share of such entries from which on it is no rounding, however small they are beside the largest."""
ROUNDS = {True: torch.finfo(torch.float32).eps, False: 1e-5}
"""What rounding may make of nothing, as a part of the largest entry: in the same batch again, and in another."""

RANDOM = (
    "its answer to the same images differs from pass to pass: something draws random numbers, or counts (dropout by a "
    "function needs training=self.training)"
)
ABSENT = "the forward pass does not always reach it: this depends on the images, or on chance"
BATCH = (
    "its answer to an image depends on the images beside it, as with batch normalisation that has no running statistics"
)


def unsteady(ask: Callable[[Tensor], Tensor | None], images: Tensor, beside: Tensor) -> str:
    """Why what `ask` answers [n,k] to images [n,...] is no function of each of them; empty where it is.

    `beside` holds the same images in reverse, behind others.
    """
    answers = [answer for answer in map(ask, (images, beside, images)) if answer is not None]
    if len(answers) < 3:
        return ""
    one, other, again = (mark(answer, 0) for answer in answers)
    if differ(one, again, again=True):
        return RANDOM
    return BATCH if differ(one, other[-len(images) :].flip(0), again=False) else ""


def mark(value: Tensor, axis: int) -> Tensor:
    """A sample [n,k] of what `value`, whose images lie along `axis`, says of each image."""
    rows = value.detach().movedim(axis, 0).reshape(value.shape[axis], -1)
    step = max(1, rows.shape[1] // ENTRIES)
    return rows[:, ::step].clone()


def differ(one: Tensor, other: Tensor, *, again: bool) -> bool:
    """Whether two samples [n,k] of the same images are not of one function; `again` where the batch was the same."""
    if one.shape != other.shape:
        return True
    exact = one.dtype in (torch.float32, torch.float64)
    tolerance = APART.get(one.dtype, 0.1) if not again else max(AGAIN, torch.finfo(one.dtype).eps)
    one, other = one.double(), other.double()
    finite = one.isfinite() & other.isfinite()
    if bool((one.isfinite() != other.isfinite()).any()):
        return True
    if not bool(finite.any()):
        return False
    gaps, sizes = (one[finite] - other[finite]).abs(), one[finite].abs()
    if bool(gaps.max() > tolerance * sizes.max()):
        return True
    return exact and _hidden(gaps, sizes, ROUNDS[again])


def _hidden(gaps: Tensor, sizes: Tensor, rounds: float) -> bool:
    """Whether entries differ beside others that are so large that it does not show: parts of a layer, say."""
    other = (gaps > HIDDEN * sizes) & (gaps > rounds * sizes.max())
    return bool(other.sum() > MANY * (sizes > 0).sum())
