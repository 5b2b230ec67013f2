"""What a shell leaves of a variable that is not set is no place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.conftest import Ran


@pytest.mark.parametrize("empty", ["", " ", ","])
@pytest.mark.parametrize("option", ["--store", "--images", "--weights", "--labels", "--preprocessing", "--spectrum"])
def test_an_empty_place_is_refused_by_the_name_of_its_option(run: Callable[..., Ran], option: str, empty: str) -> None:
    for command in ("plan", "build"):
        ran = run(command, "squeezenet", option, empty)
        assert ran.code == 2
        assert option in ran.err
        assert "it is empty" in " ".join(ran.err.split())
