"""The heads of a model in a table: a line for each, a column for each measure."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regard.errors import MissingError
from regard.looking.layers import Layer
from regard.looking.measured import SCORES

if TYPE_CHECKING:
    import pandas

__all__ = ["Table", "tabled"]

ROWS = {
    "entropy": "entropy",
    "effective_keys": "effective",
    "mass": "mass",
    "maximum": "weights",
    "uncovered": "uncovered",
    "distance": "distance",
}
"""Measures of rows, and the field that each comes from."""
MEASURES = (*ROWS, *SCORES)
ALIKE = {"distance", "previous", "next", "same", "local", "duplicate", "induction"}
"""What speaks of positions in one sequence."""

Cell = int | float | str | None


@dataclass(frozen=True)
class Table:
    """A line for each head: layer, name, kind, head, rows, and means over these rows.

    entropy (nats), effective_keys, mass (1 less a learned sink's share), maximum, uncovered (by the greatest weights
    kept), distance, and the scores of `HeadScores`; None where a measure has no meaning: of positions in
    cross-attention, of tokens where none were known.

    Args:
        columns: the cells by the name of their column.
    """

    columns: dict[str, list[Cell]]

    def __len__(self) -> int:
        return len(self.columns["layer"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for line in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, line, strict=True))

    def __repr__(self) -> str:
        cells = [list(self.columns)] + [[_said(cell) for cell in line.values()] for line in self]
        wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, wide, strict=True)) for line in cells)

    def to_pandas(self) -> pandas.DataFrame:
        """A `pandas.DataFrame`; MissingError where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise MissingError(
                "a DataFrame needs pandas, which is not installed: pip install pandas; to_csv needs nothing"
            ) from None
        return pandas.DataFrame(self.columns)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write comma-separated values, a line of names first; a cell without a number is empty."""
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows(line.values() for line in self)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write Parquet; MissingError where pandas or what it writes Parquet with is not installed."""
        frame = self.to_pandas()
        try:
            frame.to_parquet(path, index=False)
        except ImportError:
            raise MissingError(
                "pandas writes Parquet by pyarrow, which is not installed: pip install pyarrow; to_csv needs nothing"
            ) from None


def tabled(layers: Sequence[Layer]) -> Table:
    """One line for each head of each layer; a layer that is there several times, once a run, is one."""
    columns: dict[str, list[Cell]] = {name: [] for name in ("layer", "name", "kind", "head", "rows", *MEASURES)}
    for number in sorted({layer.where.layer for layer in layers}):
        same = [layer for layer in layers if layer.where.layer == number]
        where = same[0].where
        totals = _merged([_totals(layer) for layer in same])
        for at, head in enumerate(where.heads):
            line: dict[str, Cell] = {"layer": number, "name": where.name, "kind": where.kind, "head": head}
            line["rows"] = int(totals["entropy"][1][at])
            for name in MEASURES:
                total, counted = totals.get(name, (None, None))
                hidden = total is None or counted is None or (where.kind == "cross" and name in ALIKE)
                line[name] = None if hidden or not int(counted[at]) else float(total[at] / counted[at])  # type: ignore[index]
            for name, cell in line.items():
                columns[name].append(cell)
    return Table(columns)


Totals = dict[str, tuple[Tensor, Tensor]]


def _totals(layer: Layer) -> Totals:
    """Of each measure the sum over rows and how many rows that is, `[heads]` each: what adds up over texts."""
    measured, live = layer.measured, layer.live
    found: Totals = {}
    for name, field in ROWS.items():
        numbers = measured.by_row(field)
        numbers = numbers[..., 0] if field == "weights" else numbers
        found[name] = (torch.where(live, numbers, 0).double().sum((0, 2)), live.sum((0, 2)))
    sums = measured.sums
    for name, total, counted in zip(SCORES, sums.scores.unbind(-1), sums.counted.unbind(-1), strict=False):
        found[name] = (total.double().sum(0), counted.sum(0))
    return found


def _merged(all_of: Sequence[Totals]) -> Totals:
    """The sums of several runs of one layer; a measure that any of them lacks is dropped."""
    names = [name for name in all_of[0] if all(name in one for one in all_of)]

    def summed(name: str, part: int) -> Tensor:
        return torch.stack([one[name][part] for one in all_of]).sum(0)

    return {name: (summed(name, 0), summed(name, 1)) for name in names}


def _said(cell: Cell) -> str:
    return "" if cell is None else f"{cell:.3f}" if isinstance(cell, float) else str(cell)
