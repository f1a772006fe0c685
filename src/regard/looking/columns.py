"""What can be said of the weights of one tile: columns, each added up over all tiles.

A tile holds whole rows (all keys that some row of it sees), so that a column serves every normalizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from regard.engines import tiled
from regard.engines.native.grouping import Grouping
from regard.engines.tiled import Output
from regard.equation import weigh, with_sink
from regard.problem import Problem
from regard.problem.door import settled
from regard.terms.normalize import NOTHING
from regard.terms.tree import Role
from regard.tiling import Tile

__all__ = ["Column", "Seen", "added_up", "bins", "cells", "given", "levels", "profile", "received", "row", "top"]

ROW: tuple[Role, ...] = ("batch", "head", "query")
HALF = 1 << 12
"""Keys are counted in two digits of this base: sums are of the accumulation type, and float32 holds 24 bits."""


@dataclass(frozen=True)
class Seen:
    """One tile: `weights [batch, heads, queries, keys]`, `visible` the same or None for all, `lse` with the sink.

    `kept` are the weights before a sink took its share.
    """

    tile: Tile
    weights: Tensor
    kept: Tensor
    visible: Tensor | None
    lse: Tensor | None

    @cached_property
    def shares(self) -> Tensor:
        """The weights over their sum: of a row without weight 0."""
        mass = self.kept.sum(-1, keepdim=True)
        return self.kept / torch.where(mass == 0, 1, mass)

    @cached_property
    def apart(self) -> Tensor:
        """j − i in absolute positions, `[batch or 1, 1, queries, keys]`."""
        return self.tile.place.key - self.tile.place.query

    @cached_property
    def keys(self) -> Tensor:
        """Local keys of the tile's columns."""
        every = torch.arange(self.tile.problem.keys, device=self.weights.device)
        return every[self.tile.at("key")]

    def cut(self, numbers: Tensor, role: Role) -> Tensor:
        """The tile's part of `[batch or 1, queries or keys, …]`."""
        numbers = numbers.to(self.weights.device)
        numbers = numbers if numbers.shape[0] == 1 else numbers[self.tile.at("batch")]
        return numbers[:, self.tile.at(role)]

    def shown(self, pairs: Tensor) -> Tensor:
        """True for those of the pairs that are visible, in the shape of the weights."""
        pairs = pairs if self.visible is None else pairs & self.visible
        return pairs.expand(self.weights.shape)


@dataclass(frozen=True)
class Column:
    """Where a column is put, and how a tile's part of it is found."""

    outputs: tuple[Output, ...]
    of: Callable[[Seen], Sequence[Tensor]]


def added_up(problem: Problem, columns: Sequence[Column]) -> list[tuple[Tensor, ...]]:
    """All columns in one pass over the tiles, O(N · tile) memory; followed by autograd where that is enabled."""

    def function(tile: Tile, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        query, key, _, *leaves = tensors
        rule = problem.rule.with_leaves(leaves)
        weighed = weigh(rule, query, key, tile.place)
        lse = None if weighed.lse is None else _with_sink(weighed.lse, rule.normalize.sink)  # type: ignore[attr-defined]
        seen = Seen(tile, with_sink(rule, weighed), weighed.weights, weighed.visible, lse)
        return [part for column in columns for part in column.of(seen)]

    outputs = tuple(output for column in columns for output in column.outputs)
    with settled(problem.query.device):
        made = iter(tiled.over_tiles(problem, function, outputs)(problem.tensors))
    return [tuple(next(made) for _ in column.outputs) for column in columns]


def row(problem: Problem, of: Callable[[Seen], Tensor], fill: float = 0.0) -> Column:
    """One number a row, `[batch, heads, queries]`."""
    shape = (problem.batch, problem.heads, problem.queries)
    return Column((Output(shape, ROW, problem.accumulate, fill),), lambda seen: (of(seen),))


def levels(problem: Problem) -> Column:
    """`lse_i`, the logarithm of the denominator, the sink in it; −∞ for a row that sees no key."""

    def of(seen: Seen) -> Tensor:
        assert seen.lse is not None
        return seen.lse

    return row(problem, of, NOTHING)


def top(problem: Problem, count: int) -> Column:
    """The greatest weights of each row, falling, equal ones by key; then 0 and key −1 where a row sees fewer.

    weights, 1 + key in two digits, `[batch, heads, queries, count]` each; and the sum of all other weights
    """
    shape = (problem.batch, problem.heads, problem.queries)
    output = Output((*shape, count), (*ROW, None), problem.accumulate)

    def of(seen: Seen) -> Sequence[Tensor]:
        weights = seen.weights
        ranked = weights.detach()
        ranked = ranked if seen.visible is None else torch.where(seen.visible, ranked, -1)
        place = _first(ranked, min(count, ranked.shape[-1]))
        held = ranked.gather(-1, place) != -1
        room = weights.new_zeros(2, *weights.shape[:3], count)
        greatest = room[0].slice_scatter(torch.where(held, weights.gather(-1, place), 0), -1, 0, place.shape[-1])
        numbers = torch.where(held, seen.keys[place] + 1, 0)
        keys = [room[1].slice_scatter(n.to(room.dtype), -1, 0, n.shape[-1]) for n in (numbers // HALF, numbers % HALF)]
        return greatest, *keys, weights.scatter(-1, place, 0).sum(-1)

    return Column((*(output,) * 3, Output(shape, ROW, problem.accumulate)), of)


def received(problem: Problem) -> Column:
    """`Σ_i w_ij`, and how many rows see key j, `[batch, heads, keys]` each."""
    output = Output((problem.batch, problem.heads, problem.keys), ("batch", "head", "key"), problem.accumulate)

    def of(seen: Seen) -> Sequence[Tensor]:
        one = torch.ones((), dtype=torch.bool, device=seen.weights.device)
        return seen.weights.sum(2), seen.shown(one).sum(2).to(seen.weights.dtype)

    return Column((output, output), of)


def bins(problem: Problem) -> int:
    """How many logarithmic bins of distance there are: 0, 1, 2–3, 4–7, …, up to the farthest pair of positions."""
    apart = [q - k for q, k in _paired(problem.extent.query_start, problem.extent.key_start)]
    farthest = [max(abs(a + problem.queries - 1), abs(a - problem.keys + 1)) for a in apart]
    return max(farthest, default=0).bit_length() + 1


def profile(problem: Problem) -> Column:
    """Mass by distance, `[batch, heads, 2 · bins]`: keys at or before the query, then those after it."""
    count = bins(problem)
    shape = (problem.batch, problem.heads, 2 * count)

    def of(seen: Seen) -> Sequence[Tensor]:
        bin_of = torch.frexp(seen.apart.abs().double()).exponent.long()  # 2^(b − 1) ≤ |i − j| < 2^b
        place = (bin_of + count * (seen.apart > 0)).expand(seen.weights.shape)
        room = seen.weights.new_zeros(*seen.weights.shape[:2], 2 * count)
        return (room.scatter_add(-1, place.flatten(2), seen.weights.flatten(2)),)

    return Column((Output(shape, ("batch", "head", None), problem.accumulate),), of)


def cells(problem: Problem, wanted: Grouping) -> Column:
    """Sum, pairs, and greatest where wanted, of classes of queries and keys; or sums of rows one by one: `Grouped`."""
    lead, columns = (problem.batch, problem.heads), wanted.key_classes

    def by_key(seen: Seen, pairs: Tensor, how: str = "sum") -> Tensor:
        return _folded(pairs, seen.cut(wanted.keys, "key")[:, None, None, :], columns, 3, how)

    if wanted.queries is None:
        rows = Output((*lead, problem.queries, columns), (*ROW, None), problem.accumulate)
        return Column((rows,), lambda seen: (by_key(seen, seen.weights),))

    def by_both(seen: Seen, pairs: Tensor, how: str = "sum") -> Tensor:
        assert wanted.queries is not None
        place = seen.cut(wanted.queries, "query")[:, None, :, None]
        return _folded(by_key(seen, pairs, how), place, wanted.query_classes, 2, how)

    def of(seen: Seen) -> Sequence[Tensor]:
        one = torch.ones((), dtype=torch.bool, device=seen.weights.device)
        found = by_both(seen, seen.weights), by_both(seen, seen.shown(one).to(seen.weights.dtype))
        return (*found, by_both(seen, seen.weights.detach(), "amax")) if wanted.greatest else found

    room = Output((*lead, wanted.query_classes, columns), ("batch", "head", None, None), problem.accumulate)
    most = Output(room.shape, room.roles, room.dtype, greatest=True)
    return Column((room, room, most) if wanted.greatest else (room, room), of)


def given(problem: Problem, keys: Tensor) -> Column:
    """The weights of each row at keys of its own, `[batch or 1, queries, n]`; 0 for key −1."""
    shape = (problem.batch, problem.heads, problem.queries, keys.shape[-1])

    def of(seen: Seen) -> Sequence[Tensor]:
        wanted = seen.cut(keys, "query").contiguous()
        if not seen.keys.numel():
            return (seen.weights.new_zeros(*seen.weights.shape[:3], keys.shape[-1]),)
        place = torch.searchsorted(seen.keys, wanted).clamp(max=seen.keys.numel() - 1)
        found = seen.weights.gather(-1, place[:, None].expand(*seen.weights.shape[:3], -1))
        return (torch.where((seen.keys[place] == wanted)[:, None], found, 0),)

    return Column((Output(shape, (*ROW, None), problem.accumulate),), of)


def _with_sink(lse: Tensor, sink: float | Tensor | None) -> Tensor:
    """log(exp(sink) + exp(lse)), −∞ for a row of nothing."""
    if sink is None:
        return lse
    sink = sink[:, None] if isinstance(sink, Tensor) and sink.ndim else sink
    empty = lse == NOTHING
    full = torch.logaddexp(torch.where(empty, 0, lse), torch.as_tensor(sink, dtype=lse.dtype, device=lse.device))
    return torch.where(empty, NOTHING, full)


def _first(ranked: Tensor, count: int) -> Tensor:
    """Where the greatest of each row are, falling, the first among equals; `argmax` gives the first, `topk` any."""
    if count > 16:
        return ranked.sort(dim=-1, descending=True, stable=True).indices[..., :count]
    left = ranked.clone()
    found = []
    for _ in range(count):
        place = left.argmax(-1, keepdim=True)
        left.scatter_(-1, place, -torch.inf)
        found.append(place)
    return torch.cat(found, -1) if found else torch.zeros(*ranked.shape[:3], 0, dtype=torch.int64, device=ranked.device)


def _folded(pairs: Tensor, classes: Tensor, count: int, axis: int, how: str) -> Tensor:
    """What falls into each class along an axis, put together; class −1 is dropped."""
    shape = list(pairs.shape)
    shape[axis] = count + 1
    index = (classes % (count + 1)).expand(pairs.shape)
    room = pairs.new_zeros(shape)
    folded = room.scatter_add(axis, index, pairs) if how == "sum" else room.scatter_reduce(axis, index, pairs, how)
    return folded.narrow(axis, 0, count)


def _paired(left: Sequence[int], right: Sequence[int]) -> list[tuple[int, int]]:
    """One entry each, the shorter of one entry repeated."""
    count = max(len(left), len(right))
    return list(zip([*left] * (count // max(1, len(left))), [*right] * (count // max(1, len(right))), strict=True))
