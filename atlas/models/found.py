"""What each family of models gives: `find(name, trained) -> Found`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from atlas.models.preprocessing import Preprocessing

MEMORY = "memory:"
"""What the spec of a network begins with that was given itself: no other process can make it from that."""


def listing(spec: str) -> str:
    """How to see which layers a network has."""
    return "List them: load_model(network).layers" if spec.startswith(MEMORY) else f"List them: atlas layers {spec}"


@dataclass(frozen=True)
class Found:
    """A network as its library built it, with what the library knows about it."""

    network: nn.Module
    preprocessing: Preprocessing | None
    """None where nobody said, or where what the library says cannot be followed; it is never guessed."""
    labels: tuple[str, ...] | None = None
    """Names of the classes, where the weights' metadata carry them."""
    title: str | None = None
    origin: str | None = None
    """Whose weights the preprocessing and the labels are of; None where the user's own code says them."""
    unfollowed: str = ""
    """Why the library's own preprocessing cannot be followed, and what to say in its place."""
