"""Layers × heads of a model by a measure."""

from __future__ import annotations

from math import isnan, nan
from typing import TYPE_CHECKING

from regard.errors import InputError
from regard.looking import Table
from regard.plot.canvas import COLOURS, FLOOR, HIDDEN, noted, scale
from regard.plot.picking import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

__all__ = ["MEANINGS", "heads"]

MEANINGS = {
    "entropy": "entropy, nats",
    "effective_keys": "effective keys",
    "mass": "mass on keys, less a learned sink",
    "maximum": "greatest weight of a row",
    "uncovered": "mass beyond the greatest weights kept",
    "distance": "mean distance, tokens",
    "previous": "mass on the previous token",
    "next": "mass on the next token",
    "same": "mass on the token itself",
    "sink": "mass on the first token",
    "local": "mass on tokens nearby",
    "duplicate": "mass on the last equal token",
    "induction": "mass after the last equal token",
}
_PLAIN = ("entropy", "effective_keys", "distance")
_CELLS = 160


def heads(axes: Axes, table: Table, measure: str = "entropy", *, log: bool | None = None) -> None:
    """One cell a head, layers downwards; grey where the measure has no meaning.

    Args:
        axes: where to draw.
        table: by `Layers.table` or `Totals.table`.
        measure: a column of it.
        log: colours on a log scale; None is yes, but for entropy, which is a logarithm itself.

    Errors: InputError for a measure that is none; MissingError without matplotlib.
    """
    if measure not in MEANINGS:
        raise InputError(f"measure must be one of {', '.join(MEANINGS)}, got {measure!r}")
    lines = list(table)
    layers, columns = (sorted({line[name] for line in lines}) for name in ("layer", "head"))
    values = [[nan] * len(columns) for _ in layers]
    for line in lines:
        if line[measure] is not None:
            values[layers.index(line["layer"])][columns.index(line["head"])] = line[measure]
    log = measure != "entropy" if log is None else log
    norm, shown = _scaled(values, log)
    image = axes.imshow(shown, cmap=COLOURS, norm=norm, aspect="auto", interpolation="nearest")
    axes.set_facecolor(HIDDEN)
    scale(axes, image, f"{MEANINGS[measure]}{' (log)' * log}")
    numbered = len(layers) * len(columns) <= _CELLS
    if numbered:
        _numbers(axes, values, norm, measure in _PLAIN)
    for set_ticks, some in ((axes.set_xticks, columns), (axes.set_yticks, layers)):
        step = 1 + len(some) // 16
        set_ticks(range(0, len(some), step), [str(number) for number in some[::step]], fontsize=7)
    axes.set_ylabel("layer", fontsize=7.5)
    noted(axes, "head", [*_notes(lines, values, log), "numbers in cells: %" * (numbered and measure not in _PLAIN)])


def _scaled(values: list[list[float]], log: bool) -> tuple[Normalize, list[list[float]]]:
    from matplotlib.colors import LogNorm, Normalize

    known = [value for row in values for value in row if not isnan(value)]
    most = max(known, default=1.0)
    if not log or most <= FLOOR:
        return Normalize(min(known, default=0.0), most or 1.0), values
    least = max(FLOOR, min((value for value in known if value > 0), default=FLOOR))
    shown = [[max(value, least) if not isnan(value) else nan for value in row] for row in values]
    return LogNorm(min(least, most / 1.01), most), shown


def _numbers(axes: Axes, values: list[list[float]], norm: Normalize, plain: bool) -> None:
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if not isnan(value):
                said = f"{value:.{2 if value < 10 else 3}g}" if plain else f"{100 * value:.0f}"
                ink = "white" if norm(max(value, FLOOR)) < 0.5 else "black"
                axes.text(column, row, said, ha="center", va="center", fontsize=6, color=ink)


def _notes(lines: list[dict[str, int | float | None]], values: list[list[float]], log: bool) -> list[str]:
    rows = max((int(line["rows"] or 0) for line in lines), default=0)
    sunk = [line["sink"] for line in lines if line["sink"] is not None]
    notes = [f"exact, means over {rows:,} rows"]
    if sunk:
        notes.append(f"the first token holds {percent(sum(sunk) / len(sunk))} of all mass")
    if log and any(value < FLOOR for row in values for value in row):
        notes.append(f"what is under {FLOOR:.0e} is the darkest")
    if any(isnan(value) for row in values for value in row):
        notes.append("grey: no such measure here")
    return notes
