"""Max pools that pass gradients on to all they look at.

    with RelaxedPooling(): network(x)    the same values; gradients as of  mean(x^2) / mean(|x|)

A max pool hands its whole gradient to one position of each window, which for a neighbour that is almost as strong says
nothing. The mean of a window weighted by size, mean(x^2) / mean(|x|), is close to its maximum and shares the gradient
out. (The relaxation of "The Building Blocks of Interpretability", Olah et al., Distill 2018, in Lucid's form.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Window = int | tuple[int, ...] | list[int]
Mean = Callable[[Tensor], Tensor]

LEAST = 1e-2
"""Added to the mean size, as in Lucid: a window of zeros has no gradient."""


class RelaxedPooling(TorchFunctionMode):
    """Within it, max pools of maps keep their values and pass relaxed gradients on.

    Pools with gaps (`dilation`), and those asked for where the maximum stood, are left as they are.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor):
            return result
        mean = None
        if func.__name__ == "max_pool2d":
            mean = _mean(*args[1:], **kwargs)
        elif func.__name__ == "adaptive_max_pool2d":
            mean = partial(functional.adaptive_avg_pool2d, output_size=(result.shape[2], result.shape[3]))
        if mean is None:
            return result
        x = args[0]
        soft = mean(x.square()) / (LEAST + mean(x.abs()))  # of each window the mean weighted by size
        return soft + (result.detach() - soft.detach())


def _mean(
    kernel_size: Window,
    stride: Window | None = None,
    padding: Window = 0,
    dilation: Window = 1,
    ceil_mode: bool = False,
    **_: Any,
) -> Mean | None:
    """The mean over the windows of a max pool with these settings; None where a window has gaps."""
    if dilation not in (1, (1, 1), [1, 1]):
        return None
    return lambda x: functional.avg_pool2d(x, kernel_size, stride or None, padding, ceil_mode, count_include_pad=False)
