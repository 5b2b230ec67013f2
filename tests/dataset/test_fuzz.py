"""Files that a fuzzer made: each ends in a picture or a listed reason, and the counts always add up."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.dataset import Problem, decode, open_images
from atlas.units import ImageStatus
from tests.dataset.made import bomb, encoded, good, index, photographs, pixels, write_tar

SEEDS = [*good().values(), bomb(3_000), encoded(pixels(3, (40, 40)), "JPEG", progressive=True)]
MOST = 2**20

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def flipped(data: bytes, chance: random.Random) -> bytes:
    wrong = bytearray(data)
    for _ in range(chance.randint(1, 12)):
        wrong[chance.randrange(len(wrong))] = chance.choice([0, 0xFF, chance.randrange(256)])
    return bytes(wrong)


def early(data: bytes, chance: random.Random) -> bytes:
    """Wrong among the first bytes, where sizes, depths and offsets stand."""
    return flipped(data[:64], chance) + data[64:]


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def repeated(data: bytes, chance: random.Random) -> bytes:
    start, stop = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:stop] + data[start:stop] * chance.randint(1, 5) + data[stop:]


def missing(data: bytes, chance: random.Random) -> bytes:
    start, stop = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + data[stop:]


def joined(data: bytes, chance: random.Random) -> bytes:
    other = chance.choice(SEEDS)
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other)) :]


WAYS: list[Callable[[bytes, random.Random], bytes]] = [flipped, early, cut, repeated, missing, joined]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = draw(st.sampled_from(SEEDS))
    chance = random.Random(draw(st.integers(0, 2**32)))
    for way in draw(st.lists(st.sampled_from(WAYS), min_size=1, max_size=3)):
        data = way(data, chance) if data else data
    return data


def is_right_or_a_reason(data: bytes) -> bool:
    """Whether `data` is a picture; where it is not, one line says why."""
    answer = decode(data, most=MOST)
    if isinstance(answer, Problem):
        assert answer.status not in (ImageStatus.OK, ImageStatus.DUPLICATE, ImageStatus.ABSENT)
        assert answer.reason
        assert "\n" not in answer.reason
        return False
    assert answer.dtype == np.uint8
    assert answer.shape[2] == 3
    assert 0 < answer.shape[0] * answer.shape[1] <= MOST
    return True


@settings(max_examples=500, deadline=None)
@given(mutated())
def test_a_mutated_file_is_a_picture_or_a_reason(data: bytes) -> None:
    is_right_or_a_reason(data)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_no_traceback(data: bytes) -> None:
    is_right_or_a_reason(data)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(mutated(), min_size=1, max_size=20), st.booleans())
def test_a_folder_or_tar_of_mutated_files_counts_right(files: list[bytes], in_tar: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if in_tar:
            write_tar(folder / "shard.tar", {f"{number:03d}.jpg": data for number, data in enumerate(files)})
        else:
            for number, data in enumerate(files):
                (folder / f"{number:03d}.jpg").write_bytes(data)
        images = index(open_images(folder), most=MOST)
    right = [data for data in files if is_right_or_a_reason(data)]
    assert len(images) == len(files)
    assert len(images.usable) == len(set(right))
    assert sorted([*images.usable, *images.reasons]) == list(range(len(files)))


@pytest.mark.slow
@pytest.mark.builder
def test_ten_thousand_more_made_of_photographs_too() -> None:
    chance = random.Random(0)
    seeds = [*SEEDS, *(file.read_bytes() for file in sorted(photographs().glob("imagenet_*.jpg")))]
    for _ in range(10_000):
        data = chance.choice(WAYS)(chance.choice(seeds), chance)
        is_right_or_a_reason(data)
