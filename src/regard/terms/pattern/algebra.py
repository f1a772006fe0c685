"""What a pattern is, and how patterns combine: `a & b`, `a | b`, `~a`."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NoReturn

from torch import Tensor

from regard.errors import InputError
from regard.terms.pattern.lists import Lists
from regard.terms.pattern.ranges import Ints
from regard.terms.pattern.sets import complement, intersect, unite
from regard.terms.tree import Term, term

__all__ = ["Both", "Either", "Not", "Pattern", "as_pattern"]


class Pattern(Term):
    """A set of pairs (query position i, key position j), which may differ by batch entry and head.

    Positions are absolute. Patterns combine with `&` (both), `|` (either) and `~` (not, within existing keys).
    """

    binding: ClassVar[int] = 3
    """How tightly the printed form holds together: | is 1, & is 2, all else 3."""

    @abstractmethod
    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        """Whether pair (i, j) is in the set, elementwise, without looking at the numbers in Python.

        query, key, batch and head are integers that broadcast together, positions being absolute; the result is bool
        and broadcasts to their shape. Positions outside a term's own tensors are not in the set.
        """

    @abstractmethod
    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        """The key ranges of every query row, by formula.

        rows: absolute query positions, int64 [n], ascending. keys: absolute start and stop of the keys that exist.
        Tensors have at most one batch axis, of size 1 or `batch`. InputError where a size does not fit.
        """

    @abstractmethod
    def notation(self) -> str:
        """The pattern as it is written in a rule."""

    def __repr__(self) -> str:
        return self.notation()

    def __and__(self, other: Pattern) -> Pattern:
        return Both(self, as_pattern(other, "&"))

    def __or__(self, other: Pattern) -> Pattern:
        return Either(self, as_pattern(other, "|"))

    def __rand__(self, other: object) -> Pattern:
        return Both(as_pattern(other, "&"), self)

    def __ror__(self, other: object) -> Pattern:
        return Either(as_pattern(other, "|"), self)

    def __invert__(self) -> Pattern:
        return Not(self)

    def __bool__(self) -> NoReturn:
        # `causal() and window(3)` would be window(3) without a word.
        raise InputError("A pattern is neither true nor false: combine patterns with &, | and ~, not and, or, not.")


def as_pattern(value: object, where: str) -> Pattern:
    """The value itself if it is a pattern; InputError otherwise."""
    if isinstance(value, Pattern):
        return value
    came = "a Tensor: wrap it in regard.mask(...)" if isinstance(value, Tensor) else f"{value!r}"
    raise InputError(f"{where} takes patterns, such as regard.causal() or regard.window(256); it got {came}.")


def _held(pattern: Pattern, binding: int) -> str:
    return repr(pattern) if pattern.binding >= binding else f"({pattern!r})"


@term
class Both(Pattern):
    """The pairs in left and in right."""

    left: Pattern
    right: Pattern
    binding: ClassVar[int] = 2

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        return self.left.allows(query, key, batch, head) & self.right.allows(query, key, batch, head)

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        return self.left.lower(rows, keys, batch, heads).combine(self.right.lower(rows, keys, batch, heads), intersect)

    def notation(self) -> str:
        return f"{_held(self.left, 2)} & {_held(self.right, 2)}"


@term
class Either(Pattern):
    """The pairs in left or in right."""

    left: Pattern
    right: Pattern
    binding: ClassVar[int] = 1

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        return self.left.allows(query, key, batch, head) | self.right.allows(query, key, batch, head)

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        return self.left.lower(rows, keys, batch, heads).combine(self.right.lower(rows, keys, batch, heads), unite)

    def notation(self) -> str:
        return f"{_held(self.left, 1)} | {_held(self.right, 1)}"


@term
class Not(Pattern):
    """The pairs of existing keys that are not in the pattern."""

    pattern: Pattern

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        return ~self.pattern.allows(query, key, batch, head)

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        return self.pattern.lower(rows, keys, batch, heads).map(complement)

    def notation(self) -> str:
        return f"~{_held(self.pattern, 3)}"
