"""The pattern of a graph: a query sees the keys that have an edge to it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.later import later
from regard.terms.pattern.algebra import Pattern
from regard.terms.pattern.build import compact, join, triples
from regard.terms.pattern.checks import integers, numbers
from regard.terms.pattern.lists import Lists
from regard.terms.pattern.ranges import Form, Ints, chunks, pieces
from regard.terms.pattern.reading import lookup, nowhere, rank
from regard.terms.tree import term

__all__ = ["Edges", "edges"]


@term
class Edges(Pattern):
    """(i, j) is an edge."""

    codes: Tensor
    """i · span + j of every edge, ascending, each once: int64 [edges]."""
    span: int
    """One more than the largest node."""

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        if not self.codes.numel():
            return nowhere(query, key)
        # No edge leads to a node from `span` on; its product with a far position would not fit into 64 bits.
        code = query.long().clamp(max=self.span) * self.span + key
        found = lookup(self.codes, rank(self.codes, 0, code) - 1) == code
        return found & (key >= 0) & (key < self.span)

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        codes = numbers(self.codes)
        known = rows.clip(max=self.span)
        begin = np.searchsorted(codes, known * self.span)
        count = np.searchsorted(codes, (known + 1) * self.span) - begin
        width = int(count.sum()) // max(1, rows.size) + 1
        parts: list[Form] = []
        for first, last in chunks(rows.size, width):
            row = np.repeat(np.arange(last - first), count[first:last])
            key = codes[pieces(begin[first:last], count[first:last])] % self.span
            parts.append(compact(triples(row, key, key + 1, last - first, keys)))
        return Lists.one(join(parts, keys, small=True))

    def notation(self) -> str:
        return f"edges({self.codes.numel()} edge{'s' * (self.codes.numel() != 1)})"


@later(Pattern)
def edges(index: Tensor) -> Pattern:
    """(j → i) ∈ graph: query i sees key j if there is an edge from j to i (Veličković et al. 2018).

    index: whole numbers [2, edges] as in PyTorch Geometric, the source (key) first and the target (query) second;
    duplicates are one pair. InputError for negative nodes, for nodes of 2³¹ and more, and for other shapes.
    """
    if not isinstance(index, Tensor) or index.ndim != 2 or index.shape[0] != 2:
        came = tuple(index.shape) if isinstance(index, Tensor) else type(index).__name__
        raise InputError(f"edges takes a tensor of shape [2, edges], sources then targets; it got {came}.")
    source, target = integers(index, "edges' nodes")
    span = int(index.max()) + 1 if index.numel() else 1
    if index.numel() and (int(index.min()) < 0 or span > 2**31):
        raise InputError(f"edges' nodes must be from 0 to 2³¹ − 1; it got {int(index.min())}…{span - 1}.")
    return Edges(torch.unique(target * span + source), span)
