"""The heads of a model in a table: a line for each, a column for each measure."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from regard.errors import MissingError
from regard.looking.layers import Where
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
                "a DataFrame needs pandas, which is not installed: pip install 'regard[tables]'; to_csv needs nothing"
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
                "pandas writes Parquet by pyarrow, which is not installed: pip install 'regard[tables]'; "
                "to_csv needs nothing"
            ) from None


Totals = Mapping[str, tuple[Tensor, Tensor]]
"""Of each measure the sum over rows and how many rows that is, `[heads]` each."""


def tabled(layers: Sequence[tuple[Where, Totals]]) -> Table:
    """One line for each head of each layer."""
    columns: dict[str, list[Cell]] = {name: [] for name in ("layer", "name", "kind", "head", "rows", *MEASURES)}
    for where, totals in layers:
        for at, head in enumerate(where.heads):
            line: dict[str, Cell] = {"layer": where.layer, "name": where.name, "kind": where.kind, "head": head}
            line["rows"] = int(totals["entropy"][1][at])
            for name in MEASURES:
                total, counted = totals.get(name, (None, None))
                hidden = total is None or counted is None or (where.kind == "cross" and name in ALIKE)
                line[name] = None if hidden or not int(counted[at]) else float(total[at] / counted[at])  # type: ignore[index]
            for name, cell in line.items():
                columns[name].append(cell)
    return Table(columns)


def _said(cell: Cell) -> str:
    return "" if cell is None else f"{cell:.3f}" if isinstance(cell, float) else str(cell)
