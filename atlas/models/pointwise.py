"""1x1 convolutions on a CPU's quick path.

network -> the same network

Torch has two kinds of convolutions for CPUs. On a single thread it takes oneDNN's only for those that are large,
strided, grouped or dilated; a plain 1x1 goes to a general matrix product, which took 2.5 times as long (and half of
EfficientNet's time). A kernel of one pixel has nothing to be dilated: with a dilation of 2 it is the same function, and
oneDNN's.
"""

from __future__ import annotations

import torch
from torch import nn


def quicken(network: nn.Module) -> None:
    """Mark the plain 1x1 convolutions of `network`, in place, for oneDNN. Where torch has none, nothing changes."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            shape = module.kernel_size, module.stride, module.groups, module.padding
            if shape == ((1, 1), (1, 1), 1, (0, 0)):
                module.dilation = (2, 2)
