"""Where tokens lie: row by row behind their prefix, or nobody says where."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from atlas.models import Model, ModelSource
from atlas.models.spots import SPOTS, in_order, places
from tests.models.networks import square

pytestmark = pytest.mark.builder

SIDE, PATCH, WIDE = 32, 4, 24


def windows(x: Tensor, side: int = 4) -> Tensor:
    n, c, h, w = x.shape
    cut = x.reshape(n, c, h // side, side, w // side, side).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(n, h * w, c)


def snake(x: Tensor) -> Tensor:
    rows = x.clone()
    rows[:, :, 1::2] = rows[:, :, 1::2].flip(3)
    return rows.flatten(2).transpose(1, 2)


def strongest(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    kept = tokens.norm(dim=2).topk(tokens.shape[1] // 4, dim=1).indices
    return tokens.gather(1, kept[:, :, None].expand(-1, -1, tokens.shape[2]))


ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "rows": lambda x: x.flatten(2).transpose(1, 2),
    "columns": lambda x: x.transpose(2, 3).flatten(2).transpose(1, 2),
    "backwards": lambda x: x.flatten(2).transpose(1, 2).flip(1),
    "rolled": lambda x: x.flatten(2).transpose(1, 2).roll(5, 1),
    "windows": windows,
    "snake": snake,
    "strongest": strongest,
}


class Tokens(nn.Module):
    """Patches in some order, with tokens of its own before and behind, and blocks of attention."""

    def __init__(self, order: str = "rows", before: int = 0, behind: int = 0, fixed: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDE, PATCH, PATCH)
        self.order = ORDERS[order]
        self.before, self.behind = (nn.Parameter(torch.randn(1, count, WIDE)) for count in (before, behind))
        self.place = nn.Parameter(0.1 * torch.randn(1, (SIDE // PATCH) ** 2 + before + behind, WIDE)) if fixed else None
        self.begin = nn.LayerNorm(WIDE)
        block = nn.TransformerEncoderLayer(WIDE, 2, 48, 0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, 3, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        found = self.order(self.patches(x))
        own = (tokens.expand(len(x), -1, -1) for tokens in (self.before, self.behind))
        before, behind = own
        found = torch.cat([before, found, behind], 1)
        found = found if self.place is None else found + self.place
        answered: Tensor = self.blocks(self.begin(found))
        return answered


def told(network: nn.Module, **layouts: str) -> dict[str, tuple[tuple[int, ...], int]]:
    source = ModelSource("tests.models.test_spots:none", square(SIDE), layouts=tuple(layouts.items()))
    return {layer.name: (layer.size, layer.prefix) for layer in Model(network.eval(), source).layers}


def made(*given: object, **settings: object) -> Tokens:
    torch.manual_seed(1)
    return Tokens(*given, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("before", [0, 1, 4])
def test_patches_behind_a_prefix_lie_row_by_row(before: int, fixed: bool) -> None:
    found = told(made(before=before, fixed=fixed))
    assert {found[name] for name in ("begin", "blocks.layers.0", "blocks.layers.2", "blocks")} == {((8, 8), before)}


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(("before", "behind"), [(0, 1), (1, 1), (1, 4), (0, 4)])
def test_tokens_behind_the_patches_are_no_prefix(before: int, behind: int, fixed: bool) -> None:
    found = told(made(before=before, behind=behind, fixed=fixed))
    assert {found[name] for name in ("begin", "blocks.layers.0", "blocks.layers.2", "blocks")} == {((), 0)}


@pytest.mark.parametrize("order", sorted(ORDERS.keys() - {"rows"}))
@pytest.mark.parametrize("before", [0, 1])
def test_patches_in_another_order_have_no_place(order: str, before: int) -> None:
    found = told(made(order, before=before))
    assert {found[name] for name in ("begin", "blocks.layers.0", "blocks.layers.2", "blocks")} == {((), 0)}


def test_what_the_user_says_is_not_overruled() -> None:
    assert told(made(behind=1), begin="ntc")["begin"] == ((), 0)
    assert told(made(behind=1), begin="ntc+1")["begin"] == ((8, 8), 1)
    assert told(made("columns"), begin="ntc")["begin"] == ((8, 8), 0)


class RowsAmongRows(nn.Module):
    """Attention of a map's rows among each other: both of its axes grow with the image's height."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.weights = nn.Conv2d(3, 8, 16, 16), nn.Softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.rows(x).mean(3).unflatten(1, (2, 4))
        found: Tensor = self.weights(torch.einsum("ngch,ngck->nghk", rows, rows))
        return found


def test_the_attention_of_rows_is_no_map() -> None:
    model = Model(RowsAmongRows(), ModelSource("rows", square(160)))
    assert [layer.name for layer in model.layers] == ["rows"]
    assert "weights" in model.discovery.doubtful


def lying(size: tuple[int, int], prefix: int, blur: float = 0.0) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """How far tokens move that lie as they should, with attention that spreads a part of it."""
    moves = np.zeros((SPOTS, size[0] * size[1] + prefix))
    for spot, (y, x) in enumerate(places()):
        moves[spot, prefix + int(y * size[0]) * size[1] + int(x * size[1])] = 1
    return np.asarray(moves + blur)


@pytest.mark.parametrize("size", [(2, 2), (4, 4), (7, 7), (14, 14), (8, 12), (37, 37), (1, 9), (9, 1)])
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_order_is_told_from_movement(size: tuple[int, int], prefix: int) -> None:
    moves = lying(size, prefix)
    assert in_order(moves, size, prefix) is True
    assert in_order(moves + 0.3, size, prefix) is True
    assert in_order(np.zeros_like(moves), size, prefix) is None
    assert in_order(np.full_like(moves, np.nan), size, prefix) is None
    if prefix:
        assert in_order(np.roll(moves, -prefix, 1), size, prefix) is not True
    if min(size) > 2:
        assert in_order(moves[:, ::-1], size, prefix) is not True


def test_layers_without_places_are_said(caplog: pytest.LogCaptureFixture) -> None:
    model = Model(made(behind=1).eval(), ModelSource("behind", square(SIDE)))
    assert set(model.discovery.unplaced) >= {"begin", "blocks.layers.0", "blocks"}
    model.select(["blocks*"])
    assert "behind: " in caplog.text
    assert "without places: nothing shows that its tokens lie row by row" in caplog.text
    caplog.clear()
    said = ModelSource("behind", square(SIDE), layouts=(("b*", "ntc+1"),))
    Model(made(behind=1).eval(), said).select(["blocks*"])
    assert "without places" not in caplog.text
    Model(made(before=1).eval(), ModelSource("before", square(SIDE))).select(["all"])
    assert "without places" not in caplog.text


class Overlapping(nn.Module):
    """Patches that overlap, as hybrids and pyramids have them, in some order."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.patches, self.order = nn.Conv2d(3, WIDE, 7, 4, 3), ORDERS[order]
        self.norm, self.block = nn.LayerNorm(WIDE), nn.TransformerEncoderLayer(WIDE, 2, 48, 0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.block(self.norm(self.order(self.patches(x))))
        return found


@pytest.mark.parametrize("order", sorted(ORDERS))
def test_patches_that_overlap_have_places_too(order: str) -> None:
    torch.manual_seed(1)
    found = told(Overlapping(order))
    assert {found["norm"], found["block"]} == {((8, 8), 0) if order == "rows" else ((), 0)}


def written(x: Tensor, y: Tensor) -> Tensor:
    return x.copy_(y.clone())


class Reordered(nn.Module):
    """What attention alone gives, without what came in, in another order; `written` in place of it or not."""

    def __init__(self, change: Callable[[Tensor], Tensor] | None, *, mixed: bool, in_place: bool) -> None:
        super().__init__()
        self.patches, self.begin = nn.Conv2d(3, WIDE, 8, 8), nn.LayerNorm(WIDE)
        self.own = nn.Parameter(torch.ones(1, 1, WIDE))
        self.mix = nn.MultiheadAttention(WIDE, 1, batch_first=True) if mixed else None
        self.normed, self.after, self.last = nn.LayerNorm(WIDE), nn.LayerNorm(WIDE), nn.Linear(WIDE, WIDE)
        self.change, self.in_place = change, in_place

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.own.expand(len(x), -1, -1), ORDERS["rows"](self.patches(x))], 1)
        x = self.begin(x)
        x = self.normed(self.mix(x, x, x)[0] if self.mix else x)
        if self.change:
            x = written(x, self.change(x)) if self.in_place else self.change(x)
        found: Tensor = self.last(self.after(x))
        return found


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "backwards": lambda x: x.flip(1),
    "one on": lambda x: x.roll(1, 1),
    "the first behind": lambda x: torch.cat([x[:, 1:], x[:, :1]], 1),
}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_tokens_that_are_mixed_or_written_over_are_not_believed_to_lie_as_before(
    change: str, mixed: bool, in_place: bool
) -> None:
    torch.manual_seed(1)
    found = told(Reordered(CHANGES[change], mixed=mixed, in_place=in_place))
    assert found["begin"] == ((4, 4), 1)
    assert {found["after"], found["last"]} == {((), 0)}


@pytest.mark.parametrize("mixed", [False, True])
def test_what_attention_gives_lies_as_what_it_was_given(mixed: bool) -> None:
    torch.manual_seed(1)
    found = told(Reordered(None, mixed=mixed, in_place=False))
    assert {found["normed"], found["after"], found["last"]} == {((4, 4), 1)}
