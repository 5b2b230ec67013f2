"""A network of your own, in memory: feature visualizations and top activating images of its units.

    python own_network.py STORE IMAGES

Copy this file and put your network in the place of `Net`. Workers get the network from this process: nothing of it has
to be installed, or imported by them.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

import atlas


class Net(nn.Module):
    """Stands for a network of yours: three convolutions and a classifier of ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU())
        self.third = nn.Sequential(nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images [n,3,h,w] -> logits [n,10]."""
        return self.head(self.third(self.second(self.first(x))).mean((2, 3)))  # type: ignore[no-any-return]


def main(store: str, images: str, **options: Any) -> atlas.Catalogue:
    """Build a store of `Net`, and say what it holds. `options` are further ones of `atlas.build`."""
    torch.manual_seed(0)
    catalogue = atlas.build(
        Net(),
        store,
        preprocessing="size=64 mean=0.5,0.5,0.5 std=0.5,0.5,0.5",
        labels=[f"class {number}" for number in range(10)],
        layers=["first.1", "second.1", "third.1"],
        images=images,
        **options,
    )
    for layer in catalogue:
        print(f"{layer.name}: {layer.channels} units")
    return catalogue


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
