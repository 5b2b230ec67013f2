"""All chance behind a picture, drawn from its own key.

    (seed, layer, unit, variant, attempt) + what for -> torch.Generator

A picture's start and its transforms depend on nothing else: not on its neighbours in the batch, the
order of work, the process or the device. The generators are the CPU's, on every device.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Key:
    """Which picture is meant."""

    seed: int
    layer: str
    unit: int
    variant: str
    attempt: int = 0
    """Which of several tries at the picture."""

    def generator(self, purpose: str) -> torch.Generator:
        """A fresh generator for `purpose` (`start`, `training`, `held-out`); the same one every time."""
        words = [str(self.seed), self.layer, str(self.unit), self.variant, purpose]
        if self.attempt:
            words.append(str(self.attempt))
        text = "\x1f".join(words)
        digest = hashlib.sha256(text.encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
