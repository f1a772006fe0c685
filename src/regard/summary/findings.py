"""What the table of all heads says, in a few lines: which head does most of what, and what each layer does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regard.looking import Table
from regard.plot import MEANINGS

__all__ = ["Best", "bests", "layers", "panels", "telling"]

ROLES = ("previous", "next", "same", "duplicate", "induction", "sink", "distance")
_TENTH = 0.1
AVERAGED = ("entropy", "effective_keys", "distance", "sink", "maximum", "uncovered")


@dataclass(frozen=True)
class Best:
    """The head that does most of something.

    Args:
        measure: of the table.
        layer: its layer.
        head: its number.
        value: of the measure.
        second: of the head that comes next, 0 where there is none.
    """

    measure: str
    layer: int
    head: int
    value: float
    second: float

    @property
    def meaning(self) -> str:
        """The measure in words."""
        return MEANINGS[self.measure]


def bests(table: Table) -> list[Best]:
    """For each role that has a meaning here the head that fills it best."""
    found = []
    for measure in ROLES:
        known = sorted((line for line in table if line[measure] is not None), key=lambda line: -line[measure])
        if known and known[0][measure] > 0:
            one, second = known[0], known[1][measure] if len(known) > 1 else 0.0
            found.append(Best(measure, one["layer"], one["head"], one[measure], second))
    return found


def layers(table: Table) -> list[dict[str, Any]]:
    """A line for each layer: means over its heads."""
    made = []
    for number in sorted({line["layer"] for line in table}):
        heads = [line for line in table if line["layer"] == number]
        means: dict[str, Any] = {"layer": number, "heads": len(heads)}
        for measure in AVERAGED:
            known = [line[measure] for line in heads if line[measure] is not None]
            means[measure] = sum(known) / len(known) if known else None
        made.append(means)
    return made


def panels(table: Table) -> Sequence[str]:
    """The six measures that are drawn: in a causal model nothing is on the next token."""
    ahead = any(line["next"] for line in table)
    return ("entropy", "distance", "sink", "previous", *(("next", "same") if ahead else ("duplicate", "induction")))


def telling(table: Table, most: int) -> list[Best]:
    """Different heads to be drawn: of the best ones those with a tenth of the mass, and one that looks far."""
    kept: dict[tuple[int, int], Best] = {}
    for best in bests(table):
        if best.value >= _TENTH:
            kept.setdefault((best.layer, best.head), best)
    return list(kept.values())[:most] or bests(table)[:1]
