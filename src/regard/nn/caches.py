"""What self-attention keeps from step to step, so that a new token costs one row; and what cross-attention keeps.

Every cache knows where its keys stand, and says so: step by step equals the whole, for any rule that looks at no key
that is yet to come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from regard.errors import InputError
from regard.nn.checks import check_sizes
from regard.nn.reach import span
from regard.rule import Rule

__all__ = ["Cache", "Dynamic", "Kept", "Memory", "Rolling", "Static"]

Project = Callable[[int], tuple[Tensor, Tensor]]
"""The position of the first new key → new keys and values, `[..., kv_heads, positions, ·]`."""


class Kept(NamedTuple):
    """The keys and values to attend to now, and where the first key and the first query stand."""

    key: Tensor
    value: Tensor
    key_start: int | Tensor
    query_start: int | Tensor | None


class Cache:
    """Keys and values of one layer; `length` counts the positions it has seen."""

    def __init__(self) -> None:
        self.length = 0
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    def extend(self, project: Project, rule: Rule, queries: int, query_start: int | Tensor | None = None) -> Kept:
        """Take in as many new positions as there are queries, and give what they attend to.

        Args:
            project: makes the new keys and values.
            rule: what will look at them; one that needs keys which are not here is an error.
            queries: how many positions are new.
            query_start: None, for the cache knows.
        """
        if query_start is not None:
            raise InputError(f"{self!r} knows where the queries stand; leave query_start out")
        start = self.length
        self._check_span(rule, start, queries)
        key, value = project(start)
        self._check_shapes(key, value)
        kept = self._add(key, value)
        self.length = start + queries
        return kept

    def reorder(self, entries: Tensor) -> None:
        """Keep these batch entries, in this order, as beam search asks for it; the batch is the first axis."""
        if self.key is not None and self.value is not None:
            self.key, self.value = self.key.index_select(0, entries), self.value.index_select(0, entries)

    def _add(self, key: Tensor, value: Tensor) -> Kept:
        """Old and new keys and values."""
        raise TypeError(f"{type(self).__name__} does not say what it keeps: define _add(key, value)")

    def _joined(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """What is held, cut to what is used of it, and what is new."""
        if self.key is None or self.value is None:
            return key, value
        used = slice(min(self.length, self.key.shape[-2]))
        return torch.cat((self.key[..., used, :], key), -2), torch.cat((self.value[..., used, :], value), -2)

    def _check_span(self, rule: Rule, start: int, queries: int) -> None:
        if not queries:
            return
        last = start + queries - 1
        if span(rule.pattern, last)[1] > last:
            raise InputError(
                f"{self!r} holds keys up to position {last}, but {rule!r} looks at later ones; "
                "give the rule causal(), or pass its whole prefix in the first step"
            )

    def _check_shapes(self, key: Tensor, value: Tensor) -> None:
        for name, held, new in (("keys", self.key, key), ("values", self.value, value)):
            if held is not None and _around(held) != _around(new):
                raise InputError(
                    f"{self!r} holds {name} {_said(held)}, got {_said(new)}; "
                    "a cache serves one layer and one batch: make a new one"
                )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(length={self.length})"


class Dynamic(Cache):
    """Keeps every key; grows with the text, and carries gradients.

    Without gradients its room doubles when it is full, so that a step does not copy what all steps before have left.
    """

    def _add(self, key: Tensor, value: Tensor) -> Kept:
        last = self.length + key.shape[-2]
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            self.key, self.value = self._joined(key, value)
        else:
            self.key, self.value = (self._grown(*pair, last) for pair in ((self.key, key), (self.value, value)))
        return Kept(self.key[..., :last, :], self.value[..., :last, :], 0, self.length)

    def _grown(self, held: Tensor | None, new: Tensor, last: int) -> Tensor:
        """Room for all positions up to the last, the new ones written."""
        if held is None:
            return new
        if held.shape[-2] < last:
            room = held.new_empty((*held.shape[:-2], 2 * last, held.shape[-1]))
            room[..., : self.length, :] = held[..., : self.length, :]
            held = room
        held[..., self.length : last, :] = new
        return held


class Rolling(Cache):
    """Keeps the last `size` keys: O(size) memory at any length, for rules within `window(size)`.

    Args:
        size: how many keys; at least the rule's window.
    """

    def __init__(self, size: int) -> None:
        check_sizes("Rolling", size=size)
        super().__init__()
        self.size = size

    def _add(self, key: Tensor, value: Tensor) -> Kept:
        start = self.length - (0 if self.key is None else self.key.shape[-2])
        key, value = self._joined(key, value)
        held = min(self.size - 1, key.shape[-2])
        # A copy, so that a long first step is not kept alive by its last keys.
        self.key, self.value = (t[..., t.shape[-2] - held :, :].clone() for t in (key, value))
        return Kept(key, value, start, self.length)

    def _check_span(self, rule: Rule, start: int, queries: int) -> None:
        super()._check_span(rule, start, queries)
        # Said in the first step, not when the first key is missing.
        query = start + queries + self.size
        if span(rule.pattern, query)[0] <= query - self.size:
            raise InputError(
                f"{self!r} keeps the last {self.size} keys, but {rule!r} looks further back; "
                "make the cache as long as the rule's window, or take Dynamic()"
            )

    def __repr__(self) -> str:
        return f"Rolling({self.size}, length={self.length})"


class Static(Cache):
    """Room for `size` positions, made once; new keys are written in place, so no gradient flows through it.

    Args:
        size: the most positions there will be.
    """

    def __init__(self, size: int) -> None:
        check_sizes("Static", size=size)
        super().__init__()
        self.size = size

    def _add(self, key: Tensor, value: Tensor) -> Kept:
        last = self.length + key.shape[-2]
        if last > self.size:
            raise InputError(
                f"{self!r} has room for {self.size} positions, but there would be {last}; "
                "make it as long as the longest text, or take Dynamic()"
            )
        if torch.is_grad_enabled() and (key.requires_grad or value.requires_grad):
            raise InputError("Static writes in place and carries no gradient; use torch.no_grad(), or Dynamic()")
        if self.key is None or self.value is None:
            self.key, self.value = (t.new_zeros((*t.shape[:-2], self.size, t.shape[-1])) for t in (key, value))
        self.key[..., self.length : last, :] = key
        self.value[..., self.length : last, :] = value
        return Kept(self.key[..., :last, :], self.value[..., :last, :], 0, self.length)

    def __repr__(self) -> str:
        return f"Static({self.size}, length={self.length})"


class Memory(Cache):
    """Keys and values of cross-attention: projected in the first step, only read in all others."""

    def extend(self, project: Project, rule: Rule, queries: int, query_start: int | Tensor | None = None) -> Kept:
        if self.key is None or self.value is None:
            self.key, self.value = project(0)
            self.length = self.key.shape[-2]
        return Kept(self.key, self.value, 0, query_start)


def _around(tensor: Tensor) -> tuple[object, ...]:
    """All that the positions share: leading dimensions, heads, dim and dtype."""
    return (*tensor.shape[:-2], tensor.shape[-1], tensor.dtype)


def _said(tensor: Tensor) -> str:
    lead = "".join(f"{size}, " for size in tensor.shape[:-2])
    return f"[{lead}positions, {tensor.shape[-1]}] of {tensor.dtype}"
