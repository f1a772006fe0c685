"""Patterns of sequences packed one after the other: documents, and queries and keys packed apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.pattern.algebra import Pattern, as_pattern
from regard.terms.pattern.build import join, tabulate
from regard.terms.pattern.checks import covered, dims
from regard.terms.pattern.checks import lengths as checked
from regard.terms.pattern.line import causal
from regard.terms.pattern.lists import Lists, shifted
from regard.terms.pattern.ranges import Ints
from regard.terms.pattern.reading import lookup, nowhere, rank
from regard.terms.tree import term

__all__ = ["Documents", "Packed", "documents", "packed"]


@term
class Documents(Pattern):
    """i and j lie in the same document."""

    ends: Tensor
    """Where each document stops: int64 [batch, documents]."""
    roles: ClassVar = {"ends": ("batch", None)}

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        document = rank(self.ends, batch, query)
        same = document == rank(self.ends, batch, key)
        return same & (document < self.ends.shape[-1]) & (query >= 0) & (key >= 0)

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        ends = dims(self.ends, 2, "documents", batch)
        advice = "lengths must sum to the sequence; for unequal queries and keys write packed(...)"
        covered("documents", _shortest(ends), rows, keys, advice)

        def bounds(stops: npt.NDArray[Any], at: Ints) -> tuple[Ints, Ints]:
            document = np.searchsorted(stops, at, side="right")
            return np.concatenate(([0], stops))[document], stops[document]

        return Lists.each(ends[:, None], lambda stops: tabulate(rows, keys, lambda at: bounds(stops, at)))

    def notation(self) -> str:
        return f"documents({_count(self.ends)})"


@term
class Packed(Pattern):
    """i and j lie in document d, and `inside` holds at their positions in it, aligned at its end."""

    query_ends: Tensor
    key_ends: Tensor
    inside: Pattern
    roles: ClassVar = {"query_ends": ("batch", None), "key_ends": ("batch", None)}

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        if not self.query_ends.numel():
            return nowhere(query, key)
        document, other = rank(self.query_ends, batch, query), rank(self.key_ends, batch, key)
        same = (document == other) & (document < self.query_ends.shape[-1]) & (query >= 0) & (key >= 0)
        # Aligned at the end: the last query and the last key of a document share a position.
        length = lookup(self.key_ends, batch, document) - _start(self.key_ends, batch, document)
        local_query = query - lookup(self.query_ends, batch, document) + length
        local_key = key - _start(self.key_ends, batch, other)
        return same & self.inside.allows(local_query, local_key, batch, head)

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        query_ends = dims(self.query_ends, 2, "packed's query lengths", batch)
        key_ends = dims(self.key_ends, 2, "packed's key lengths", batch)
        advice = "the lengths must sum to the sequence, and its queries start at 0 (query_start=0)"
        covered("packed's query lengths", _shortest(query_ends), rows, advice=advice)
        covered("packed's key lengths", _shortest(key_ends), rows[:0], keys, advice)
        distinct, which = np.unique(np.stack(np.broadcast_arrays(query_ends, key_ends), 1), axis=0, return_inverse=True)
        options = [self._one(pair, rows, keys, batch, heads) for pair in distinct]
        return Lists.chosen(options, which.reshape(-1, 1).astype(np.int64))

    def _one(self, ends: npt.NDArray[Any], rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        """The lists for the query and key ends of one batch entry, one document under the other."""
        blocks = [Lists.one(join([], keys, small=False))]  # no rows: there may be no document to add
        starts = np.concatenate(([0], ends[1]))
        at = np.searchsorted(rows, np.concatenate(([0], ends[0])))
        for document in np.flatnonzero(np.diff(at)):
            start, length = int(starts[document]), int(ends[1, document] - starts[document])
            local = rows[at[document] : at[document + 1]] - ends[0, document] + length
            lists = self.inside.lower(local, (0, length), batch, heads)
            blocks.append(lists.map(partial(shifted, by=start, keys=keys)))
        return Lists.stacked(blocks, keys)

    def notation(self) -> str:
        return f"packed({_count(self.query_ends)}, {self.inside!r})"


def documents(lengths: Sequence[int] | Tensor) -> Pattern:
    """document(i) = document(j): sequences of the same lengths in queries and keys, one after the other.

    lengths: whole numbers `[documents]` or `[*batch, documents]`, at least 0; they sum to the sequence.
    """
    return Documents(_ends(lengths, "documents' lengths"))


def packed(
    query_lengths: Sequence[int] | Tensor, key_lengths: Sequence[int] | Tensor, inside: Pattern | None = None
) -> Pattern:
    """document(i) = document(j) and inside(i′, j′), where queries and keys are packed apart, with their own lengths.

    Aligned at the end of a document: i′ = i − query start + key length − query length, j′ = j − key start.
    Lengths: whole numbers `[documents]` or `[*batch, documents]`. inside: a pattern of i′ and j′; None is causal().
    """
    ends = _ends(query_lengths, "packed's query lengths"), _ends(key_lengths, "packed's key lengths")
    counts = [side.shape[-1] for side in ends]
    if counts[0] != counts[1]:
        raise InputError(f"packed needs as many query as key documents; it got {counts[0]} and {counts[1]}.")
    return Packed(*ends, causal() if inside is None else as_pattern(inside, "packed's inside"))


def _ends(values: Any, what: str) -> Tensor:
    found = checked(values, what)
    if found.ndim == 0:
        raise InputError(f"{what} must have an axis of documents; it got one number: write [{int(found)}].")
    return found.cumsum(-1)


def _start(ends: Tensor, batch: Tensor | int, document: Tensor) -> Tensor:
    before = lookup(ends, batch, document - 1)
    return torch.where(document > 0, before, torch.zeros_like(before))


def _shortest(ends: npt.NDArray[Any]) -> int:
    return int(ends[:, -1].min()) if ends.size else 0


def _count(ends: Tensor) -> str:
    return f"{ends.shape[-1]} document{'s' * (ends.shape[-1] != 1)}"
