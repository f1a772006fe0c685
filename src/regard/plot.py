"""Figures of attention: links from one token, maps of weights, tables of heads, one row over a long text. Extra: plot.

Colours are matplotlib's cividis, which reads the same for colour-blind eyes and in grey. Functions draw on axes that
they are given and change nothing else; nothing is shown on a screen.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from torch import Tensor

from regard.errors import MissingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve", "figure", "fonts", "links", "table", "weights"]

COLOURS = "cividis"
_INK, _FAINT, _MARK, _LINK = "#1a1a1a", "#777777", "#d1495b", "#31446b"
_LATIN = "DejaVu Sans"
_EASTERN = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS"),
)
_HIDDEN = "#dddddd"
_FLOOR = 1e-4


def figure(width: float, height: float) -> Figure:
    """An empty figure in inches, of no screen."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingError("figures need matplotlib; install it with: pip install 'regard[plot]'") from None
    made = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    return made


def fonts(texts: Sequence[str]) -> tuple[list[str], set[str]]:
    """Families that together show the texts, and the characters that no font here shows."""
    wanted = {
        letter for text in texts for letter in text if not letter.isspace() and unicodedata.category(letter) != "Cf"
    }
    families, missing = [_LATIN], wanted - _glyphs(_LATIN)
    for family in _EASTERN:
        if missing and (gained := missing & _glyphs(family)):
            families.append(family)
            missing -= gained
    for family in _others() if missing else ():
        if gained := missing & _glyphs(family):
            families.append(family)
            missing -= gained
    return families, missing


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
        if values[key] < _FLOOR or key == query:
            continue
        share, top = values[key] / most, 1.2 * abs(query - key) / longest
        arc = Path([(query, 0), (query, top), (key, top), (key, 0)], [Path.MOVETO, *[Path.CURVE4] * 3])
        line = {"linewidth": 0.6 + 6 * share, "edgecolor": _LINK, "alpha": 0.2 + 0.8 * share**0.5}
        axes.add_patch(PathPatch(arc, facecolor="none", capstyle="round", clip_on=False, **line))
    axes.set(xlim=(-0.7, count - 0.3), ylim=(-0.05, 1))
    axes.set_axis_off()
    size, turned = (10.0, 0) if sum(map(len, tokens)) + 2 * count < 110 else (8.0 if count <= 40 else 6.0, 60)
    place: dict[str, Any] = {"va": "top", "family": list(families), "fontsize": size, "rotation": turned}
    place["ha"] = "right" if turned else "center"
    for key, token in enumerate(tokens):
        strong = key == query or values[key] >= most / 2
        axes.text(
            key, -0.07, token, color=_MARK if key == query else _INK, weight="bold" if strong else "normal", **place
        )
        if not turned and values[key] >= 0.005:
            axes.text(key, -0.22, f"{values[key]:.0%}", va="top", ha="center", fontsize=8, color=_FAINT)


def curve(axes: Axes, labels: dict[int, str], shares: Tensor, query: int, families: Sequence[str]) -> None:
    """The weights of one query over all positions of a long text, on a log scale; some of them named.

    Args:
        axes: where to draw.
        labels: the keys to name: position → text.
        shares: `[tokens]`, the weights.
        query: where the query stands.
        families: fonts, of `fonts`.
    """
    values = shares.clamp(min=_FLOOR / 10).tolist()
    axes.vlines(range(len(values)), _FLOOR / 10, values, color=_LINK, linewidth=0.8)
    axes.axvline(query, color=_MARK, linewidth=1, linestyle=":", label="the query")
    axes.set(yscale="log", ylim=(_FLOOR / 10, 3), xlim=(-1, len(values)), xlabel="key position", ylabel="weight (log)")
    for place, label in labels.items():
        axes.annotate(
            label, (place, values[place]), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=8,
            family=list(families), color=_INK,
        )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper right", frameon=False, fontsize=8)


def table(axes: Axes, values: Sequence[Sequence[float]], picked: tuple[int, int], name: str) -> None:
    """A measure for layers × heads, in %, the picked one in a frame."""
    from matplotlib.patches import Rectangle

    layers, heads = len(values), max(map(len, values))
    full = [[100 * value for value in row] + [float("nan")] * (heads - len(row)) for row in values]
    image = axes.imshow(full, cmap=COLOURS, vmin=0, aspect="auto")
    _scale(axes, image, f"{name}, %")
    layer, head = picked
    axes.add_patch(Rectangle((head - 0.5, layer - 0.5), 1, 1, fill=False, edgecolor=_MARK, linewidth=2.5))
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
    norm = LogNorm(_FLOOR, 1) if log else Normalize(0, float(shares.max()))
    seen = shares.clamp(min=_FLOOR if log else 0).masked_fill(shares == 0, float("nan"))
    image = axes.imshow(seen.tolist(), cmap=COLOURS, norm=norm, aspect="auto")
    axes.set_facecolor(_HIDDEN)
    _scale(axes, image, "weight (log)" if log else "weight")
    axes.add_patch(Rectangle((-0.5, query - 0.5), count, 1, fill=False, edgecolor=_MARK, linewidth=1.5))
    size = max(4.0, min(8.0, 160 / count))
    axes.set_xticks(range(count), list(tokens), rotation=90, fontsize=size, family=list(families))
    axes.set_yticks(range(count), list(tokens), fontsize=size, family=list(families))
    axes.set(xlabel="key", ylabel="query")


def _scale(axes: Axes, image: Any, label: str) -> None:
    owner = axes.get_figure()
    assert owner is not None
    bar = owner.colorbar(image, ax=axes, pad=0.02, shrink=0.9)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


@cache
def _glyphs(family: str) -> frozenset[str]:
    """The characters that a font family shows, none where it is not installed."""
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    with suppress(ValueError, OSError, RuntimeError):
        path = findfont(FontProperties(family=family), fallback_to_default=False)
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    return frozenset()


@cache
def _others() -> tuple[str, ...]:
    """All installed families."""
    from matplotlib.font_manager import fontManager

    return tuple(sorted({entry.name for entry in fontManager.ttflist}))
