"""The comparison as a figure: what was learned, how soon, and time and memory against length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard import plot
from regard.bench.text import spoken
from regard.compare.contestants import CONTESTANTS, FAMILIES
from regard.compare.run import Comparison
from regard.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["save"]

# Okabe and Ito 2008: a colour for each family, which colour-blind eyes tell apart; marks and dashes tell its members.
_COLOURS = dict(zip(FAMILIES, ("#D55E00", "#0072B2", "#009E73"), strict=True))
_MARKS, _DASHES = "osD^", ("-", "--", ":", "-.")
_FAINT = "#555555"


def save(found: Comparison, path: Path) -> None:
    """Write it; the suffix of the path says how.

    Errors: InputError for a file that can't be written; MissingError without matplotlib.
    """
    made = plot.figure(11, 8)
    grid: Any = made.subplots(2, 2)
    (shares, soon), (time, memory) = grid
    _shares(shares, found)
    _soon(soon, found)
    against = [(cost.name, cost.length, cost.seconds, cost.bytes) for cost in found.costs]
    _lengths(time, [(name, length, seconds) for name, length, seconds, _ in against], "time (log)", spoken)
    bytes_ = [(name, length, taken / 2**20 if taken else None) for name, length, _, taken in against]
    _lengths(memory, bytes_, "MiB besides the model (log)", "{:g}".format)
    time.set_title("time of one sequence, forward", fontsize=10)
    memory.set_title("memory of one sequence, forward", fontsize=10)
    handles, labels = soon.get_legend_handles_labels()
    made.suptitle(f"{found.task.name}: {found.task.said}", fontsize=11)
    noisy = "; timings were disturbed by other processes" * any(cost.disturbed for cost in found.costs)
    partly = "; interrupted: not all is here" * bool(found.interrupted)
    caption = f"{found.machine.processor}; seed {found.wish.seed}{noisy}{partly}"
    look: dict[str, Any] = {"ncols": 5, "fontsize": 8, "title_fontsize": 7, "frameon": False}
    made.legend(handles, labels, loc="outside lower center", title=caption, **look)
    try:
        made.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from error


def _style(name: str) -> dict[str, Any]:
    """Of one model."""
    one = next(each for each in CONTESTANTS if each.name == name)
    place = [each.name for each in CONTESTANTS if each.family == one.family].index(name)
    return {
        "color": _COLOURS[one.family], "marker": _MARKS[place], "linestyle": _DASHES[place], "markersize": 4.5,
        "linewidth": 1.3, "label": name,
    }  # fmt: skip


def _shares(axes: Axes, found: Comparison) -> None:
    names = [one.name for one in found.outcomes]
    shares = [100 * one.learned.accuracy for one in found.outcomes]
    bars = axes.barh(names, shares, color=[_COLOURS[one.family] for one in found.outcomes])
    axes.bar_label(bars, [f"{share:.0f}" for share in shares], padding=2, fontsize=8)
    axes.axvline(100 * found.chance, color="black", linewidth=0.8, linestyle=":")
    axes.annotate(
        "guessing", (100 * found.chance, 1), xycoords=("data", "axes fraction"), fontsize=7, va="bottom", ha="center"
    )
    axes.set(xlim=(0, 110), xlabel="held-out answers that are right, %")
    axes.tick_params(axis="y", labelsize=8)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)


def _soon(axes: Axes, found: Comparison) -> None:
    for one in found.outcomes:
        steps, shares = zip(*one.learned.curve, strict=True)
        axes.plot(steps, [100 * share for share in shares], **_style(one.name))
    axes.set(xlabel="step of training", ylabel="right, %", ylim=(0, 104))
    axes.set_title(f"how soon, at {found.wish.budget.length} positions", fontsize=10)
    axes.grid(linewidth=0.3)


def _lengths(axes: Axes, points: list[tuple[str, int, float | None]], label: str, said: Callable[[float], str]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    for name in dict.fromkeys(name for name, _, _ in points):
        line = [(length, value) for each, length, value in points if each == name and value]
        if line:
            axes.plot(*zip(*line, strict=True), **_style(name))
    lengths = sorted({length for _, length, _ in points})
    axes.set(xscale="log", yscale="log", xlabel="positions (log)", ylabel=label)
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: said(value)))
    axes.minorticks_off()
    axes.grid(linewidth=0.3)
