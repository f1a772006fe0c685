"""Patterns that read a tensor by position, and patterns that differ by head or batch entry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.later import later
from regard.terms.pattern.algebra import Pattern, as_pattern
from regard.terms.pattern.build import table, tabulate
from regard.terms.pattern.checks import covered, dims, lengths, whole
from regard.terms.pattern.lists import Lists
from regard.terms.pattern.ranges import Bools, Ints
from regard.terms.pattern.reading import lookup, nowhere, within
from regard.terms.tree import number, term

__all__ = ["Mask", "Padding", "PaddingFrom", "Per", "Prefix", "mask", "padding", "per_batch", "per_head", "prefix"]


@term
class Mask(Pattern):
    """shown[b, h, i, j]."""

    shown: Tensor
    roles: ClassVar = {"shown": ("batch", "head", "query", "key")}

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        if not self.shown.numel():
            return nowhere(query, key)
        queries, keys = (1, 1, *self.shown.shape)[-2:]
        return lookup(self.shown, batch, head, query, key) & within(query, queries) & within(key, keys)

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        shown = _once(dims(self.shown, 4, "mask", batch, heads))
        if shown.shape[2] != 1:
            covered("mask's query axis", shown.shape[2], rows)
        if shown.shape[3] != 1:
            covered("mask's key axis", shown.shape[3], rows[:0], keys)
        forms = tuple(table(page, rows, keys) for entry in shown for page in entry)
        return Lists(forms, np.arange(len(forms), dtype=np.int64).reshape(shown.shape[:2]))

    def notation(self) -> str:
        return f"mask({number(self.shown)})"


@term
class Padding(Pattern):
    """real[b, j]."""

    real: Tensor
    roles: ClassVar = {"real": ("batch", "key")}

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        if not self.real.numel():
            return nowhere(query, key)
        return lookup(self.real, batch, key) & (key >= 0) & (key < self.real.shape[-1])

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        real = dims(self.real, 2, "padding", batch)
        covered("padding", real.shape[1], rows[:0], keys)
        return Lists.each(real[:, None], lambda entry: table(entry[None], rows, keys))

    def notation(self) -> str:
        return f"padding({number(self.real)})"


@term
class Prefix(Pattern):
    """j < length[b]."""

    length: int | Tensor
    roles: ClassVar = {"length": ("batch",)}
    word: ClassVar[str] = "prefix"

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        return key < (lookup(self.length, batch) if isinstance(self.length, Tensor) else self.length)

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        length = dims(torch.as_tensor(self.length), 1, self.word, batch)
        return Lists.each(length[:, None], lambda stop: tabulate(rows, keys, lambda at: (keys[0], stop)))

    def notation(self) -> str:
        return f"{self.word}({number(self.length) if isinstance(self.length, Tensor) else self.length})"


@term
class PaddingFrom(Prefix):
    """j < length[b]: the keys from length on are padding."""

    word: ClassVar[str] = "padding"


@term
class Per(Pattern):
    """Head h, or batch entry b, uses a pattern of its own."""

    axis: Literal["head", "batch"]
    patterns: tuple[Pattern, ...]

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        which = torch.as_tensor(head if self.axis == "head" else batch, device=query.device)
        shown = self.patterns[0].allows(query, key, batch, head)
        for place, pattern in enumerate(self.patterns[1:], 1):
            shown = torch.where(which == place, pattern.allows(query, key, batch, head), shown)
        return shown

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        count, name = (heads, "heads") if self.axis == "head" else (batch, "batch entries")
        if len(self.patterns) != count:
            given = len(self.patterns)
            raise InputError(f"per_{self.axis} has {given} patterns, but there are {count} {name}: give one for each.")
        distinct = list(dict.fromkeys(self.patterns))
        which = np.array([distinct.index(pattern) for pattern in self.patterns], dtype=np.int64)
        options = [pattern.lower(rows, keys, batch, heads) for pattern in distinct]
        return Lists.chosen(options, which[None] if self.axis == "head" else which[:, None])

    def notation(self) -> str:
        return f"per_{self.axis}({', '.join(map(repr, self.patterns))})"


def mask(shown: Tensor) -> Pattern:
    """shown[…, h, i, j], indexed at absolute positions; True means that the query may attend to the key.

    shown: bool, broadcasts to [*batch, heads, queries, keys]; axes of size 1 stand for every position. InputError for
    any other dtype.
    """
    return Mask(_booleans(shown, "mask"))


@later(Pattern)
def padding(keys: Tensor | Sequence[int] | int) -> Pattern:
    """real[…, j], or j < length[…]: which keys are real and not padding.

    keys: bool `[*batch, keys]`, True for a real key; or whole numbers `[*batch]` or an int, how many are real.
    """
    if isinstance(keys, Tensor) and (keys.dtype == torch.bool or keys.is_floating_point()):
        if _booleans(keys, "padding").ndim == 0:
            raise InputError("padding must have shape [*batch, keys]; it got a single bool: give one for every key.")
        return Padding(keys)
    if isinstance(keys, Tensor) and keys.ndim > 1 and keys.numel() and int(keys.min()) >= 0 and int(keys.max()) <= 1:
        raise InputError(
            "padding takes whole numbers as lengths; these are only 0 and 1, a mask: convert it with .bool()."
        )
    return PaddingFrom(_length(keys, "padding"))


@later(Pattern)
def prefix(length: Tensor | Sequence[int] | int) -> Pattern:
    """j < length[…]: every query sees the first keys (Raffel et al. 2020).

    length: an int, or whole numbers `[*batch]`, at least 0. A prefix language model is `causal() | prefix(n)`.
    """
    return Prefix(_length(length, "prefix"))


def per_head(*patterns: Pattern | Iterable[Pattern]) -> Pattern:
    """Head h uses patterns[h]: as many patterns as there are query heads."""
    return Per("head", _several(patterns, "per_head"))


def per_batch(*patterns: Pattern | Iterable[Pattern]) -> Pattern:
    """Batch entry b uses patterns[b]: as many patterns as there are batch entries."""
    return Per("batch", _several(patterns, "per_batch"))


def _booleans(tensor: Any, what: str) -> Tensor:
    if not isinstance(tensor, Tensor):
        came = f"{type(tensor).__name__}: convert it with torch.as_tensor"
    elif tensor.dtype != torch.bool:
        came = f"a tensor of {tensor.dtype}: write x != 0 for 0/1 marks, x == 0 for an additive mask of 0 and -inf"
    else:
        return tensor
    raise InputError(f"{what} must be a bool tensor, where True means may attend; it got {came}.")


def _length(value: Any, what: str) -> int | Tensor:
    return whole(value, 0, what) if isinstance(value, int) else lengths(value, what)


def _once(array: np.ndarray[Any, Any]) -> Bools:
    """An expanded axis, all of whose entries are the same memory, as an axis of size 1."""
    same = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides[:2])
    return array[same]


def _several(given: tuple[Any, ...], what: str) -> tuple[Pattern, ...]:
    one = given[0] if len(given) == 1 else given
    patterns = (one,) if isinstance(one, (Pattern, Tensor)) or not isinstance(one, Iterable) else tuple(one)
    if not patterns:
        raise InputError(f"{what} needs at least one pattern; it got none: write {what}(causal(), window(8)), say.")
    return tuple(as_pattern(pattern, what) for pattern in patterns)
