"""What a build needs of layers, tried before anything is written.

(model, layers) -> {name: why it cannot be built}

A worker builds the network anew from its source and weights, shows it wider batches than the dry run's, and follows
gradients back to the image. All of this is done here once for all layers: one wide pass of the network as it is, one of
the network built anew, and backward passes that end at a layer which is known to hear of the image.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from atlas.errors import ModelError
from atlas.factories import guarded, told
from atlas.models.kept import as_it_was
from atlas.models.model import Model
from atlas.models.prepare import arranged
from atlas.models.probe import by_reason
from atlas.models.twin import IMAGES, Seen, Value, inputs, rebuilt
from atlas.units import Layer

WIDE = 8
"""Images that are shown side by side at least, as a build on a CPU does."""
WIDEST = 64
"""The same at most: a wider batch that is asked for is not tried whole."""
NEAREST = 4
"""Layers known to hear of the image that a backward pass may end at."""
UNREACHED = "the forward pass does not reach it for other images"
UNHEARD = (
    "no gradient comes back from it to the image (no_grad, detach, argmax or a checkpoint without "
    "use_reentrant=False stands before it)"
)
UNLIKE = "the network built anew from its weights, as workers build it, gives other values there"
OTHERS = (
    "its values for an image differ when more images are shown beside it: they depend on the other images in the batch"
)
UNSTEADY = "it gives other values each time for the same images"

Tell = Callable[[str], None]
"""Hears a line."""


def able(
    model: Model,
    layers: Sequence[Layer],
    named: Container[str] = (),
    tell: Tell = lambda _: None,
    *,
    batch: int | None = None,
) -> list[Layer]:
    """Those of `layers` that can be built, `batch` images side by side; `tell` hears once of those left out, and why.

    Raises `ModelError` where a layer that was `named` itself cannot, or none can.
    """
    width = min(max(WIDE, batch or WIDE), WIDEST)
    known = _known.setdefault(model, {}).setdefault(width, {})
    new = [layer for layer in layers if layer.name not in known]
    if new:
        known.update({layer.name: _unnameable(layer) for layer in new})
        others = [layer for layer in new if not known[layer.name]]
        known.update(trial(model, others, width) if others else {})
    failed = {layer.name: known[layer.name] for layer in layers if known[layer.name]}
    for name in (name for name in failed if name in named):
        raise ModelError(f"{model.spec}: layer {name!r} cannot be built: {failed[name]}.")
    lines = by_reason({layer.name: failed[layer.name] for layer in new if layer.name in failed})
    if failed and len(failed) == len(layers):
        raise ModelError(f"{model.spec}: none of the layers asked for can be built: {next(iter(failed.values()))}.")
    for reason, names in lines:
        tell(f"Left out: {names}: {reason}.")
    return [layer for layer in layers if layer.name not in failed]


def _unnameable(layer: Layer) -> str:
    """Why a layer's name can be no file's; empty where it can."""
    try:
        key = layer.key
    except UnicodeEncodeError:
        return HALF
    return TOO_LONG if len(key) > LONGEST else TAKEN if key == METADATA else ""


HALF = "its name holds half a character (an unpaired surrogate), which no file name can. Give the module another name"
METADATA = "zarr.json"
TAKEN = f"a file of every store is called {METADATA}. Give the module another name"
LONGEST = 255 - len(".json")
"""Bytes of a layer's name as it stands in the names of files, which take 255 at most."""
TOO_LONG = (
    f"in the name of a file it would take more than {LONGEST} bytes, which no file system takes. Give the module a "
    "shorter name"
)
_known: WeakKeyDictionary[Model, dict[int, dict[str, str]]] = WeakKeyDictionary()
"""What was tried, by how many images side by side: name of a layer -> why it cannot be built, empty where it can."""


def trial(model: Model, layers: Sequence[Layer], width: int = WIDE) -> dict[str, str]:
    """Why each of `layers` that cannot be built cannot: {name: reason}; the network is afterwards as it was.

    `width` images are tried side by side, the last of them too: what is full then is so for it.
    Raises `ModelError` where the network as a whole cannot be built anew.
    """
    with as_it_was(model.network):
        return _tried(model, layers, width)


def _tried(model: Model, layers: Sequence[Layer], width: int) -> dict[str, str]:
    with guarded(f"{model.spec}: the network cannot be built anew, as workers build it", ModelError):
        anew = rebuilt(model)
    first, second = inputs(model.preprocessing)
    names = {layer.name for layer in layers}
    with guarded(f"{model.spec}: the network failed on {IMAGES} images", ModelError), torch.no_grad():
        Seen(model.network, first, names)  # what is stale afterwards is of these
    with guarded(f"{model.spec}: the network failed where a gradient was asked for", ModelError), torch.enable_grad():
        x = second.clone().requires_grad_()
        seen = Seen(anew, x, names)
    with guarded(f"{model.spec}: the network failed on {width} images", ModelError), torch.no_grad():
        wide = Seen(model.network, torch.cat([second[:1], _more(second, width), second[-1:]]), names).values
    hearing = _Hearing(x)
    reasons = {layer.name: _unlike(layer, seen, wide, width) or hearing.fails(layer, seen) for layer in layers}
    if unlike := [name for name, reason in reasons.items() if reason == UNLIKE]:
        reasons |= _why_unlike(model, second, seen, {layer.name: layer for layer in layers if layer.name in unlike})
    return {name: reason for name, reason in reasons.items() if reason}


def _more(images: Tensor, width: int) -> Tensor:
    """Other network inputs than `images`, as many as make a batch of `width` with two of them."""
    turned = torch.cat([images.flip(2), images.flip(3), images.flip(2, 3)])
    return turned.repeat(-(-width // len(turned)), 1, 1, 1)[: width - 2]


def _unlike(layer: Layer, seen: Seen, wide: dict[str, Value], width: int) -> str:
    """Why the value of a layer is not what a build needs; empty where it is."""
    if layer.name not in seen.values or layer.name not in wide:
        return UNREACHED
    value, axis = wide[layer.name], layer.layout.index("n")
    if (images := value.shape[axis]) != width:
        return f"it has no axis of images: {width} images give {images} entries"
    if (channels := arranged(torch.empty(value.shape, device="meta"), layer).shape[1]) != layer.channels:
        return f"{width} images give it {channels} channels, not {layer.channels}"
    return "" if axis == 0 and seen.values[layer.name].ends.like(value.ends) else UNLIKE


def _why_unlike(model: Model, second: Tensor, seen: Seen, layers: Mapping[str, Layer]) -> dict[str, str]:
    """Why values of the network built anew are not those that a wider batch has; empty where they are after all."""
    with torch.no_grad():
        wanted = Seen(model.network, second, layers.keys()).values
        again = Seen(model.network, second, layers.keys()).values
    reasons = {}
    for name, layer in layers.items():
        if name not in wanted or name not in again or not again[name].like(wanted[name]):
            reasons[name] = UNSTEADY
        elif not seen.values[name].like(wanted[name]):
            reasons[name] = UNLIKE
        else:
            # Where the images lie along another axis than the first, the parts that are kept are not theirs.
            reasons[name] = OTHERS if layer.layout.index("n") == 0 else ""
    return reasons


class _Hearing:
    """Which layers a gradient comes back from, in the order of execution.

    A backward pass need not go to the image where it comes to a layer that is known to hear of it: so all of them
    together cost little more than one.
    """

    def __init__(self, image: Tensor) -> None:
        self._image = image
        self._known: deque[GradientEdge] = deque(maxlen=NEAREST)

    def fails(self, layer: Layer, seen: Seen) -> str:
        """Why no gradient comes back from `layer`; empty where one does."""
        edge = seen.edges.get(layer.name)
        if edge is None:
            return UNHEARD
        value = seen.values[layer.name]
        weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(2)).to(value.dtype)
        try:
            heard = any(_moves(self._gradient(edge, weights, known)) for known in self._known)
            if not heard and self._gradient(edge, weights, self._image) is None:
                return UNHEARD
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - the network's own operators may have no derivative
            return f"no gradient comes back from it to the image ({_why(error)})"
        self._known.appendleft(edge)
        return ""

    def _gradient(self, edge: GradientEdge, weights: Tensor, to: Tensor | GradientEdge) -> Tensor | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the network's operators say of it, a build says again
            return torch.autograd.grad([edge], to, [weights], retain_graph=True, allow_unused=True)[0]


def _why(error: Exception) -> str:
    """The network's own error, and what to do where that is known."""
    if "use_reentrant" in str(error):
        return "a checkpoint of torch stands before it: call it with use_reentrant=False"
    return told(error, 160)


def _moves(gradient: Tensor | None) -> bool:
    return gradient is not None and bool((gradient != 0).any())
