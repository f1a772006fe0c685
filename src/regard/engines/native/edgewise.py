"""Scores that are no products of vectors, along the edges of a graph: each edge is scored by plain operations.

    bias_ij = score(q_i, k_j) + edges[h, e(i, j)]

The kernels take these as numbers of the edges, and autograd carries their gradients on: O(edges · heads) memory, and
one block of edges at a time in O(width) more.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from regard.engines.native.moves import Moves, moves_but_edges
from regard.equation import Listed
from regard.problem import Problem
from regard.terms.bias import Bias, Edges, Sum
from regard.terms.pattern import Pattern
from regard.terms.pattern.algebra import Both
from regard.terms.pattern.build import as_ranges
from regard.terms.pattern.graph import Edges as Graph
from regard.terms.pattern.ranges import Ints, pieces
from regard.terms.score import Score

__all__ = ["along_edges", "listable"]

BLOCK = 1 << 20
"""How many numbers a block of edges may hold for one head of one batch entry, of which no block may depend: 4 MiB."""


def listable(problem: Problem) -> bool:
    """Whether every visible pair is an edge of one graph, the same for all batch entries and heads."""
    extent, lists = problem.extent, problem.ranges
    alike = len(extent.query_start) == len(extent.key_start) == 1 and min(extent.query_start) >= 0
    return alike and lists is not None and len(lists.forms) == 1 and _within_graph(problem.said.pattern)


def _within_graph(pattern: Pattern | None) -> bool:
    if isinstance(pattern, Both):
        return _within_graph(pattern.left) or _within_graph(pattern.right)
    return isinstance(pattern, Graph)


def along_edges(problem: Problem) -> Moves:
    """The bias with the score of every visible pair in it."""
    count, sources = _pairs(problem)
    first_query, first_key = problem.extent.query_start[0], problem.extent.key_start[0]
    offsets = np.zeros(first_query + problem.queries + 1, dtype=np.int64)
    np.cumsum(count, out=offsets[first_query + 1 :])
    row, key = torch.from_numpy(np.repeat(np.arange(problem.queries), count)), torch.from_numpy(sources)
    values = _scored(problem, row, key)
    for part in _edges(problem.rule.bias):
        wide = part.map(lambda leaf, roles: leaf.to(problem.accumulate) if leaf.is_floating_point() else leaf)
        values = values + wide.pairs((row + first_query)[None, None, :, None], (key + first_key)[None, None, :, None])
    return replace(moves_but_edges(problem), edges=values.squeeze(-1), offsets=offsets, sources=sources + first_key)


def _pairs(problem: Problem) -> tuple[Ints, Ints]:
    """How many keys every row sees, and the keys themselves, one row after the other; local."""
    assert problem.ranges is not None
    form = as_ranges(problem.ranges.forms[0])
    width = form.high - form.low
    ends = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(width)))
    return np.diff(ends[form.offsets]), pieces(form.low, width)


def _edges(bias: Bias | None) -> list[Edges]:
    parts = bias.parts if isinstance(bias, Sum) else (bias,)
    return [part for part in parts if isinstance(part, Edges)]


def _scored(problem: Problem, row: Tensor, key: Tensor) -> Tensor:
    """The score of every listed pair, `[batch, heads, pairs, 1]`, each batch entry by itself.

    A product of matrices may round otherwise beside others.
    """
    wide = problem.accumulate
    score = problem.rule.score.map(lambda leaf, roles: leaf.to(wide))
    queries, keys = (rows.to(wide).split(1) for rows in (problem.query, problem.key))
    found = [
        _scored_alone(score, _side_by_side(own), _side_by_side(theirs), row, key)
        for own, theirs in zip(queries, keys, strict=True)
    ]
    return torch.cat(found) if len(found) > 1 else found[0]


def _side_by_side(rows: Tensor) -> Tensor:
    """The heads of a row one behind the other, in memory of their own: its place may change how numbers are rounded."""
    return rows.transpose(1, 2).clone(memory_format=torch.contiguous_format).transpose(1, 2)


def _scored_alone(score: Score, query: Tensor, keys: Tensor, row: Tensor, key: Tensor) -> Tensor:
    """Of one batch entry; a block's own pairs are made again for gradients."""
    step = max(1, BLOCK // score.width)

    def block(first: int) -> Tensor:
        return score.pairs(query, keys, Listed(row[first : first + step], key[first : first + step]))

    if row.numel() <= step:
        return block(0)
    blocks = range(0, row.numel(), step)
    kept = [checkpoint(block, first, use_reentrant=False, preserve_rng_state=False) for first in blocks]
    return torch.cat(kept, 2)
