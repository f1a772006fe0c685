"""What every bias is, and their sum."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.tree import Term, term

__all__ = ["Bias", "Sum", "check_count", "look_up"]


class Bias(Term):
    """bias_ij for every pair of a tile."""

    positional = True
    """Whether the value depends on where the rows and keys stand."""

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        """bias_ij, at absolute positions.

        `[batch|1, 1, queries, 1]`, `[batch|1, 1, 1, keys]` → broadcasts to `[batch, heads, queries, keys]`
        """
        raise TypeError(f"{type(self).__name__} does not say how it moves a pair: define pairs(query, key)")

    def for_heads(self, heads: int, device: torch.device) -> Bias:
        """The same bias with all that depends on the number of query heads filled in, or InputError."""
        return self

    def __add__(self, other: object) -> Bias:
        return Sum((*_parts(self), *_parts(_bias(other))))

    def __radd__(self, other: object) -> Bias:
        return Sum((*_parts(_bias(other)), *_parts(self)))


@term
class Sum(Bias):
    """The sum of several biases."""

    parts: tuple[Bias, ...]

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        total = self.parts[0].pairs(query, key)
        for part in self.parts[1:]:
            total = total + part.pairs(query, key)
        return total

    def for_heads(self, heads: int, device: torch.device) -> Bias:
        return Sum(tuple(part.for_heads(heads, device) for part in self.parts))

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """`[entries]` or `[heads, entries]` at an index.

    `[batch|1, 1, queries, keys]` → `[batch|1, heads|1, queries, keys]`
    """
    if table.ndim == 1:
        return table[index]
    if index.shape[0] == 1:
        return table[:, index[0, 0]]
    return table[:, index[:, 0]].movedim(0, 1)


def check_count(name: str, got: int, heads: int) -> None:
    """InputError unless a bias is for as many heads as there are."""
    if got != heads:
        raise InputError(
            f"{name} is for {got} heads, the query has {heads}; a tensor of one entry a head is [heads, …]"
        )


def _bias(other: object) -> Bias:
    if isinstance(other, Bias):
        return other
    if isinstance(other, Term):
        raise InputError(f"a bias adds to a bias, and {other!r} is none; give both to regard.Rule by name")
    raise InputError(f"a bias adds to a bias; wrap a {type(other).__name__} in regard.bias.tensor(...)")


def _parts(bias: Bias) -> tuple[Bias, ...]:
    return bias.parts if isinstance(bias, Sum) else (bias,)
