"""The equation for one tile: some rows, the keys they may see, every intermediate by name.

    score → cap → bias → pattern → normalize → dropout → Σ_j w_ij · v_j

A tile may be the whole problem (engine `reference`) or a block of rows against the keys it sees (engine `tiled`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from regard import counter
from regard.products import finite, gather, is_transformed, pairs
from regard.rule import Rule
from regard.terms.normalize import NOTHING, Softmax, visible_share

__all__ = ["Listed", "Place", "Weighed", "attended", "weigh", "with_sink"]


@dataclass(frozen=True)
class Place:
    """Where a tile stands: absolute positions, entries of the batch, heads, and which of its pairs are visible.

    Shapes broadcast to `[batch, heads, queries, keys]`; `visible` None means that all pairs are.
    """

    query: Tensor
    key: Tensor
    batch: Tensor
    head: Tensor
    visible: Tensor | None
    seed: int
    dropout: float

    def draw(self) -> Tensor:
        """Uniform numbers in (0, 1) for every pair, fixed by seed and position."""
        return counter.uniform(self.seed, counter.GUMBEL, self.batch, self.head, self.query, self.key)

    def keep(self) -> Tensor:
        """True for every pair that dropout leaves."""
        return counter.keep(self.dropout, self.seed, self.batch, self.head, self.query, self.key)


@dataclass(frozen=True)
class Weighed:
    """The intermediates up to the weights, each `[batch, heads, queries, keys]`; lse `[batch, heads, queries]`."""

    score: Tensor
    bias: Tensor | None
    masked: Tensor
    weights: Tensor
    lse: Tensor | None
    visible: Tensor | None


def weigh(rule: Rule, query: Tensor, key: Tensor, place: Place) -> Weighed:
    """score → cap → bias → pattern → normalize, the sink left out of the weights."""
    bias = None if rule.bias is None else rule.bias.pairs(place.query, place.key)
    place = replace(place, visible=_shown(place.visible, bias))
    query, key = _quiet(query, key, place.visible)
    score = rule.score.pairs(query, key, Meeting(place.visible))
    moved = score if bias is None else score + bias
    masked = moved if place.visible is None else torch.where(place.visible, moved, NOTHING)
    weights, lse = rule.normalize.part(masked, place.draw)
    return Weighed(score, bias, masked, weights, lse, place.visible)


def _shown(visible: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """What pattern and bias leave to be seen: a bias of −∞ hides a pair as a pattern does."""
    if bias is None or not (is_transformed(bias) or (bias == NOTHING).any()):
        return visible
    return bias != NOTHING if visible is None else visible & (bias != NOTHING)


def attended(weights: Tensor, value: Tensor, place: Place) -> Tensor:
    """dropout → Σ_j w_ij · v_j.

    `[batch, heads, queries, keys]`, `[batch, kv_heads, keys, dim]` → `[batch, heads, queries, dim]`
    """
    if place.dropout:
        weights = torch.where(place.keep(), weights / (1 - place.dropout), 0)
    kv_heads = value.shape[1]
    grouped = gather(_grouped(weights, kv_heads), value, _visible(place.visible, weights, kv_heads))
    return grouped.reshape(*weights.shape[:3], value.shape[-1])


def with_sink(rule: Rule, weighed: Weighed) -> Tensor:
    """The weights after the sink has taken its share."""
    if isinstance(rule.normalize, Softmax) and rule.normalize.sink is not None and weighed.lse is not None:
        return weighed.weights * visible_share(weighed.lse, rule.normalize.sink)[..., None]
    return weighed.weights


@dataclass(frozen=True)
class Meeting:
    """The two ways in which a query and a key meet, over the visible pairs of a tile."""

    visible: Tensor | None

    def dot(self, query: Tensor, key: Tensor) -> Tensor:
        """q_i · k_j; the query heads of a group share their key head, which is never copied."""
        kv_heads = key.shape[1]
        shape = (*query.shape[:3], key.shape[2])
        visible = None if self.visible is None else _grouped(self.visible.expand(shape), kv_heads)
        return pairs(_grouped(query, kv_heads), key, visible).reshape(shape)

    def add(self, query: Tensor, key: Tensor) -> Tensor:
        """q_i + k_j, component by component."""
        batch, heads, rows, dim = query.shape
        kv_heads, keys = key.shape[1:3]
        split = query.reshape(batch, kv_heads, heads // kv_heads, rows, 1, dim)
        met = (split + key[:, :, None, None]).reshape(batch, heads, rows, keys, dim)
        return met if self.visible is None else torch.where(self.visible[..., None], met, 0)


@dataclass(frozen=True)
class Listed:
    """The same two ways over a list of pairs: `[batch, heads, pairs, 1]` in place of queries and keys."""

    query: Tensor
    key: Tensor

    def dot(self, query: Tensor, key: Tensor) -> Tensor:
        """q_i · k_j."""
        left, right = self._met(query, key)
        return (left * right).sum(-1, keepdim=True)

    def add(self, query: Tensor, key: Tensor) -> Tensor:
        """q_i + k_j, component by component."""
        left, right = self._met(query, key)
        return (left + right)[..., None, :]

    def _met(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        group = query.shape[1] // key.shape[1]
        return _picked(query, self.query), _picked(key if group == 1 else key.repeat_interleave(group, 1), self.key)


def _picked(vectors: Tensor, rows: Tensor) -> Tensor:
    """Some rows `[batch, heads, ·, dim]`; a row of all heads is read at once, as layers leave them side by side."""
    return vectors.transpose(1, 2).contiguous().index_select(1, rows).transpose(1, 2)


def _grouped(tensor: Tensor, kv_heads: int) -> Tensor:
    """`[batch, heads, rows, ·]` → `[batch, kv_heads, group · rows, ·]`: the rows of all heads that share a key head."""
    batch, heads, rows, last = tensor.shape
    if heads == kv_heads:
        return tensor
    return tensor.reshape(batch, kv_heads, heads // kv_heads * rows, last)


def _visible(visible: Tensor | None, weights: Tensor, kv_heads: int) -> Tensor | None:
    return None if visible is None else _grouped(visible.expand(weights.shape), kv_heads)


def _quiet(query: Tensor, key: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rows that see nothing and keys that nobody sees, set to 0 where they might hold NaN or ∞."""
    if visible is None:
        return query, key
    visible = visible.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    if is_transformed(query) or not finite(query):
        query = torch.where(visible.any(-1)[..., None], query, 0)
    if is_transformed(key) or not finite(key):
        seen = visible.unflatten(1, (key.shape[1], query.shape[1] // key.shape[1])).any(3).any(2)
        key = torch.where(seen[..., None], key, 0)
    return query, key
