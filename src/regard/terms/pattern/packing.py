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
from regard.terms.later import later
from regard.terms.pattern.algebra import Pattern, as_pattern
from regard.terms.pattern.build import join, tabulate
from regard.terms.pattern.checks import covered, dims
from regard.terms.pattern.checks import lengths as checked
from regard.terms.pattern.line import causal
from regard.terms.pattern.lists import Lists, shifted
from regard.terms.pattern.ranges import Ints
from regard.terms.pattern.reading import lookup
from regard.terms.tree import Term, term

__all__ = ["Documents", "Packed", "Packing", "documents", "packed"]


@term
class Packing(Term):
    """Sequences of given lengths, one after the other."""

    ends: Tensor
    """Where each document stops: int64 [batch, documents]."""
    documents: Tensor
    """The document of each position, or their number where a batch entry has stopped: int64 [batch, positions]."""
    roles: ClassVar = {"ends": ("batch", None), "documents": ("batch", None)}

    def document(self, position: Tensor, batch: Tensor | int) -> tuple[Tensor, Tensor]:
        """The document of each position, and whether there is one."""
        if not self.documents.numel():
            return torch.zeros_like(position), torch.zeros_like(position, dtype=torch.bool)
        found = lookup(self.documents, batch, position)
        return found, (found < self.ends.shape[-1]) & (position >= 0) & (position < self.documents.shape[-1])

    def stop(self, document: Tensor, batch: Tensor | int) -> Tensor:
        """Where a document stops; 0 for the one before the first."""
        return lookup(self.ends, batch, document) * (document >= 0)

    def __repr__(self) -> str:
        return f"{self.ends.shape[-1]} document{'s' * (self.ends.shape[-1] != 1)}"


@term
class Documents(Pattern):
    """i and j lie in the same document."""

    packing: Packing

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        own, own_exists = self.packing.document(query, batch)
        other, other_exists = self.packing.document(key, batch)
        return (own == other) & own_exists & other_exists

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        ends = dims(self.packing.ends, 2, "documents", batch)
        advice = "lengths must sum to the sequence; for unequal queries and keys write packed(...)"
        covered("documents", _shortest(ends), rows, keys, advice)

        def bounds(stops: npt.NDArray[Any], at: Ints) -> tuple[Ints, Ints]:
            document = np.searchsorted(stops, at, side="right")
            return np.concatenate(([0], stops))[document], stops[document]

        return Lists.each(ends[:, None], lambda stops: tabulate(rows, keys, lambda at: bounds(stops, at)))

    def notation(self) -> str:
        return f"documents({self.packing!r})"


@term
class Packed(Pattern):
    """i and j lie in document d, and `inside` holds at their positions in it, aligned at its end."""

    queries: Packing
    keys: Packing
    inside: Pattern

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        (own, own_exists), (other, other_exists) = self.queries.document(query, batch), self.keys.document(key, batch)
        if not self.queries.ends.numel():
            return own_exists & other_exists
        # Aligned at the end: the last query and the last key of a document share a position.
        start = self.keys.stop(own - 1, batch)
        local_query = query - self.queries.stop(own, batch) + self.keys.stop(own, batch) - start
        shown = self.inside.allows(local_query, key - start, batch, head)
        return shown & (own == other) & own_exists & other_exists

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        query_ends = dims(self.queries.ends, 2, "packed's query lengths", batch)
        key_ends = dims(self.keys.ends, 2, "packed's key lengths", batch)
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
        return f"packed({self.queries!r}, {self.inside!r})"


@later(Pattern)
def documents(lengths: Sequence[int] | Tensor) -> Pattern:
    """document(i) = document(j): sequences of the same lengths in queries and keys, one after the other.

    lengths: whole numbers `[documents]` or `[*batch, documents]`, at least 0; they sum to the sequence.
    """
    return Documents(_packing(lengths, "documents' lengths"))


@later(Pattern)
def packed(
    query_lengths: Sequence[int] | Tensor, key_lengths: Sequence[int] | Tensor, inside: Pattern | None = None
) -> Pattern:
    """document(i) = document(j) and inside(i′, j′), where queries and keys are packed apart, with their own lengths.

    Aligned at the end of a document: i′ = i − query start + key length − query length, j′ = j − key start.
    Lengths: whole numbers `[documents]` or `[*batch, documents]`. inside: a pattern of i′ and j′; None is causal().
    """
    sides = _packing(query_lengths, "packed's query lengths"), _packing(key_lengths, "packed's key lengths")
    counts = [side.ends.shape[-1] for side in sides]
    if counts[0] != counts[1]:
        raise InputError(f"packed needs as many query as key documents; it got {counts[0]} and {counts[1]}.")
    return Packed(*sides, causal() if inside is None else as_pattern(inside, "packed's inside"))


def _packing(values: Any, what: str) -> Packing:
    found = checked(values, what)
    if found.ndim == 0:
        raise InputError(f"{what} must have an axis of documents; it got one number: write [{int(found)}].")
    ends = found.cumsum(-1)
    positions = torch.arange(int(ends[..., -1].max()) if ends.numel() else 0, device=ends.device)
    places = positions.expand(*ends.shape[:-1], positions.numel()).contiguous()
    return Packing(ends, torch.searchsorted(ends, places, right=True))


def _shortest(ends: npt.NDArray[Any]) -> int:
    return int(ends[:, -1].min()) if ends.size else 0
