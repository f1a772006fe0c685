"""Cells of a map of weights: how many pairs each holds, and four made one."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["areas", "halved"]


def areas(side: int, spans: tuple[tuple[int, int], tuple[int, int]]) -> Tensor:
    """How many pairs each cell of side × side holds; the last ones of the spans of rows and columns may hold fewer."""
    tall, wide = (torch.tensor([min(side, end - at) for at in range(first, end, side)]) for first, end in spans)
    return tall[:, None] * wide


def halved(level: Tensor, pool: str) -> Tensor:
    """Cells of two by two made one: their sum, or their greatest; a last odd one stays by itself."""
    for axis in (-1, -2):
        odd = level.shape[axis] % 2
        level = torch.nn.functional.pad(level, (0, odd) if axis == -1 else (0, 0, 0, odd))
        pairs = level.unflatten(axis, (-1, 2))
        at = axis if axis == -1 else -2
        level = pairs.sum(at) if pool == "mean" else pairs.amax(at)
    return level
