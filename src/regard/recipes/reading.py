"""What the numbers of a table say: means over seeds, their spread, who is ahead, whether by more than the spread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, stdev

from regard.recipes.recipe import ATTENTION, BASELINE, Entry, Family, Measure
from regard.recipes.run import Found

__all__ = ["Row", "columns", "reading", "rows", "tables"]


@dataclass(frozen=True)
class Row:
    """One model over all seeds.

    Args:
        name: the model.
        family: attention, baseline or bound.
        values: of every measure of the table, one a seed.
    """

    name: str
    family: Family
    values: tuple[tuple[float, ...], ...]

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.values[0])

    @property
    def spread(self) -> float:
        """The standard deviation of the first measure over seeds; 0 for a single one."""
        return stdev(self.values[0]) if self.seeds > 1 else 0.0

    def cells(self, measures: Iterable[Measure]) -> list[str]:
        """Its numbers as they are written: mean ± standard deviation over seeds."""
        return [_written(values, each.form) for values, each in zip(self.values, measures, strict=True)]


def tables(entries: Iterable[Entry]) -> list[str]:
    """The names of the tables, in the order in which they were begun."""
    return list(dict.fromkeys(entry.table for entry in entries))


def rows(entries: Iterable[Entry], table: str) -> list[Row]:
    """The rows of a table, in the order in which they were begun."""
    named: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.table == table:
            named.setdefault(entry.row, []).append(entry)
    return [
        Row(name, some[0].family, tuple(zip(*(_there(entry.values) for entry in some), strict=True)))
        for name, some in named.items()
    ]


def columns(entries: Iterable[Entry], table: str, measures: Iterable[Measure]) -> list[Measure]:
    """What a table measures, of all that a recipe does."""
    first = next(entry for entry in entries if entry.table == table)
    return [measure for measure, value in zip(measures, first.values, strict=True) if value is not None]


def _there(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def reading(found: Found) -> list[str]:
    """A sentence for every table, and the reason where attention is not ahead in all of them."""
    work, measures = found.work, found.recipe.measures
    said = [
        _verdict(table, rows(work.entries, table), columns(work.entries, table, measures)[0])
        for table in tables(work.entries)
    ]
    ahead = [one for one in said if one]
    why = [found.recipe.why] if any(not one.startswith("Ahead") for one in ahead) else []
    return [*ahead, *why, *work.remarks]


def _verdict(table: str, some: list[Row], measure: Measure) -> str:
    """Who is ahead by the first measure; nothing where there are not both, attention and a baseline."""
    best = {
        family: min((row for row in some if row.family == family), key=lambda row: _loss(row, measure), default=None)
        for family in (ATTENTION, BASELINE)
    }
    ours, theirs = best[ATTENTION], best[BASELINE]
    if ours is None or theirs is None or not measure.better:
        return ""
    margin, spread = _loss(theirs, measure) - _loss(ours, measure), max(ours.spread, theirs.spread)
    numbers = (
        f"{_written((mean(ours.values[0]),), measure.form)} against {_written((mean(theirs.values[0]),), measure.form)}"
    )
    pair = f"{ours.name} {numbers} of {theirs.name} ({measure.name})"
    if min(ours.seeds, theirs.seeds) < 2:
        side = "in front" if margin > 0 else "not in front"
        return f"{table}: by one seed attention is {side}, which says little: {pair}."
    if margin > spread:
        return f"Ahead on {table}: {pair}, a margin larger than the spread over seeds, {spread:{measure.form}}."
    if margin >= -spread:
        return f"Level on {table}: {pair}; the difference is within the spread over seeds, {spread:{measure.form}}."
    return f"Behind on {table}: {pair}; the spread over seeds is {spread:{measure.form}}."


def _loss(row: Row, measure: Measure) -> float:
    """The mean of the first measure, so that less is better."""
    return mean(row.values[0]) * (-1 if measure.better == "more" else 1)


def _written(values: tuple[float, ...], form: str) -> str:
    spread = f" ± {stdev(values):{form}}" if len(values) > 1 else ""
    return f"{mean(values):{form}}{spread}"
