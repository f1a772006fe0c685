"""A bias as the kernels take it: a table by distance, a number per key, per pair, per edge.

    bias_ij = table[h, j − i] + keys[b, h, j] + pairs[b, h, i, j] + edges[b, h, e(i, j)]

All are made by plain operations of PyTorch, so that autograd carries the kernels' gradients on to what a user gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from regard.problem import Problem
from regard.terms.bias import Alibi, Bias, Bucketed, Edges, Given, Keys, Relative, Sum
from regard.terms.normalize import Sigmoid

__all__ = ["Moves", "moves_but_edges", "moves_of", "refusal"]

ROOM = 64
"""Entries before and after a table that a tile of the kernels may read."""
DISTANT = (Alibi, Bucketed, Relative)
FARTHEST = 1 << 24


@dataclass(frozen=True)
class Moves:
    """The four parts, each None where there is none.

    `table [heads, distances]` with distance −zero first, `keys [batch, heads, keys]`, `pairs [batch|1, heads|1,
    queries|1, keys|1]`, `edges [batch, heads, edges]` in the order of their query, then key, which `offsets` and
    `sources` list at absolute positions. `forth` and `back` are the table and its reverse, with room around them.
    """

    table: Tensor | None = None
    keys: Tensor | None = None
    pairs: Tensor | None = None
    edges: Tensor | None = None
    zero: int = 0
    offsets: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None
    sources: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None
    forth: Tensor | None = None
    back: Tensor | None = None

    @property
    def tensors(self) -> list[Tensor | None]:
        """What gradients may flow to."""
        return [self.table, self.keys, self.pairs, self.edges]

    @property
    def edge_lists(self) -> tuple[int, int, int]:
        """Addresses of the lists of edges, and how many queries they are for."""
        if self.offsets is None or self.sources is None:
            return (0, 0, 0)
        return (self.offsets.ctypes.data, self.sources.ctypes.data, self.offsets.size - 1)


def refusal(problem: Problem) -> str | None:
    """Why the kernels can't take the bias, or None."""
    parts = _parts(problem.rule.bias)
    if any(not isinstance(part, (*DISTANT, Keys, Given, Edges)) for part in parts):
        return f"it has no such bias: {problem.rule.bias!r}"
    given = [part.values for part in parts if isinstance(part, Given) and not _per_key(part.values)]
    if any(values.shape[-1] == 1 and values.requires_grad and problem.keys > 1 for values in given):
        return "its bias of one number a row has no gradient in the kernels"
    if given and torch.broadcast_shapes(*(values.shape for values in given)) not in [v.shape for v in given]:
        return "the sum of its tensor biases is larger than any of them"
    if sum(isinstance(part, Edges) for part in parts) > 1:
        return "it takes one bias by edges, not several"
    if any(isinstance(part, DISTANT) for part in parts) and _reach(problem)[1] > FARTHEST:
        return f"its batch entries begin more than {FARTHEST:,} positions apart"
    return None


def moves_of(problem: Problem) -> Moves:
    """The bias, and the shift of a sigmoid with it, which is a bias as well."""
    along = next((part for part in _parts(problem.rule.bias) if isinstance(part, Edges)), None)
    moves = moves_but_edges(problem)
    if along is None:
        return moves
    edges, offsets, sources = _edges(problem, along)
    return replace(moves, edges=edges, offsets=offsets, sources=sources)


def moves_but_edges(problem: Problem) -> Moves:
    """The same without what the bias says of edges."""
    parts = _parts(problem.rule.bias)
    dtype = problem.accumulate
    table, zero = _table(problem, [part for part in parts if isinstance(part, DISTANT)])
    roomy = None if table is None else pad(table.detach(), (ROOM, ROOM))
    values = [part.values.to(dtype) for part in parts if isinstance(part, (Keys, Given))]
    keys = [v if v.ndim == 3 else v.squeeze(2) for v in values if _per_key(v)]
    keys += _shift(problem)
    pairs = [v for v in values if not _per_key(v)]
    every = (problem.batch, problem.heads, problem.keys)
    return Moves(
        table=table,
        keys=_sum(keys).expand(every) if keys else None,
        pairs=_sum(pairs) if pairs else None,
        edges=None,
        zero=zero,
        offsets=None,
        sources=None,
        forth=None if roomy is None else roomy[:, ROOM:],
        back=None if roomy is None else roomy.flip(-1)[:, ROOM:],
    )


def _parts(bias: Bias | None) -> tuple[Bias, ...]:
    return () if bias is None else bias.parts if isinstance(bias, Sum) else (bias,)


def _per_key(values: Tensor) -> bool:
    """Whether a settled tensor holds the same for every query: `[·, ·, keys]` or `[·, ·, 1, keys]`."""
    return values.ndim == 3 or values.shape[2] == 1


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def _shift(problem: Problem) -> list[Tensor]:
    """The shift of a sigmoid as a number per key, `[1, heads|1, 1]`."""
    normalize = problem.rule.normalize
    if not isinstance(normalize, Sigmoid):
        return []
    shift = torch.as_tensor(normalize.shift, dtype=problem.accumulate, device=problem.query.device)
    return [shift.reshape(1, -1, 1)]


def _reach(problem: Problem) -> tuple[int, int]:
    """The least distance j − i, and how many there are."""
    queries, keys = problem.extent.query_start, problem.extent.key_start
    low = min(keys) - max(queries) - (problem.queries - 1)
    high = max(keys) + problem.keys - min(queries)
    return low, high - low


def _table(problem: Problem, parts: Sequence[Bias]) -> tuple[Tensor | None, int]:
    """The sum of all biases by distance, `[heads, distances]`, and the entry of distance 0."""
    if not parts:
        return None, 0
    low, count = _reach(problem)
    here = torch.zeros(1, 1, 1, 1, dtype=torch.int64)
    distances = (torch.arange(count) + low).reshape(1, 1, 1, -1)
    wide = [part.map(lambda leaf, roles: leaf.to(problem.accumulate)) for part in parts]
    values = _sum([part.pairs(here, distances).reshape(-1, count) for part in wide])
    return values.expand(problem.heads, count), -low


def _edges(
    problem: Problem, bias: Edges
) -> tuple[Tensor, np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    source, target = bias.index
    stride = int(source.max()) + 1 if source.numel() else 1
    order = torch.argsort(target * stride + source)
    offsets = np.zeros(int(target.max()) + 2 if target.numel() else 1, dtype=np.int64)
    np.cumsum(np.bincount(target.numpy(), minlength=offsets.size - 1), out=offsets[1:])
    values = bias.values.to(problem.accumulate)[..., order]
    values = values.expand(problem.batch, problem.heads, order.numel())
    return values, offsets, source[order].numpy()
