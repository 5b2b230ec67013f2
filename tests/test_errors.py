"""Errors: one line each, and all of one family."""

from __future__ import annotations

import inspect

import pytest

from atlas import errors
from atlas.errors import AtlasError, UnknownName

FAMILY = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", FAMILY)
def test_every_error_is_of_the_family_and_in_its_picture(kind: type[AtlasError]) -> None:
    assert issubclass(kind, AtlasError)
    assert kind.__name__ in (errors.__doc__ or "")
    assert str(kind("what, where, what to do")) == "what, where, what to do"
    assert str(kind()) == kind.__name__


def test_unknown_names_offer_what_is_near_and_nothing_that_is_not() -> None:
    known = ["features.3", "features.4", "classifier.1"]
    assert "Did you mean 'features.3' or 'features.4'?" in str(UnknownName.among("layer", "features3", known))
    assert str(UnknownName.among("layer", "zzz", known)) == "There is no layer 'zzz'."
    assert str(UnknownName.among("layer", "zzz", known, hint="List them.")).endswith(" List them.")
    assert "'features.3'" in str(UnknownName.among("layer", "features.3x", iter(known)))
