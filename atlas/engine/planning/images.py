"""What is collected of images: their list, and the plans of it.

(folders, tars, ...) -> ListedImages -> plans
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.errors import PlanMismatch
from atlas.plans import SAMPLES, Identity, Plan
from atlas.recipe import Collection, Numerics
from atlas.stages import EXAMPLES, IMAGES, STATISTICS
from atlas.stages.dataset import TEXT
from atlas.store import Data, Receipt, Store
from atlas.store.bundles import stored
from atlas.store.layout import LIST
from atlas.store.text import texts, written
from atlas.units import Layer
from atlas.words import parameter

if TYPE_CHECKING:
    from atlas.dataset import Carry, Copies, Hashes, ImageList, ImageSource
    from atlas.models import Model

NAMED = 3
"""Images that are named where a list differs."""
WIDEST = 64
"""Examples measured side by side at most: a backward pass keeps what a forward pass gives back."""


def plans(
    identity: Identity, layers: Iterable[Layer], collection: Collection, numerics: Numerics, units: dict[str, list[int]]
) -> list[Plan]:
    """The plans of the images, and of every layer's statistics and examples.

    `units` names the channels whose examples are wanted of a layer; a layer it leaves out is wanted whole.
    """
    numbers = replace(collection, photographs=True)  # they are the same without
    backward = replace(numerics, batch=min(numerics.batch, WIDEST))
    made = [Plan.of(IMAGES.name, identity, None, collection, numerics)]
    for layer in layers:
        made.append(Plan.of(STATISTICS.name, identity, layer, numbers, numerics))
        made.append(Plan.of(EXAMPLES.name, identity, layer, collection, backward, units.get(layer.name, ())))
    return made


@dataclass(frozen=True, eq=False)
class ListedImages:
    """The images of a run: where they come from, and their list."""

    source: ImageSource
    listed: ImageList

    @classmethod
    def open(
        cls,
        given: Sequence[str | Path],
        told: Callable[[int], None] = lambda _: None,
        *,
        copies: Copies | None = None,
        hashes: Hashes | None = None,
        carry: Carry | None = None,
    ) -> ListedImages:
        """The images that were `given`, read and hashed; `told` hears how many are done.

        What `hashes` knows, those of the usual cache unless given, is not read again; of images that lie in object
        stores `copies` are kept. `carry` has others do it where there is much. Raises `ImagesError` where there are no
        images, or none that can be used.
        """
        from atlas.dataset import Hashes, list_images, open_images, require_one

        hashes = Hashes() if hashes is None else hashes
        source = open_images(given, copies=copies, hashes=hashes, carry=carry, told=told)
        listed = list_images(source, told=told, hashes=hashes, carry=carry)
        require_one(source, listed, hashes)
        return cls(source, listed)

    def collection(self, model: Model, *, crops: int, photographs: bool = True) -> Collection:
        """What is shown to `model` of them."""
        return Collection(self.listed.hash, len(self.listed), model.classes, crops, photographs=photographs)

    def compare(self, store: Store) -> None:
        """Raise `PlanMismatch`, naming what differs, where what `store` holds rests on another list of images."""
        done, saved = store.reduced(LIST), store.plans_of(IMAGES.name)
        if not saved or saved[0].collection.images == self.listed.hash or done is None or done.plan != saved[0].id:
            return
        theirs = dict(zip(texts(store.read("images/path")), map(bytes, store.read("images/sha256")), strict=True))
        ours = dict(zip(texts(written(self.listed.names, TEXT)), map(bytes, self.listed.sha256), strict=True))
        differing = {
            "gone": sorted(theirs.keys() - ours.keys()),
            "new": sorted(ours.keys() - theirs.keys()),
            "changed": sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]),
        }
        what = "; ".join(f"{how}: {_some(names)}" for how, names in differing.items() if names)
        raise PlanMismatch(
            f"{store} rests on another list of images. {what or 'They are in another order'}. "
            f"Give the same images as before, or name another {parameter('store')}."
        )

    def write(self, store: Store, plans: Iterable[Plan]) -> None:
        """Write the list, before any image is shown. Done once."""
        plan = next(plan for plan in plans if plan.stage == IMAGES.name)
        done = store.reduced(LIST)
        if done is None or done.plan != plan.id:
            listed = self.listed
            names = (listed.names[start : start + SAMPLES] for start in range(0, len(listed), SAMPLES))
            paths = (written(some, TEXT) for some in names)  # of a million names half a gigabyte
            data: Data = {"sha256": listed.sha256, "same_as": listed.same_as}
            objects = store.whole_objects(plan, "driver", data, streamed={"path": paths})
            receipt = Receipt(plan.id, 0, (0, plan.total), stored(objects))
            store.commit_reduced(LIST, objects, receipt, lambda: _owned(store, plan))


def _owned(store: Store, plan: Plan) -> bool:
    """Whether `plan` is still the store's."""
    saved = store.planned(plan.names)
    return saved is not None and saved.id == plan.id


def _some(names: list[str]) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
