"""What one token looks at: links over a short text, a curve over a long one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from regard.plot.canvas import FAINT, FLOOR, INK, LINE, MARK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["curve", "links"]


def links(axes: Axes, tokens: Sequence[str], shares: Tensor, query: int, families: Sequence[str]) -> None:
    """The tokens in a row, and an arc from one of them to each other, as strong as its weight.

    Args:
        axes: where to draw.
        tokens: their texts; up to about 64 can be read.
        shares: `[tokens]`, the weights of the query.
        query: which token looks.
        families: fonts, of `fonts`.
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    count, values = len(tokens), shares.tolist()
    most, longest = max(values) or 1.0, max(query, count - 1 - query, 1)
    for key in sorted(range(count), key=lambda place: values[place]):
        if values[key] < FLOOR or key == query:
            continue
        share, top = values[key] / most, 1.2 * abs(query - key) / longest
        arc = Path([(query, 0), (query, top), (key, top), (key, 0)], [Path.MOVETO, *[Path.CURVE4] * 3])
        line = {"linewidth": 0.6 + 6 * share, "edgecolor": LINE, "alpha": 0.2 + 0.8 * share**0.5}
        axes.add_patch(PathPatch(arc, facecolor="none", capstyle="round", clip_on=False, **line))
    axes.set(xlim=(-0.7, count - 0.3), ylim=(-0.05, 1))
    axes.set_axis_off()
    size, turned = (10.0, 0) if sum(map(len, tokens)) + 2 * count < 110 else (8.0 if count <= 40 else 6.0, 60)
    place: dict[str, Any] = {"va": "top", "family": list(families), "fontsize": size, "rotation": turned}
    place["ha"] = "right" if turned else "center"
    for key, token in enumerate(tokens):
        strong = key == query or values[key] >= most / 2
        axes.text(
            key, -0.07, token, color=MARK if key == query else INK, weight="bold" if strong else "normal", **place
        )
        if not turned and values[key] >= 0.005:
            axes.text(key, -0.22, f"{values[key]:.0%}", va="top", ha="center", fontsize=8, color=FAINT)


def curve(axes: Axes, labels: dict[int, str], shares: Tensor, query: int, families: Sequence[str]) -> None:
    """The weights of one query over all positions of a long text, on a log scale; some of them named.

    Args:
        axes: where to draw.
        labels: the keys to name: position → text.
        shares: `[tokens]`, the weights.
        query: where the query stands.
        families: fonts, of `fonts`.
    """
    values = shares.clamp(min=FLOOR / 10).tolist()
    axes.vlines(range(len(values)), FLOOR / 10, values, color=LINE, linewidth=0.8)
    axes.axvline(query, color=MARK, linewidth=1, linestyle=":", label="the query")
    axes.set(yscale="log", ylim=(FLOOR / 10, 3), xlim=(-1, len(values)), xlabel="key position", ylabel="weight (log)")
    for place, label in labels.items():
        axes.annotate(
            label, (place, values[place]), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=8,
            family=list(families), color=INK,
        )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper right", frameon=False, fontsize=8)
