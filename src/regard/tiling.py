"""Which tiles there are: blocks of query rows, each against the keys that some row of it may see.

Where batch entries or heads differ in what they see, a block of rows becomes one tile for all of them or one tile
for each kind, whichever touches fewer pairs. A block of rows that sees nothing makes no tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from regard.equation import Place
from regard.problem import Problem
from regard.terms.pattern import Form, Lists
from regard.terms.pattern.ranges import pieces
from regard.terms.tree import Role

__all__ = ["Index", "Tile", "tiles"]

Index = slice | np.ndarray[tuple[int], np.dtype[np.int64]]
"""A run of positions, or any of them: an array, since `torch.func` would wrap a tensor made under it."""

ROWS = 128
FEWEST = 16
BUDGET = 1 << 20
"""How many numbers one intermediate of a tile may hold: 4 MiB in float32."""
COST = 1 << 16
"""What opening one more tile costs, in pairs."""


@dataclass(frozen=True)
class Tile:
    """Some rows against some keys, for some batch entries and heads, all in local positions."""

    problem: Problem
    batch: Index
    head: Index
    kv_head: Index
    query: slice
    key: Index

    def at(self, role: Role) -> slice | Tensor | None:
        """The part of an axis that this tile takes, or None where it takes all of it."""
        index = getattr(self, role) if role in ("batch", "head", "kv_head", "query", "key") else None
        return torch.from_numpy(index) if isinstance(index, np.ndarray) else index

    @property
    def pairs(self) -> int:
        """How many pairs the tile touches, hidden ones included."""
        problem = self.problem
        return (
            _length(self.batch, problem.batch)
            * _length(self.head, problem.heads)
            * _length(self.query, problem.queries)
            * _length(self.key, problem.keys)
        )

    @cached_property
    def place(self) -> Place:
        """Where the tile stands, in absolute positions, and what is visible in it."""
        problem, device = self.problem, self.problem.query.device
        query = problem.positions("query", _positions(self.query, device))
        key = problem.positions("key", _positions(self.key, device))
        query = query if query.shape[0] == 1 else query[self.at("batch")]
        key = key if key.shape[0] == 1 else key[self.at("batch")]
        batch = torch.arange(problem.batch, device=device)[self.at("batch")]
        head = torch.arange(problem.heads, device=device)[self.at("head")]
        place = Place(
            query[:, None, :, None],
            key[:, None, None, :],
            batch[:, None, None, None],
            head[:, None, None],
            None,
            problem.seed,
            problem.dropout,
        )
        return replace(place, visible=self._visible(place))

    def _visible(self, place: Place) -> Tensor | None:
        """`[batch or 1, heads or 1, queries, keys]`, or None where every pair of the tile is visible."""
        problem = self.problem
        if problem.said.pattern is None:
            return None
        if problem.traced_pattern:
            return problem.said.pattern.allows(place.query, place.key, place.batch, place.head)
        lists = problem.ranges
        assert lists is not None
        which = _cut(_cut(lists.index, 0, self.batch), 1, self.head)
        used, place_of = np.unique(which, return_inverse=True)
        first, last = self.query.start, self.query.stop
        key = self.key
        columns = np.arange(key.start, key.stop) if isinstance(key, slice) else key
        forms = [lists.forms[form] for form in used]
        if all(form.pairs_in(first, last) == (last - first) * columns.size for form in forms):
            return None
        dense = np.stack([form.dense(first, last, columns) for form in forms])
        return torch.from_numpy(dense).to(problem.query.device)[torch.from_numpy(place_of.reshape(which.shape))]


def tiles(problem: Problem, together: bool = False) -> Iterator[Tile]:
    """All tiles of a problem, row blocks in order; `together` keeps all batch entries and heads in one tile."""
    if not (problem.batch and problem.heads):
        return
    lists = None if problem.traced_pattern else problem.ranges
    kinds = _kinds(problem, lists)
    everyone = (slice(0, problem.batch), slice(0, problem.heads), tuple(range(len(lists.forms))) if lists else ())
    first = 0
    while first < problem.queries:
        last = min(first + ROWS, problem.queries)
        keys = [_columns(form, first, last) for form in lists.forms] if lists else [_all(problem)]
        last = first + _rows(problem, last - first, max(columns.size for columns in keys))
        yield from _block(problem, lists, first, last, everyone, kinds, together)
        first = last


Kind = tuple[Index, Index, tuple[int, ...]]
"""Batch entries, heads, and the forms that they use."""


def _block(
    problem: Problem, lists: Lists | None, first: int, last: int, everyone: Kind, kinds: list[Kind], together: bool
) -> Iterator[Tile]:
    def made(kind: Kind) -> list[Tile]:
        columns = _union([_columns(lists.forms[form], first, last) for form in kind[2]]) if lists else _all(problem)
        tile = Tile(problem, kind[0], kind[1], _kv(problem, kind[1]), slice(first, last), _index(columns))
        if together:
            return [tile]
        return list(_split(tile)) if columns.size else []

    joint = made(everyone)
    if together or len(kinds) == 1:
        yield from joint
        return
    apart = [tile for kind in kinds for tile in made(kind)]
    yield from min((joint, apart), key=lambda some: sum(tile.pairs + COST for tile in some))


def _split(tile: Tile) -> Iterator[Tile]:
    """The tile itself, or tiles of fewer batch entries or heads where it holds more numbers than it may."""
    problem = tile.problem
    heads, entries = _length(tile.head, problem.heads), _length(tile.batch, problem.batch)
    pairs = max(1, tile.pairs * problem.rule.score.width // max(1, heads * entries))
    group = problem.group
    most = max(1, BUDGET // pairs)
    per_tile = heads if heads <= most else max(1, most // group) * group if isinstance(tile.head, slice) else most
    step = max(1, most // max(1, per_tile))
    for b in range(0, entries, step):
        for h in range(0, heads, max(1, per_tile)):
            head = _run(tile.head, h, min(h + per_tile, heads))
            yield Tile(
                problem, _run(tile.batch, b, min(b + step, entries)), head, _kv(problem, head), tile.query, tile.key
            )


def _rows(problem: Problem, rows: int, columns: int) -> int:
    """How many rows a block takes, so that it holds as many numbers as it may, all batch entries and heads together."""
    size = max(1, problem.batch * problem.heads * columns * problem.rule.score.width)
    return min(rows, max(FEWEST, BUDGET // size // FEWEST * FEWEST))


def _kinds(problem: Problem, lists: Lists | None) -> list[Kind]:
    """Batch entries and heads that use the same form, each kind once."""
    if lists is None:
        return [(slice(0, problem.batch), slice(0, problem.heads), ())]
    index = lists.index
    made: list[Kind] = []
    for form in range(len(lists.forms)):
        used = index == form
        for heads in np.unique(used[used.any(1)], axis=0):
            entries = np.flatnonzero((used == heads).all(1) & used.any(1))
            batch = slice(0, problem.batch) if index.shape[0] == 1 else _index(entries)
            head = slice(0, problem.heads) if index.shape[1] == 1 else _index(np.flatnonzero(heads))
            made.append((batch, _whole_groups(problem, head), (form,)))
    return made


def _whole_groups(problem: Problem, head: Index) -> Index:
    """A run of heads stays one only where it covers whole groups, so that their key heads are a run too."""
    group = problem.group
    if isinstance(head, slice) and (head.start % group or head.stop % group):
        return np.arange(head.start, head.stop)
    return head


def _kv(problem: Problem, head: Index) -> Index:
    return (
        slice(head.start // problem.group, head.stop // problem.group)
        if isinstance(head, slice)
        else head // problem.group
    )


def _columns(form: Form, first: int, last: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    low, high = form.spans(first, last).T
    return pieces(low, high - low)


def _all(problem: Problem) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(problem.keys)


def _union(columns: list[np.ndarray[tuple[int], np.dtype[np.int64]]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return columns[0] if len(columns) == 1 else np.unique(np.concatenate(columns))


def _index(columns: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Index:
    """A slice where the positions are neighbours."""
    if not columns.size:
        return slice(0, 0)
    if columns[-1] - columns[0] + 1 == columns.size:
        return slice(int(columns[0]), int(columns[-1]) + 1)
    return columns


def _run(index: Index, first: int, last: int) -> Index:
    return slice(index.start + first, index.start + last) if isinstance(index, slice) else index[first:last]


def _length(index: Index, whole: int) -> int:
    return len(range(*index.indices(whole))) if isinstance(index, slice) else index.size


def _positions(index: Index, device: torch.device) -> Tensor:
    if isinstance(index, slice):
        return torch.arange(index.start, index.stop, device=device)
    return torch.from_numpy(index).to(device)


def _cut(
    table: np.ndarray[tuple[int, int], np.dtype[np.int64]], axis: int, index: Index
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return table if table.shape[axis] == 1 else table[(slice(None),) * axis + (index,)]
