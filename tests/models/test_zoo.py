"""Every architecture of torchvision and one of each family of timm: looked into, or refused in one line."""

from __future__ import annotations

import pytest

from tests.zoo import CHOICE, look, specs

pytestmark = pytest.mark.builder

REFUSED = (
    *("raft_", "r3d_18", "mc3_18", "r2plus1d_18", "s3d", "swin3d_", "mvit_", "quantized_"),
    *("rcnn", "retinanet", "ssd", "fcos"),
)
"""What torchvision lists and is not supported: optical flow, video, quantised weights, detectors."""


def check(spec: str) -> None:
    row = look(spec)
    assert "\n" not in row.refused
    assert row.wrong == []
    if row.refused:
        assert any(part in spec for part in REFUSED), row.refused
        return
    assert row.picked > 0


@pytest.mark.slow
@pytest.mark.parametrize("spec", CHOICE)
def test_thirty_of_the_zoo(spec: str) -> None:
    check(spec)


@pytest.mark.full
@pytest.mark.parametrize("spec", sorted(set(specs()) - set(CHOICE)))
def test_the_rest_of_the_zoo(spec: str) -> None:
    check(spec)
