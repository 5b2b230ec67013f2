"""What kinds of module say of the axes of their answers.

module, shape -> Axes or None
"""

from __future__ import annotations

from torch import nn

from atlas.models.axes import Axes

CHANNELS_FIRST = (
    *(nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.BatchNorm1d, nn.BatchNorm2d),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.PixelShuffle, nn.PixelUnshuffle, nn.LocalResponseNorm),
)
"""Their channels are the first axis behind the images', by what they compute."""
CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.RNN, nn.LSTM, nn.GRU, nn.MultiheadAttention)
"""Their channels are the last axis of their answer, of several the first; of norms over that axis alone."""
MIXES = (nn.Conv2d, nn.ConvTranspose2d)
"""Each entry of that axis is computed from all of what comes in, by weights of its own: no such axis is a side."""
ENTRYWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.Softmax, nn.RReLU),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.Identity, nn.GroupNorm, nn.LocalResponseNorm),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.RMSNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.PReLU),
)
"""The axes of their answers are those of what they were given."""
POOLS = (
    *(nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d, nn.MaxPool2d, nn.AvgPool2d),
    *(nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.LPPool1d, nn.LPPool2d, nn.Upsample, nn.ZeroPad2d),
)
"""The axes of their answers are in the order of what they were given, whatever that is: they are of other lengths."""
TOKENWISE = (nn.Linear, nn.LayerNorm, nn.RMSNorm)
"""Each entry but of the last axis is computed from that entry alone."""


def by_module(module: nn.Module, item: str, shape: tuple[int, ...]) -> Axes | None:
    """The axes by the kind of module an activation comes from; None where that says nothing.

    A class of the user's that is derived from one of torch's and computes something else is none of its kind. Of a map
    whose channels come last nothing is known of the other two axes, which may as well be heads and tokens.
    """
    name = type(module).__name__
    if _is(module, CHANNELS_FIRST):
        return Axes("chw", shape[1:], evidence=name) if len(shape) == 3 else Axes("ct", evidence=name)
    if len(shape) == 2 and item in ("", "0") and _is(module, CHANNELS_LAST) and _over_last(module):
        return Axes("tc", evidence=name)
    return None


def _over_last(module: nn.Module) -> bool:
    """Whether what it normalises by is the last axis alone; of what is no norm True."""
    return len(getattr(module, "normalized_shape", (1,))) == 1


def keeps_axes(module: nn.Module) -> bool:
    """Whether its answer has the axes of its input."""
    return _is(module, ENTRYWISE)


def keeps_order(module: nn.Module) -> bool:
    """Whether its answer has the axes of its input in their order, each of another length perhaps."""
    return _is(module, (*ENTRYWISE, *POOLS))


def keeps_tokens(module: nn.Module, letters: str) -> bool:
    """Whether each token of its answer, of axes `letters`, is made of that token alone."""
    return _is(module, ENTRYWISE) or (letters == "tc" and _is(module, TOKENWISE))


def mixes_channels(module: nn.Module) -> bool:
    """Whether what it computes leaves no doubt which axis of its answer holds channels."""
    return _is(module, MIXES)


def _is(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether it computes what one of `kinds` does: is one, or is derived from it and keeps its forward pass.

    A forward pass of its own, or a hook that may answer something else, makes it another kind.
    """
    if "forward" in vars(module) or module._forward_hooks:
        return False
    return any(isinstance(module, kind) and _computes(type(module), kind) for kind in kinds)


def _computes(own: type[nn.Module], kind: type[nn.Module]) -> bool:
    """Whether a class computes what `kind` does."""
    return all(getattr(own, name, None) is getattr(kind, name, None) for name in ("forward", "_conv_forward"))
