"""Reading a term's tensors at positions that are tensors themselves, in operations that vmap and compile can follow."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["lookup", "nowhere", "rank", "within"]


def lookup(table: Tensor, *index: Tensor | int) -> Tensor:
    """table[i, j, …] for index tensors that broadcast; missing leading axes are 1, and an axis of size 1 broadcasts.

    An index outside its axis reads the nearest element: whoever asks must know which indices exist.
    """
    table = table.reshape((1,) * (len(index) - table.ndim) + table.shape)
    for axis, at in reversed(list(enumerate(index))):
        if not isinstance(at, Tensor):
            table = table.select(axis, min(max(at, 0), table.shape[axis] - 1))
    tensors = [at for at in index if isinstance(at, Tensor)]
    if not tensors:
        return table
    places = [at.long().clamp(0, size - 1) for at, size in zip(tensors, table.shape, strict=True)]
    # `table[places]` asks a batched index for its number under vmap in older versions of torch; this one never does.
    found: Tensor = torch.ops.aten.index.Tensor(table, places)
    return found


def within(position: Tensor, size: int) -> Tensor:
    """Whether an axis of `size` has this position; an axis of size 1 stands for every position."""
    return (position >= 0) & (position < size) if size != 1 else torch.ones_like(position, dtype=torch.bool)


def rank(table: Tensor, row: Tensor | int, value: Tensor) -> Tensor:
    """How many entries of the ascending table[row] are ≤ value: int64, in log₂ n elementwise steps.

    table is [n] or [rows or 1, n]; row and value broadcast.
    """
    left = table.shape[-1]
    place = torch.zeros_like(value, dtype=torch.int64)
    # A compiler that inlines doubles its work with each use of `place`: two uses a step, and no fewer are possible.
    while left:
        half = (left + 1) // 2
        place = place + half * (lookup(table, row, place + (half - 1)) <= value)
        left -= half
    return place


def nowhere(query: Tensor, key: Tensor) -> Tensor:
    """False for every pair."""
    return torch.zeros_like(query + key, dtype=torch.bool)
