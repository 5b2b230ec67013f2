"""What an untouched network computes, by hooks of the tests' own.

(model, network input) -> every activation by its name, and the first output with two axes
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from atlas.models import Model
from atlas.models.outputs import Place, items
from atlas.models.probe import module_by_module


@torch.no_grad()
def originals(model: Model, network_input: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
    """Every activation, copied as it appears, by hooks of the test's own, and the first output with two axes."""
    found: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()

    def copying(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def copy(_: nn.Module, __: Any, output: Any) -> None:
            calls[path] += 1
            found.update({str(Place(path, calls[path], item)): value.clone() for item, value in items(output)})

        return copy

    handles = [module.register_forward_hook(copying(path)) for path, module in model.network.named_modules()]
    with module_by_module():
        output = model.network(network_input)
    for handle in handles:
        handle.remove()
    return found, next((value for _, value in items(output) if value.dim() == 2), None)
