"""Cuts of queries and keys into classes, over which weights are summed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.engines.native.request import grouping
from regard.errors import InputError
from regard.problem import Problem

__all__ = ["Grouped", "Grouping", "pooled", "segments", "share"]


@dataclass(frozen=True)
class Grouping:
    """Which class every key is in, and every query; −1 is none.

    `keys [keys]` or `[batch, keys]` of int64 below `key_classes`; `queries` likewise, or None where rows are wanted one
    by one.
    """

    keys: Tensor
    key_classes: int
    queries: Tensor | None = None
    query_classes: int = 0
    greatest: bool = False


@dataclass(frozen=True)
class Grouped:
    """What a grouping found.

    `rows_ib = Σ_{j ∈ b} P_ij`, `[batch, heads, queries, key classes]`, where the queries have no classes; else, of
    `[batch, heads, query classes, key classes]`, `sum_ab = Σ_{i ∈ a, j ∈ b} P_ij`, the greatest of these P, and the
    number of visible pairs. A mean over visible pairs is `sum / pairs`.
    """

    rows: Tensor | None
    sum: Tensor | None
    greatest: Tensor | None
    pairs: Tensor | None

    @property
    def mean(self) -> Tensor | None:
        """`sum / pairs`, 0 where no pair is visible."""
        return None if self.sum is None or self.pairs is None else self.sum / self.pairs.clamp(min=1)


def share(keys: Tensor) -> Grouping:
    """The mass on a set of keys, one number a row: `Σ_{j ∈ S} P_ij`.

    Args:
        keys: bool `[keys]` or `[batch, keys]`, True for those in the set.
    """
    return Grouping(keys.to(torch.int64) - 1, 1)


def segments(queries: Tensor, keys: Tensor) -> Grouping:
    """The mass from every segment to every other: `sum_ab = Σ_{i ∈ a, j ∈ b} P_ij`.

    Args:
        queries: the segment of each query, int64 `[queries]` or `[batch, queries]`; −1 is none.
        keys: the segment of each key, likewise.
    """
    counts = [max(int(ids.max()) + 1, 1) if ids.numel() else 1 for ids in (queries, keys)]
    return Grouping(keys, counts[1], queries, counts[0])


def pooled(problem: Problem, rows: tuple[int, int], columns: tuple[int, int], size: int) -> Grouping:
    """A rectangle of the weights in cells of size × size: sum, greatest and number of visible pairs of each.

    Args:
        problem: what it is a rectangle of.
        rows: its first row, and the row after its last; local.
        columns: the same of its columns.
        size: of a cell; the last ones may be smaller.
    """
    if size < 1:
        raise InputError(f"size must be ≥ 1, got {size}")
    query, rows_of_cells = _cells(problem.queries, rows, size)
    key, columns_of_cells = _cells(problem.keys, columns, size)
    return Grouping(key, columns_of_cells, query, rows_of_cells, greatest=True)


def _cells(length: int, span: tuple[int, int], size: int) -> tuple[Tensor, int]:
    first, end = span
    place = torch.arange(length)
    inside = (place >= first) & (place < end)
    return torch.where(inside, (place - first) // size, -1), -(-(end - first) // size)


@dataclass(frozen=True)
class Room:
    """Where the kernels put what a grouping finds, and its bytes; `held` is what these point into."""

    found: Grouped
    packed: bytes
    held: tuple[Tensor | None, Tensor]


def room(problem: Problem, heads: int, wanted: Grouping) -> Room:
    """Zeros for the results of a grouping."""
    keys = _classes(wanted.keys, problem.batch, problem.keys, wanted.key_classes, "keys")
    queries = None
    if wanted.queries is not None:
        queries = _classes(wanted.queries, problem.batch, problem.queries, wanted.query_classes, "queries")
    classes = (wanted.query_classes, wanted.key_classes)
    lead, real = (problem.batch, heads), problem.accumulate
    rows = torch.zeros(*lead, problem.queries, classes[1], dtype=real) if queries is None else None
    cells = None if queries is None else torch.zeros(*lead, *classes, dtype=real)
    greatest = torch.zeros_like(cells) if cells is not None and wanted.greatest else None
    pairs = None if cells is None else torch.zeros_like(cells, dtype=torch.int64)
    packed = grouping(queries, keys, classes, rows, (cells, greatest, pairs))
    return Room(Grouped(rows, cells, greatest, pairs), packed, (queries, keys))


def _classes(ids: Tensor, batch: int, length: int, classes: int, name: str) -> Tensor:
    """`[batch or 1, length]` of int64, checked."""
    ids = ids.to(torch.int64)
    ids = (ids[None] if ids.ndim == 1 else ids).contiguous()
    if ids.ndim != 2 or ids.shape[0] not in (1, batch) or ids.shape[1] != length:
        raise InputError(f"classes of {name} must be [{length}] or [{batch}, {length}], got {list(ids.shape)}")
    if int(ids.min()) < -1 or int(ids.max()) >= classes:
        raise InputError(
            f"classes of {name} must be −1 (none) or 0…{classes - 1}, got {int(ids.min())}…{int(ids.max())}"
        )
    return ids
