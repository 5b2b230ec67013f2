"""Everything that can go wrong for a reason the user can mend.

    AtlasError                     one line: what, where, what to do
    ├── UnknownName                no such model, layer, unit or recipe; the nearest names are offered
    ├── ModelError                 the network or its files
    │   ├── WeightsError           a weights file that is unsafe, unreadable or does not fit
    │   └── DryRunError            the network failed on its first forward pass
    ├── StoreError                 the folder or bucket that holds the results
    │   ├── NotAStore              nothing of ours is there
    │   ├── StoreTooNew            written by a newer major version
    │   ├── PlanMismatch           another identity or plan owns these outputs
    │   ├── CannotWrite            no permission, not a folder, ...
    │   └── StoreFull              no space left on the device
    ├── ImagesError                the images that were given: none there, none usable, no data set
    ├── ClusterLost                the Ray cluster that a build ran on is gone; what is finished is kept
    ├── QueryError                 a question to the tables that cannot be answered
    ├── JobFailed                  a submitted build ended before it was done; what is finished is kept
    └── BuildFailed                some shards failed; the rest is kept

The command line prints an `AtlasError` as one line; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from atlas.words import shown


class AtlasError(Exception):
    """Base of every error a user can mend. Its message is one line: what, where, what to do."""

    def __str__(self) -> str:
        # A message may hold a store's words: what would steer the terminal is spelled out, whoever prints it.
        return shown(self.args[0]) if self.args else type(self).__name__


class UnknownName(AtlasError):
    """No such model, layer, unit or recipe."""

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str], *, hint: str = "") -> UnknownName:
        """The error for `name`, offering the nearest of `known`.

        >>> print(UnknownName.among("layer", "layer4.3", ["layer4.2", "conv1"]))
        There is no layer 'layer4.3'. Did you mean 'layer4.2'?
        """
        near = get_close_matches(name, sorted(known), n=3, cutoff=0.5)
        offer = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        return cls(f"There is no {kind} {name!r}.{offer}{' ' + hint if hint else ''}")


class ModelError(AtlasError):
    """The network or its files."""


class WeightsError(ModelError):
    """A weights file that is unsafe, unreadable or does not fit the network."""


class DryRunError(ModelError):
    """The network failed on its first forward pass."""


class StoreError(AtlasError):
    """The folder or bucket that holds the results."""


class NotAStore(StoreError):
    """Nothing of ours is there."""


class StoreTooNew(StoreError):
    """Written by a newer major version of atlas."""


class PlanMismatch(StoreError):
    """Another identity or plan owns these outputs."""


class CannotWrite(StoreError):
    """The place cannot be written: permission, not a folder, a read-only disk."""


class StoreFull(StoreError):
    """No space is left on the device."""


class ImagesError(AtlasError):
    """The images that were given: none there, none that can be used, no data set."""


class ClusterLost(AtlasError):
    """The Ray cluster that a build ran on is gone; what was finished is kept."""


class JobFailed(AtlasError):
    """A build that was submitted to a cluster failed or was stopped; what was finished is kept."""


class QueryError(AtlasError):
    """A question to the tables that cannot be answered: SQL with a mistake in it, a column that is not there."""


class BuildFailed(AtlasError):
    """Some shards failed; what was finished is kept."""
