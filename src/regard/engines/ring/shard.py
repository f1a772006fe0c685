"""What one rank brings to a ring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from regard.engines.ring.exchange import Held
from regard.engines.ring.sharding import Run, Sharding
from regard.problem import Problem, pose
from regard.rule import Rule

__all__ = ["Shard"]


@dataclass(frozen=True)
class Shard:
    """One rank's queries, keys and values, and where they stand.

    Args:
        query: `[..., heads, local queries, dim]`.
        key: `[..., kv_heads, local keys, dim]`.
        value: `[..., kv_heads, local keys, value_dim]`.
        rule: the same on every rank, without a sink, which is for whole rows.
        queries: absolute positions of the runs of local queries, in the order of the rows.
        keys: where all keys stand.
        rank: whose shard this is.
        dropout: as in `attend`.
        seed: the same on every rank.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    rule: Rule
    queries: tuple[Run, ...]
    keys: Sharding
    rank: int
    dropout: float
    seed: int

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that gradients may flow to: query, key, value and the leaves of the rule."""
        return (self.query, self.key, self.value, *self.rule.leaves())

    def with_tensors(self, tensors: Sequence[Tensor]) -> Shard:
        """The same with other numbers, in the order of `tensors`."""
        query, key, value, *leaves = tensors
        return replace(self, query=query, key=key, value=value, rule=self.rule.with_leaves(leaves))

    def rows(self, run: int) -> slice:
        """The local rows of a run of queries."""
        ends = [0, *accumulate(end - first for first, end in self.queries)]
        return slice(ends[run], ends[run + 1])

    def own(self, runs: Sequence[Run]) -> Held:
        """Some of the rank's own keys and values, views."""
        starts = [(self.keys.row(self.rank, first), end - first) for first, end in runs]
        keys, values = (tuple(t.narrow(-2, at, n) for at, n in starts) for t in (self.key, self.value))
        return Held(tuple(runs), keys, values)

    def frame(self, run: int | None) -> Problem:
        """A run of queries (None is no rows) before all keys, which are not there: for shapes and ranges alone."""
        key, value = (
            t.new_zeros(()).expand(*t.shape[:-2], self.keys.length, t.shape[-1]) for t in (self.key, self.value)
        )
        if run is None:
            none = slice(0, 0)
            return self._posed(self.query[..., none, :], key[..., none, :], value[..., none, :], 0, 0)
        return self._posed(self.query[..., self.rows(run), :], key, value, self.queries[run][0], 0)

    def part(self, run: int, keys: Run, held: Held) -> Problem:
        """A run of queries before a run of keys at hand."""
        key, value = held.at(keys)
        return self._posed(self.query[..., self.rows(run), :], key, value, self.queries[run][0], keys[0])

    def _posed(self, query: Tensor, key: Tensor, value: Tensor, query_start: int, key_start: int) -> Problem:
        return pose(
            query, key, value, self.rule, query_start=query_start, key_start=key_start,
            dropout=self.dropout, seed=self.seed, parts=True,
        )  # fmt: skip

    def detached(self) -> Shard:
        """With leaves of autograd that want a gradient where the tensors do."""
        return self.with_tensors([t.detach().requires_grad_(t.requires_grad) for t in self.tensors])

    def count(self, runs: Sequence[Run]) -> int:
        """How many numbers keys and values of some runs are."""
        one = sum(torch.Size((*t.shape[:-2], t.shape[-1])).numel() for t in (self.key, self.value))
        return one * sum(end - first for first, end in runs)
