"""One unit of a catalogue: its pictures, their numbers, and how it responds to images.

(LayerView, index) -> UnitView
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image

from atlas.catalogue import notebook
from atlas.catalogue.answers import ChannelStatistics, Example
from atlas.catalogue.renamed import renamed
from atlas.errors import StoreError, UnknownName
from atlas.stages.features import THUMB
from atlas.store.layout import layer_key
from atlas.units import Status, Unit, status_name
from atlas.words import quoted, shown

if TYPE_CHECKING:
    from atlas.catalogue.layer import LayerView


@renamed(mean="objective", peak="objective_peak", silent="dead", neighbours="similar")
class UnitView:
    """One unit of a catalogue: its pictures and their numbers."""

    def __init__(self, layer: LayerView, index: int) -> None:
        self.layer = layer
        self.index = index
        self.unit = Unit(layer.name, index)

    @property
    def image(self) -> Image.Image:
        """Its feature visualization: what activates it."""
        return self.picture("positive")

    @property
    def negative(self) -> Image.Image:
        """What lowers it, before the rectifier where there is one."""
        return self.picture("negative")

    @property
    def neuron(self) -> Image.Image:
        """What raises it at the centre position alone."""
        return self.picture("neuron")

    @property
    def diverse(self) -> list[Image.Image]:
        """Pictures that raise it, each in another way; empty where none were asked for."""
        names = [name for name in self.layer.variants if name.startswith("diverse-")]
        return [self.picture(name) for name in sorted(names, key=lambda name: int(name.removeprefix("diverse-")))]

    @property
    def small(self) -> Image.Image | None:
        """Its first picture, 64 x 64 pixels; None where there is none yet."""
        layer = self.layer
        if not layer.variants or layer.status[self.index, 0] == Status.ABSENT:
            return None
        return Image.fromarray(layer.small([self.index], 0, THUMB)[0])

    @property
    def told(self) -> str:
        """What is known of its picture, in a line: its status, and its numbers where it has any."""
        numbers = f", objective {self.objective:.4g}, peak {self.objective_peak:.4g}"
        numbers = numbers if math.isfinite(self.objective) else ""
        return f"{self.status}{numbers}" if self.layer.variants else f"{self.status}, no picture"

    @property
    def objective(self) -> float:
        """Mean objective of the stored picture on held-out transforms; NaN where there is none."""
        return float(self.layer.objective[self.index, 0]) if self.layer.variants else float("nan")

    @property
    def objective_peak(self) -> float:
        """The objective at the picture's strongest position, on held-out transforms; NaN where there is no picture."""
        return float(self.layer.objective_peak[self.index, 0]) if self.layer.variants else float("nan")

    @property
    def ratio(self) -> float:
        """`objective_peak` over the activation on the best real image; NaN where that is zero, or none was shown."""
        return self.ratio_of("positive")

    def ratio_of(self, variant: str) -> float:
        """The ratio of one of the unit's pictures: of a negative, to the image that lowers it most."""
        layer = self.layer
        return float(layer.ratio[self.index, layer.variant(variant)]) if variant in layer.variants else float("nan")

    @property
    def agreement(self) -> float:
        """How alike the picture of a second seed is to the network, -1 to 1; NaN where nobody asked."""
        return float(self.layer.agreement[self.index, 0])

    @property
    def attempt(self) -> int:
        """Which of several tries the picture is of, from 0."""
        return int(self.layer.attempt[self.index, 0])

    @property
    def status(self) -> str:
        """`ok`, `unstarted`, `nan`, `rectified` or `absent`, of the positive picture; or `dead`.

        A dead unit never fired on the images that were shown (`statistics.images` of them), whatever its picture.
        """
        pictured = self.status_of(self.layer.variants[0]) if self.layer.variants else "absent"
        return "dead" if self.dead and pictured in ("ok", "absent") else pictured

    @property
    def dead(self) -> bool:
        """Whether it never fired on the images that were shown."""
        return bool(self.layer.answers.dead[self.index])

    @property
    def examples(self) -> list[Example]:
        """The images that raise it most, at most nine. Raises `UnknownName` where none were collected."""
        return self.layer.answers.examples(self.index, 0)

    @property
    def bottom(self) -> list[Example]:
        """The images that lower it most, before its rectifier where it has one."""
        return self.layer.answers.examples(self.index, 1)

    @property
    def statistics(self) -> ChannelStatistics:
        """Its activations over all images: mean, quantiles, histogram, ..."""
        return self.layer.answers.statistics(self.index)

    @property
    def classes(self) -> list[tuple[int, str | None, float]]:
        """The classes it is most evidence for: number, name, mean activation x gradient; empty for none."""
        return self.layer.answers.classes(self.index)

    @property
    def similar(self) -> list[tuple[UnitView, float]]:
        """The most similar units of any layer, with their similarity."""
        return self.layer.answers.similar(self.index)

    def status_of(self, variant: str) -> str:
        """The status of one of the unit's pictures."""
        return status_name(Status, self.layer.status[self.index, self.layer.variant(variant)])

    def picture(self, variant: str) -> Image.Image:
        """One of the unit's pictures.

        Raises `UnknownName` where it has not been rendered, `StoreError` where it is gone or damaged, or where the
        store was opened before it was rendered.
        """
        v = self.layer.variant(variant)
        if self.layer.status[self.index, v] == Status.ABSENT:
            raise self._absent(variant)
        path = f"{layer_key(self.layer.layer)}/features/image"
        return Image.fromarray(self.layer.catalogue.store.read(path, slice(self.index, self.index + 1))[0, v])

    def _absent(self, variant: str) -> UnknownName | StoreError:
        """Why there is no picture. The receipts are asked here, where something is missing, and never before."""
        if not self.layer._rendered(self.index):
            build = self.layer.catalogue.command(f"--layers {quoted(self)}")
            return UnknownName(f"{self} has no {variant} picture yet. Build it: {build}")
        return StoreError(f"{self} was rendered since {self.layer.catalogue.store} was opened. Open it again.")

    def __str__(self) -> str:
        return str(self.unit)

    def __repr__(self) -> str:
        return shown(f"<{self}: {self.told}>")

    def _repr_html_(self) -> str:
        return notebook.unit(self)
