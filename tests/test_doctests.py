"""The examples in the docstrings of everything that needs no torch."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import atlas

LIGHT = (
    "atlas.words",
    "atlas.places",
    "atlas.terminal",
    "atlas.errors",
    "atlas.units",
    "atlas.recipe",
    "atlas.plans",
    "atlas.factories",
    "atlas.store",
    "atlas.dataset.source",
    "atlas.dataset.images",
    "atlas.dataset.summary",
    "atlas.catalogue",
    "atlas.server",
)
MODULES = [
    "atlas",
    *(module.name for module in pkgutil.walk_packages(atlas.__path__, "atlas.") if module.name.startswith(LIGHT)),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    examples = sum(len(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name)))
    assert examples >= 8
