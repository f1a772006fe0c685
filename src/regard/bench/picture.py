"""The results as one figure: times as fast as SDPA for every case, and time against length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regard import plot
from regard.bench.competitors import BASE, OURS
from regard.bench.document import Report
from regard.bench.result import Result
from regard.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["save"]

_OTHER = "#777777"
_MARKS = "osDv^<>PX*"


def save(report: Report, path: Path) -> None:
    """Write it; the suffix of the path says how.

    Errors: InputError for a file that can't be written; MissingError without matplotlib.
    """
    rows = [result for result in report.results if any(entry.ratio is not None for entry in result.entries)]
    made = plot.figure(10, 1.6 + 0.2 * len(rows) + 3 * bool(report.points))
    count = bool(rows) + bool(report.points)
    if rows:
        _ratios(made.add_subplot(count, 1, 1), rows)
    if report.points:
        _lengths(made.add_subplot(count, 1, count), report)
    if not count:
        made.text(0.5, 0.5, f"nothing here has a ratio to {BASE.name}", ha="center", color=_OTHER)
    note = "" if report.quotable else "Disturbed: not to be quoted. "
    made.supxlabel(f"{note}{report.machine.processor}, {report.date}", fontsize=7.5, color="#555555")
    try:
        made.savefig(path, dpi=200)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from error


def _ratios(axes: Axes, rows: Sequence[Result]) -> None:
    from matplotlib import colormaps

    names = [n for n in dict.fromkeys(e.name for r in rows for e in r.entries) if n != BASE.name]
    for place, name in enumerate(names):
        found = [(entry.ratio, row) for row, r in enumerate(rows) if (entry := r.entry(name)) and entry.ratio]
        colour = colormaps[plot.COLOURS](0.9 * place / max(1, len(names) - 1))
        size = 45 if name == OURS.name else 16
        axes.scatter(
            [ratio for ratio, _ in found], [row for _, row in found], s=size, color=colour,
            marker=_MARKS[place % len(_MARKS)], label=name, zorder=3,
        )  # fmt: skip
    axes.axvline(1, color=_OTHER, linewidth=0.8)
    axes.set(xscale="log", xlabel=f"times as fast as {BASE.name} (log)")
    labels = [f"{r.case.name} {r.which.value}, {r.threads}" for r in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.grid(axis="both", linewidth=0.3)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _lengths(axes: Axes, report: Report) -> None:
    from matplotlib import colormaps

    kinds = list(dict.fromkeys(point.kind for point in report.points))
    for place, kind in enumerate(kinds):
        colour = colormaps[plot.COLOURS](0.8 * place / max(1, len(kinds) - 1))
        for name, style in ((OURS.name, "-"), (BASE.name, ":")):
            line = [
                (p.length, p.seconds.middle) for p in report.points if (p.kind, p.name) == (kind, name) and p.seconds
            ]
            axes.plot(
                *zip(*line, strict=True) if line else ([], []), style, color=colour, label=f"{kind}, {name}", marker="."
            )
    axes.set(xscale="log", yscale="log", xlabel="keys (log)", ylabel="seconds (log)")
    axes.grid(linewidth=0.3)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
