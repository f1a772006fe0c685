"""What every score is, and how a query and a key may meet."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from regard.errors import InputError
from regard.terms.tree import Term, number

__all__ = ["Pairs", "Score", "check_matrix", "times"]


class Pairs(Protocol):
    """The pairs of a tile, each hidden one giving 0 and gradient 0 whatever its vectors hold."""

    def dot(self, query: Tensor, key: Tensor) -> Tensor:
        """q_i · k_j.

        `[batch, heads, queries, dim]`, `[batch, kv_heads, keys, dim]` → `[batch, heads, queries, keys]`
        """

    def add(self, query: Tensor, key: Tensor) -> Tensor:
        """q_i + k_j, component by component: → `[batch, heads, queries, keys, dim]`."""


class Score(Term):
    """score(q_i, k_j) for every pair of a tile."""

    def pairs(self, query: Tensor, key: Tensor, over: Pairs) -> Tensor:
        """`[batch, heads, queries, dim]`, `[batch, kv_heads, keys, key_dim]` → `[batch, heads, queries, keys]`."""
        raise TypeError(f"{type(self).__name__} does not say how it scores a pair: define pairs(query, key, over)")

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        """Raise InputError unless the score can take these dims."""
        if dim != key_dim:
            raise InputError(
                f"{self!r} needs query and key of one dim, got {dim} and {key_dim}; "
                "general(W) or additive(W, U, v) can join two dims"
            )

    @property
    def width(self) -> int:
        """How many numbers a pair needs while it is scored."""
        return 1


def times(name: str, scale: float | Tensor) -> str:
    """How a scaled score prints: a scale of 1 is not shown."""
    return name if not isinstance(scale, Tensor) and scale == 1 else f"{name}·{number(scale)}"


def check_matrix(name: str, weight: Tensor, shape: tuple[int, int], heads: int) -> None:
    """InputError unless the matrix has this shape, for all heads or for each."""
    if tuple(weight.shape) not in (shape, (heads, *shape)):
        rows, columns = shape
        raise InputError(
            f"{name} must be [{rows}, {columns}] or [{heads}, {rows}, {columns}] for these inputs, "
            f"got {list(weight.shape)}"
        )
