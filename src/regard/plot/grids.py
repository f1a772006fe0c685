"""Numbers in rows and columns: all weights of a short text, a measure of layers × heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from regard.plot.canvas import COLOURS, FLOOR, HIDDEN, MARK, scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["table", "weights"]


def table(axes: Axes, values: Sequence[Sequence[float]], picked: tuple[int, int], name: str) -> None:
    """A measure for layers × heads, in %, the picked one in a frame."""
    from matplotlib.patches import Rectangle

    layers, heads = len(values), max(map(len, values))
    full = [[100 * value for value in row] + [float("nan")] * (heads - len(row)) for row in values]
    image = axes.imshow(full, cmap=COLOURS, vmin=0, aspect="auto")
    scale(axes, image, f"{name}, %")
    layer, head = picked
    axes.add_patch(Rectangle((head - 0.5, layer - 0.5), 1, 1, fill=False, edgecolor=MARK, linewidth=2.5))
    if layers * heads <= 160:
        most = max(max(row) for row in values)
        for row, numbers in enumerate(values):
            for column, value in enumerate(numbers):
                ink = "white" if value < most / 2 else "black"
                axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color=ink)
    axes.set(xlabel="head", ylabel="layer")
    axes.set_xticks(range(0, heads, 1 + heads // 20))
    axes.set_yticks(range(0, layers, 1 + layers // 20))


def weights(
    axes: Axes, tokens: Sequence[str], shares: Tensor, query: int, families: Sequence[str], log: bool = True
) -> None:
    """All weights of a head, queries downwards; one query in a frame. A weight of exactly 0, a hidden pair, is grey.

    Args:
        axes: where to draw.
        tokens: their texts.
        shares: `[tokens, tokens]`.
        query: the row to frame.
        families: fonts, of `fonts`.
        log: a log scale, down to 0.01 %; what is less than that is the darkest.
    """
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.patches import Rectangle

    count = len(tokens)
    norm = LogNorm(FLOOR, 1) if log else Normalize(0, float(shares.max()))
    seen = shares.clamp(min=FLOOR if log else 0).masked_fill(shares == 0, float("nan"))
    image = axes.imshow(seen.tolist(), cmap=COLOURS, norm=norm, aspect="auto")
    axes.set_facecolor(HIDDEN)
    scale(axes, image, "weight (log)" if log else "weight")
    axes.add_patch(Rectangle((-0.5, query - 0.5), count, 1, fill=False, edgecolor=MARK, linewidth=1.5))
    size = max(4.0, min(8.0, 160 / count))
    axes.set_xticks(range(count), list(tokens), rotation=90, fontsize=size, family=list(families))
    axes.set_yticks(range(count), list(tokens), fontsize=size, family=list(families))
    axes.set(xlabel="key", ylabel="query")
