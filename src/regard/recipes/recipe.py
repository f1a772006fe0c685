"""What a recipe is, and where it puts what it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ATTENTION", "BASELINE", "BOUND", "Entry", "Measure", "Recipe", "Work"]

Family = Literal["attention", "baseline", "bound"]
ATTENTION: Family = "attention"
BASELINE: Family = "baseline"
BOUND: Family = "bound"
"""What none can beat, or what is no competitor."""


@dataclass(frozen=True)
class Measure:
    """A column of a table.

    Args:
        name: of the column.
        form: how its numbers are written.
        better: "less" or "more"; empty where neither is.
    """

    name: str
    form: str = ".3f"
    better: Literal["less", "more", ""] = ""


@dataclass(frozen=True)
class Entry:
    """What one model came to on one table by one seed.

    Args:
        table: its name.
        row: the model.
        family: attention, baseline or bound.
        seed: of model and split.
        values: one for every measure, None for what this table doesn't measure.
    """

    table: str
    row: str
    family: Family
    seed: int
    values: tuple[float | None, ...]


@dataclass
class Work:
    """One run of a recipe: what it is told, and what it has found so far.

    Args:
        quick: little data, few steps.
        note: told what takes long.
        entries: what was found.
        remarks: sentences to stand below the tables, or lines.
        shown: what the figure needs, of the first seed.
        kept: what one seed leaves for the next.
    """

    quick: bool
    note: Callable[[str], None]
    entries: list[Entry] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    shown: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)

    def add(self, table: str, row: str, family: Family, seed: int, values: Sequence[float | None]) -> None:
        """One more result."""
        kept = tuple(None if value is None else float(value) for value in values)
        self.entries.append(Entry(table, row, family, seed, kept))

    def about(self, name: str) -> Callable[[str], None]:
        """What notes how far a model is."""
        return lambda said: self.note(f"{name}, {said}")

    def remark(self, said: str) -> None:
        """A sentence, once."""
        if said not in self.remarks:
            self.remarks.append(said)

    def show(self, **parts: Any) -> None:
        """What the figure needs; what is there already stays."""
        for name, part in parts.items():
            self.shown.setdefault(name, part)


@dataclass(frozen=True)
class Recipe:
    """An application of attention.

    Args:
        name: by which it is asked for.
        question: what it asks.
        material: the data, how it is split, and what is judged.
        measures: the columns of its tables; the first decides who is ahead.
        learn: trains and judges every model by one seed.
        draw: draws what `learn` has shown.
        size: of the figure, inches.
        why: the reason, where attention is not ahead.
    """

    name: str
    question: str
    material: str
    measures: tuple[Measure, ...]
    learn: Callable[[Work, int], None]
    draw: Callable[[Figure, dict[str, Any]], None]
    size: tuple[float, float]
    why: str
