"""All that is known before the numbers: checked shapes, offsets, the settled rule, the seed of dropout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from regard.errors import InputError
from regard.problem.door import admit, alike, batched, leading, probability, starts, transformed, untraced
from regard.problem.leaves import Extent, global_leaf, local_leaf
from regard.problem.lowering import lowered
from regard.rule import Rule, as_rule
from regard.terms.integers import integer
from regard.terms.normalize import Softmax
from regard.terms.pattern import Lists
from regard.terms.pattern.packing import Packed
from regard.terms.tree import Role, Term

__all__ = ["Problem", "own_rows", "pose"]


@dataclass(frozen=True)
class Problem:
    """One attention to compute: `query [batch, heads, queries, dim]`, `key`, `value [batch, kv_heads, keys, ·]`.

    `said` is the rule as the user gave it, its pattern in absolute positions; `rule` is the rest of it, its tensors
    settled: one batch axis, local positions. `ranges` says for every query which key ranges it may see, in local
    positions; None where every key is visible, and where `torch.func` follows the pattern.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    said: Rule
    rule: Rule
    ranges: Lists | None
    extent: Extent
    dropout: float
    seed: int
    lead: tuple[int, ...] | None
    parts: bool = False

    @property
    def batch(self) -> int:
        """How many batch entries, all leading dimensions taken together."""
        return self.query.shape[0]

    @property
    def heads(self) -> int:
        """How many query heads."""
        return self.query.shape[1]

    @property
    def kv_heads(self) -> int:
        """How many key and value heads."""
        return self.key.shape[1]

    @property
    def group(self) -> int:
        """How many query heads share a key head."""
        return max(1, self.heads // max(1, self.kv_heads))

    @property
    def queries(self) -> int:
        """How many query rows."""
        return self.query.shape[2]

    @property
    def keys(self) -> int:
        """How many keys."""
        return self.key.shape[2]

    @property
    def accumulate(self) -> torch.dtype:
        """float64 for float64, float32 for all else."""
        return torch.float64 if self.query.dtype == torch.float64 else torch.float32

    @cached_property
    def leaves(self) -> list[Tensor]:
        """The tensors of score, bias and normalizer, in the order of `rule.leaves()`."""
        return self.rule.leaves()

    @cached_property
    def leaf_roles(self) -> list[tuple[Role, ...]]:
        """What the axes of each leaf stand for."""
        found: list[tuple[Role, ...]] = []
        self.rule.map(lambda leaf, roles: found.append(roles) or leaf)  # type: ignore[func-returns-value]
        return found

    @property
    def sink(self) -> float | Tensor | None:
        """The sink of a softmax, as it is in the settled rule."""
        return self.rule.normalize.sink if isinstance(self.rule.normalize, Softmax) else None

    @property
    def tensors(self) -> list[Tensor]:
        """All that gradients may flow to: query, key, value and the leaves of the rule."""
        return [self.query, self.key, self.value, *self.leaves]

    @cached_property
    def transformed(self) -> bool:
        """Whether only plain operations may touch the tensors (`torch.func`, forward-mode AD)."""
        return self.traced_pattern or transformed(self.tensors)

    @property
    def traced_pattern(self) -> bool:
        """Whether the pattern's own tensors are followed by `torch.func`, so that no list can be made of them."""
        return self.said.pattern is not None and self.ranges is None

    def with_tensors(self, tensors: Sequence[Tensor]) -> Problem:
        """The same problem with other numbers, in the order of `tensors`."""
        query, key, value, *leaves = tensors
        return replace(self, query=query, key=key, value=value, rule=self.rule.with_leaves(leaves))

    def positions(self, role: str, index: Tensor | None = None) -> Tensor:
        """Absolute positions `[batch or 1, queries or keys]`, or those of the given local index."""
        span = self.extent.span(role)
        assert span is not None
        begins, length = span
        local = torch.arange(length, device=self.query.device) if index is None else index
        return torch.tensor(begins, device=self.query.device)[:, None] + local

    def shaped(self, result: Tensor, last: int = 1) -> Tensor:
        """`[batch, heads, ...]` → the leading dimensions of the inputs; `last` counts the axes after the queries."""
        if self.lead is None:
            return result[0, 0]
        return result.reshape(*self.lead, *result.shape[1:])


@untraced
def pose(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rule: Rule | Term | None,
    *,
    query_start: int | Tensor | None = None,
    key_start: int | Tensor = 0,
    dropout: float = 0.0,
    seed: int | None = None,
    parts: bool = False,
) -> Problem:
    """Check everything once; all errors of the inputs are raised here."""
    said = as_rule(rule)
    query, key, value = admit("query", query), admit("key", key), admit("value", value)
    query, key, value = alike(query, key, value)
    lead, batch = _check_shapes(query, key, value)
    query, key, value = (batched(t, batch, 3) for t in (query, key, value))
    query, key, value = (t.expand(math.prod(batch), -1, -1, -1) for t in (query, key, value))
    said.score.check(query.shape[-1], key.shape[-1], query.shape[1])
    said.normalize.check(query.shape[1])
    extent = _extent(query, key, batch, query_start, key_start, said, parts)
    said, rest = _settled(said, extent)
    ranges = None if said.pattern is None or transformed(said.pattern.leaves()) else lowered(said.pattern, extent)
    chance = probability(dropout)
    return Problem(query, key, value, said, rest, ranges, extent, chance, _seed(seed, chance, said), lead, parts)


def _check_shapes(query: Tensor, key: Tensor, value: Tensor) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if not 2 <= tensor.ndim <= 5:
            raise InputError(f"{name} must be [..., heads, positions, dim] with 2 to 5 axes, got {list(tensor.shape)}")
        if not tensor.shape[-1]:
            raise InputError(f"{name} must have dim ≥ 1, got {list(tensor.shape)}")
    if key.shape[-2] != value.shape[-2]:
        raise InputError(f"key and value need as many positions, got {key.shape[-2]} and {value.shape[-2]}")
    heads, kv_heads, value_heads = (t.shape[-3] if t.ndim > 2 else 1 for t in (query, key, value))
    if kv_heads != value_heads:
        raise InputError(f"key and value need as many heads, got {kv_heads} and {value_heads}")
    if kv_heads != heads and (kv_heads == 0 or heads % kv_heads):
        raise InputError(f"query heads must be a multiple of key heads, got {heads} and {kv_heads}")
    batch = leading([tuple(t.shape[:-3]) for t in (query, key, value)])
    flat = max(query.ndim, key.ndim, value.ndim) == 2
    return (None if flat else batch if max(query.ndim, key.ndim, value.ndim) > 3 else ()), batch


def _extent(
    query: Tensor,
    key: Tensor,
    batch: tuple[int, ...],
    query_start: int | Tensor | None,
    key_start: int | Tensor,
    said: Rule,
    parts: bool,
) -> Extent:
    first_key = starts("key_start", key_start, batch)
    if min(first_key, default=0) < 0:
        raise InputError(f"key_start must be ≥ 0, got {min(first_key)}")
    if query_start is None:
        if parts and said.positional:
            raise InputError(
                f"partial needs query_start for {said!r}: parts of the keys don't tell where the queries stand"
            )
        own = own_rows(said)
        ends = (first + key.shape[2] for first in first_key) if own is None else (own,)
        first_query = tuple(end - query.shape[2] for end in ends)
    else:
        first_query = starts("query_start", query_start, batch)
    return Extent(batch, query.shape[1], query.shape[2], key.shape[2], first_query, first_key, query.device)


def own_rows(said: Rule) -> int | None:
    """Where the query rows end when a packing counts them on their own; None where they end with the keys."""
    packings = [part for part in said.within() if isinstance(part, Packed)]
    return max(packing.queries.documents.shape[-1] for packing in packings) if packings else None


def _settled(said: Rule, extent: Extent) -> tuple[Rule, Rule]:
    """The rule with its pattern brought to one batch axis, and the rest of it in local positions, without pattern."""
    bias = None if said.bias is None else said.bias.for_heads(extent.heads, extent.device)
    pattern = None
    if said.pattern is not None:
        pattern = said.pattern.map(lambda leaf, roles: global_leaf(leaf, roles, extent))
    rest = Rule(said.score, None, bias, said.normalize).map(lambda leaf, roles: local_leaf(leaf, roles, extent))
    return said.with_children({**said.children(), **({} if pattern is None else {"pattern": pattern})}), rest


def _seed(seed: int | None, dropout: float, said: Rule) -> int:
    """The seed as given, or one draw of torch's generator where something random is asked for."""
    if seed is not None:
        number = integer(seed)
        if number is None:
            raise InputError(f"seed must be an int, got {seed!r}")
        return number
    if dropout or said.normalize.random:
        return int(torch.randint(2**62, ()).item())
    return 0
