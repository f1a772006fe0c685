"""`Look.cells`: the tiles of a map, each a true pool of its pairs, of some heads, by either engine."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import regard as rg
from regard.errors import InputError

HEADS, QUERIES, KEYS = 6, 17, 23
RULES = {
    "plain": None,
    "window": rg.causal() & rg.window(7),
    "sink": rg.Rule(pattern=rg.causal(), normalize=rg.softmax(sink=torch.linspace(-1, 2, HEADS))),
    "sparsemax": rg.sparsemax(),
}


def looked(rule: object, engine: str | None = None) -> rg.Look:
    torch.manual_seed(0)
    query, key = torch.randn(2, HEADS, QUERIES, 5) * 2, torch.randn(2, 2, KEYS, 5) * 2
    return rg.look(query, key, rule, engine=engine)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("heads", [None, 4, [5, 0]])
def test_cells_are_pools_of_the_weights(rule: object, heads: int | list[int] | None) -> None:
    look = looked(rule)
    weights = look.rows(range(QUERIES))
    chosen = weights if heads is None else weights[:, torch.tensor(heads).reshape(-1)]
    rows, columns, side = (2, 17), (1, 22), 4
    found = look.cells(side, rows, columns, heads)
    assert found.mean.shape == found.maximum.shape == (2, chosen.shape[1], 4, 6)
    assert found.area.tolist() == [[tall * wide for wide in (4, 4, 4, 4, 4, 1)] for tall in (4, 4, 4, 3)]
    for i in range(4):
        for j in range(6):
            cell = chosen[..., 2 + 4 * i : min(17, 6 + 4 * i), 1 + 4 * j : min(22, 5 + 4 * j)]
            assert_close(found.mean[..., i, j], cell.mean((-1, -2)))
            assert_close(found.maximum[..., i, j], cell.amax((-1, -2)))


def test_both_engines_agree() -> None:
    rule = RULES["window"]
    native, tiled = (looked(rule, engine).cells(5, heads=[3]) for engine in (None, "tiled"))
    assert_close(native.mean, tiled.mean)
    assert_close(native.maximum, tiled.maximum)


def test_cells_are_not_kept() -> None:
    look = looked(None)
    look.tile(size=3)
    kept = len(look._kept._groups)
    for first in range(7):
        look.cells(1, (first, first + 5), (0, 5), heads=0)
    assert len(look._kept._groups) == kept == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0,), "side must be an integer from 1"),
        ((2, (3, 3)), "rows must be"),
        ((2, None, (0, 24)), "columns must be"),
        ((2, None, None, 6), "heads must be integers from 0 to 5"),
    ],
)
def test_what_is_not_there_is_said(arguments: tuple[object, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        looked(None).cells(*arguments)  # type: ignore[arg-type]
