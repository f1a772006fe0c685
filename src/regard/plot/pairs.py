"""Lines from every token of a text to those that it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regard.errors import InputError
from regard.looking import Layer, Look
from regard.plot.canvas import COLOURS, INK, noted, scale
from regard.plot.families import labelled
from regard.plot.picking import nowhere, of_head, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["lines"]

_LEAST = 0.01
_MOST = 128


def lines(
    axes: Axes,
    tokens: Sequence[str],
    seen: Look | Layer,
    head: int = 0,
    *,
    entry: int = 0,
    first: int = 0,
    top: int = 8,
    without_sink: bool = False,
) -> None:
    """The tokens on both sides, queries left, and a line from each to the keys with its greatest weights.

    Args:
        axes: where to draw.
        tokens: the texts of tokens `first`, `first + 1`, …; up to about 48 can be read, 128 drawn.
        seen: a `Look`, or a layer, whose statistics are enough.
        head: which.
        entry: of the batch.
        first: at which row the tokens begin.
        top: how many keys of each row; a layer has as many as `watch` kept.
        without_sink: leave out key 0; what it holds is written below.

    Errors: InputError for what is not there; MissingError without matplotlib.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LogNorm

    found = seen.top(top if isinstance(seen, Layer) else min(top, seen.rows([0]).shape[-1]))
    weights, keys = (of_head(seen, part, 2, head, entry) for part in found[:2])
    mass, count = of_head(seen, seen.mass(), 1, head, entry), len(tokens)
    if not 0 < count <= min(_MOST, len(mass) - first) or first < 0:
        raise InputError(
            f"tokens must be 1 to {_MOST} texts of rows {first} to {len(mass) - 1}, got {count}; "
            "a longer text is a map: plot.tiles"
        )
    rows = slice(first, first + count)
    ends, strength = _ends(weights[rows], keys[rows] - first, first, without_sink)
    drawn = LineCollection(
        [[(0, query), (1, key)] for query, key in ends.tolist()],
        array=strength.numpy(), cmap=f"{COLOURS}_r", norm=LogNorm(_LEAST, 1), capstyle="round",
        linewidths=(0.5 + 4 * strength).tolist(),
    )  # fmt: skip
    axes.add_collection(drawn)
    _words(axes, tokens)
    scale(axes, drawn, "weight (log)")
    total = float(mass[rows].double().sum()) or 1.0
    sunk = float(weights[rows][keys[rows] == 0].double().sum()) / total
    noted(axes, "left: queries, right: keys", [
        f"lines: {percent(float(strength.double().sum()) / total)} of the mass, of the {weights.shape[-1]} greatest "
        f"weights a row those of 1 % and more",
        f"key 0{', not drawn,' * without_sink} holds at least {percent(sunk)}" if sunk > 0 else "",
        nowhere(seen, head, entry),
    ])  # fmt: skip


def _ends(weights: Tensor, keys: Tensor, first: int, without_sink: bool) -> tuple[Tensor, Tensor]:
    """Query and key of each line, `[lines, 2]`, and its weight; the strongest last, above all others."""
    shown = (weights >= _LEAST) & (keys >= 0) & (keys < len(keys))
    if without_sink:
        shown &= keys + first != 0
    query = torch.arange(len(keys))[:, None].expand_as(keys)
    strength, order = weights[shown].float().cpu().sort()
    return torch.stack((query[shown], keys[shown]), -1)[order], strength


def _words(axes: Axes, tokens: Sequence[str]) -> None:
    labels, families, _ = labelled(tokens)
    size = max(3.5, min(9.0, 300 / len(labels)))
    for place, label in enumerate(labels):
        axes.text(-0.03, place, label, ha="right", va="center", fontsize=size, family=families, color=INK)
        axes.text(1.03, place, label, ha="left", va="center", fontsize=size, family=families, color=INK)
    room = min(0.9, 0.012 * size * max(map(len, labels)))
    axes.set(xlim=(-room, 1 + room), ylim=(len(labels) - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
