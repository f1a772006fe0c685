"""Patterns on a line of positions: everything, causal, window, strided, global tokens."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from regard.errors import InputError
from regard.terms.later import later
from regard.terms.pattern.algebra import Pattern
from regard.terms.pattern.build import tabulate
from regard.terms.pattern.checks import whole, wholes
from regard.terms.pattern.lists import Lists
from regard.terms.pattern.ranges import Ints
from regard.terms.pattern.reading import nowhere
from regard.terms.tree import term

__all__ = [
    "Causal",
    "Everything",
    "Global",
    "Strided",
    "Window",
    "causal",
    "everything",
    "global_tokens",
    "strided",
    "window",
]


@term
class Everything(Pattern):
    """All pairs."""

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        return ~nowhere(query, key)

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        return Lists.one(tabulate(rows, keys, lambda at: keys))

    def notation(self) -> str:
        return "everything"


@term
class Causal(Pattern):
    """j ≤ i."""

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        return key <= query

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        return Lists.one(tabulate(rows, keys, lambda at: (keys[0], at + 1)))

    def notation(self) -> str:
        return "causal"


CAUSAL = Causal()


@term
class Window(Pattern):
    """i − before ≤ j ≤ i + after."""

    before: int
    after: int

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        distance = query - key
        return (distance <= self.before) & (distance >= -self.after)

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        return Lists.one(tabulate(rows, keys, lambda at: (at - self.before, at + self.after + 1)))

    def notation(self) -> str:
        return f"window(before={self.before}, after={self.after})" if self.after else f"window({self.before + 1})"


@term
class Strided(Pattern):
    """(i − j) mod stride = 0."""

    stride: int

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        return (query - key) % self.stride == 0

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        steps = np.arange(max(1, -((keys[0] - keys[1]) // self.stride))) * self.stride

        def singles(at: Ints) -> tuple[Ints, Ints]:
            low = keys[0] + (at - keys[0]) % self.stride + steps
            return low, low + 1

        return Lists.one(tabulate(rows, keys, singles, width=steps.size, small=True))

    def notation(self) -> str:
        return f"strided({self.stride})"


@term
class Global(Pattern):
    """i in positions, or j in positions."""

    positions: tuple[int, ...]

    def runs(self) -> list[tuple[int, int]]:
        """The positions as half-open runs."""
        found: list[tuple[int, int]] = []
        for position in self.positions:
            if found and found[-1][1] == position:
                found[-1] = (found[-1][0], position + 1)
            else:
                found.append((position, position + 1))
        return found

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        shown = nowhere(query, key)
        for low, high in self.runs():
            shown = shown | ((query >= low) & (query < high)) | ((key >= low) & (key < high))
        return shown

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        ends = np.array([*self.runs(), (0, 0)], dtype=np.int64).T
        positions = np.array(self.positions, dtype=np.int64)

        def runs(at: Ints) -> tuple[Ints, Ints]:
            sees_all = np.isin(at, positions)
            return np.where(sees_all, keys[0], ends[0]), np.where(sees_all, keys[1], ends[1])

        return Lists.one(tabulate(rows, keys, runs, width=ends.shape[1]))

    def notation(self) -> str:
        return f"global_tokens({', '.join(map(str, self.positions))})"


def everything() -> Pattern:
    """All pairs."""
    return Everything()


def causal() -> Pattern:
    """j ≤ i in absolute positions: a query sees the keys up to its own."""
    return CAUSAL


def window(size: int | None = None, *, before: int | None = None, after: int | None = None) -> Pattern:
    """i − size < j ≤ i, or i − before ≤ j ≤ i + after (Beltagy et al. 2020, Longformer).

    size: how many keys end at the query, itself included, at least 1. before, after: how many on either side, without
    itself, at least 0; a missing one is 0. InputError for both ways at once, for neither, and for smaller numbers.
    """
    if (size is None) == (before is None and after is None):
        came = "nothing" if size is None else "both"
        raise InputError(f"window takes a size, or before= and after=; it got {came}: write window(256), say.")
    if size is not None:
        return Window(whole(size, 1, "window's size") - 1, 0)
    sides = (("before", before), ("after", after))
    return Window(*(0 if side is None else whole(side, 0, f"window's {name}") for name, side in sides))


def strided(stride: int) -> Pattern:
    """(i − j) mod stride = 0 (Child et al. 2019, Sparse Transformers): stride is at least 1."""
    return Strided(whole(stride, 1, "strided's stride"))


def global_tokens(*positions: int | Iterable[int] | Tensor) -> Pattern:
    """i ∈ positions or j ∈ positions: every query sees those keys, and those queries see every key.

    positions: whole numbers of at least 0, one by one, in a list, or in a tensor (Beltagy et al. 2020, Longformer).
    """
    return _tokens(positions)


@later(Pattern)
def _tokens(positions: tuple[int | Iterable[int] | Tensor, ...]) -> Pattern:
    found = (at for given in positions for at in wholes(given, 0, "a position of global_tokens"))
    return Global(tuple(sorted(set(found))))
