"""What is measured: one attention as a small value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch

from regard.rule import Rule

__all__ = ["Case", "Pass", "Shape"]


class Pass(Enum):
    """Which part of the work is timed."""

    FORWARD = "forward"
    BACKWARD = "backward"
    RECORDED = "forward, recorded for gradients"
    BOTH = "forward + backward"

    @property
    def forwards(self) -> float:
        """Its work in forward passes; a backward pass has five products where a forward pass has two."""
        return {Pass.FORWARD: 1.0, Pass.BACKWARD: 2.5, Pass.RECORDED: 1.0, Pass.BOTH: 3.5}[self]


@dataclass(frozen=True)
class Shape:
    """query `[batch, heads, queries, dim]`; key and value `[batch, kv_heads, keys, dim]`."""

    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    dim: int

    @classmethod
    def square(cls, batch: int, heads: int, length: int, dim: int) -> Shape:
        """As many keys as queries, a key head for every query head."""
        return cls(batch, heads, heads, length, length, dim)

    def __str__(self) -> str:
        heads = f"{self.heads}" if self.heads == self.kv_heads else f"{self.heads}/{self.kv_heads}"
        length = f"{self.queries}" if self.queries == self.keys else f"{self.queries}→{self.keys}"
        return f"{self.batch}×{heads}×{length}×{self.dim}"


@dataclass(frozen=True)
class Case:
    """One attention to measure.

    Args:
        name: how it is asked for.
        shape: its sizes.
        rule: its equation.
        dtype: of the tensors.
        passes: what is timed.
        memory: whether reading memory bounds it, not arithmetic.
        plainer: what is left of the rule without the term that the case is about; regard is timed with both.
    """

    name: str
    shape: Shape
    rule: Rule
    dtype: torch.dtype = torch.float32
    passes: tuple[Pass, ...] = (Pass.FORWARD, Pass.BACKWARD)
    memory: bool = False
    plainer: Rule | None = None

    def __str__(self) -> str:
        return f"{self.name} · {str(self.dtype).removeprefix('torch.')} · {self.shape} · {self.rule!r}"
