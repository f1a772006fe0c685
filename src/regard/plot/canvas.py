"""What all figures share: an empty one, colours, a scale, what is written below."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from regard.errors import MissingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "FAINT", "FLOOR", "HIDDEN", "INK", "LINE", "MARK", "figure", "noted", "scale"]

COLOURS = "cividis"
INK, FAINT, MARK, LINE = "#1a1a1a", "#777777", "#d1495b", "#31446b"
HIDDEN = "#dddddd"
FLOOR = 1e-4
_LETTERS = 17
"""Letters of a note that fit into an inch."""


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


def scale(axes: Axes, image: Any, label: str) -> None:
    """The bar that says what the colours of an image mean."""
    owner = axes.get_figure()
    assert owner is not None
    bar = owner.colorbar(image, ax=axes, pad=0.02, shrink=0.9)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(which="both", labelsize=6.5)


def noted(axes: Axes, label: str, notes: Sequence[str]) -> None:
    """The name of the lower axis, and sentences below it: what is exact, what is hidden, what is not shown."""
    owner, place = axes.get_figure(), axes.get_subplotspec()
    assert owner is not None
    columns = 1 if place is None else place.get_gridspec().ncols / max(1, len(place.colspan))
    wide = owner.bbox.width / owner.dpi / columns - 0.6
    room = max(30, int(wide * _LETTERS))
    parts = [fill(part, room) for part in (label, "; ".join(note for note in notes if note)) if part]
    axes.set_xlabel("\n".join(parts), fontsize=7.5, color=INK)
