"""Are pictures worth looking at? Figures that say so, from a store alone.

catalogue -> Quality: contrast, clipping, sameness
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.catalogue import Catalogue, LayerView
from atlas.units import Status

CONTRAST, CLIPPED, SAME = 0.1, 0.1, 0.9
"""The least RGB standard deviation of a picture, the most values at 0 or 255, the most correlation with another."""


@dataclass(frozen=True)
class Quality:
    """Figures over all pictures of status `ok` of some layers and one variant."""

    pictures: int
    contrast: float
    """Share of pictures whose RGB standard deviation (values in [0,1]) is 0.1 or more."""
    clipped: float
    """Largest share of a picture's values (three a pixel) that are 0 or 255."""
    touched: float
    """Share of all pixels with at least one value at 0 or 255."""
    within: float
    """Share of pictures in which fewer than 10% of the pixels have such a value."""
    correlation: float
    """Largest correlation between the pictures of two channels."""
    pair: tuple[str, str]
    statuses: dict[str, int]

    @classmethod
    def of(cls, layers: Iterable[LayerView], variant: str = "positive") -> Quality:
        """Measured on the pictures as stored."""
        deviations, clips, pixels, rows, names = [], [], [], [], []
        statuses: dict[str, int] = {}
        for layer in layers:
            v = layer.variant(variant)
            for code in layer.status[:, v]:
                name = Status(int(code)).name.lower()
                statuses[name] = statuses.get(name, 0) + 1
            for index in np.flatnonzero(layer.status[:, v] == Status.OK):
                picture = np.asarray(layer[int(index)].picture(variant))
                deviations.append(picture.std() / 255)
                ends = (picture == 0) | (picture == 255)
                clips.append(float(ends.mean()))
                pixels.append(float(ends.any(axis=2).mean()))
                rows.append(normalised(picture))
                names.append(str(layer[int(index)]))
        first, second, value = most_alike(np.stack(rows))
        return cls(
            len(rows),
            float(np.mean(np.array(deviations) >= CONTRAST)),
            max(clips),
            float(np.mean(pixels)),
            float(np.mean(np.array(pixels) < CLIPPED)),
            value,
            (names[first], names[second]),
            statuses,
        )

    def __str__(self) -> str:
        return (
            f"{self.pictures} pictures: standard deviation >= {CONTRAST} in {self.contrast:.1%}; "
            f"values at 0 or 255: at most {self.clipped:.1%} of a picture's; "
            f"pixels with one: {self.touched:.1%} of all, under 10% in {self.within:.1%} of the pictures; "
            f"most alike {self.pair[0]} and {self.pair[1]} at {self.correlation:.3f}; {self.statuses}"
        )


def normalised(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A picture as a vector of mean 0 and length 1."""
    vector = picture.astype(np.float32).ravel()
    vector -= vector.mean()
    length: float = float(np.linalg.norm(vector))
    return vector / max(length, 1e-6)


def most_alike(vectors: NDArray[np.float32]) -> tuple[int, int, float]:
    """The two rows with the largest product, and the product."""
    products = vectors @ vectors.T
    np.fill_diagonal(products, -1.0)
    first, second = divmod(int(products.argmax()), len(vectors))
    return first, second, float(products.max())


def figures(catalogue: Catalogue) -> dict[str, Quality]:
    """The figures of every variant over all layers."""
    return {variant: Quality.of(catalogue, variant) for variant in next(iter(catalogue)).variants}
