"""Attention whose weights are products of features: sums over keys, taken before they meet a query.

    out_i = φ(q_i) · Σ_j φ(k_j) v_jᵀ  /  φ(q_i) · Σ_j φ(k_j)        over all keys, or over j ≤ i + keys − queries

Keys are taken in chunks. Causal rows read the sums of the chunks before theirs, and meet the keys of their own chunk
one by one, so that no key is summed before a query that must not see it: neither is its scale. Memory is that of the
inputs and of one sum a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.approximate.features import Map
from regard.products import gather, pairs

__all__ = ["Keys", "causal", "whole"]

CHUNK = 128
"""Rows that meet keys one by one."""

BLOCK = 256
"""Keys summed, and rows read, at once where nobody meets one by one."""

NOTHING = float("-inf")


@dataclass(frozen=True)
class Keys:
    """Keys, values and who is real: `[batch, kv_heads, keys, ·]`, real `[batch, keys]` or None."""

    key: Tensor
    value: Tensor
    real: Tensor | None
    map: Map

    def features(self, low: int, high: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """φ(k) of some keys times exp(−scale), this scale (None: 0), and their values; φ is 0 for who is not real."""
        features, scale = self.map.of_key(self.key[..., low:high, :])
        if self.real is not None:
            real = self.real[:, None, low:high]
            features = torch.where(real[..., None], features, 0)
            scale = None if scale is None else torch.where(real, scale, NOTHING)
        return features, scale, self.value[..., low:high, :]


@dataclass(frozen=True)
class Sums:
    """Σ φ(k) vᵀ and Σ φ(k) over the keys so far, times exp(−top).

    Args:
        values: `[batch, kv_heads, features, value_dim]`.
        total: `[batch, kv_heads, features, 1]`.
        top: the largest scale so far, `[batch, kv_heads, 1]`; None where no key has one.
    """

    values: Tensor
    total: Tensor
    top: Tensor | None

    def plus(self, features: Tensor, scale: Tensor | None, value: Tensor) -> Sums:
        """The sums with further keys."""
        if scale is None or self.top is None:
            return Sums(self.values + features.mT @ value, self.total + features.sum(-2)[..., None], None)
        top = torch.maximum(self.top, scale.amax(-1, keepdim=True))
        old, features = _share(self.top, top)[..., None], features * _share(scale, top)[..., None]
        return Sums(self.values * old + features.mT @ value, self.total * old + features.sum(-2)[..., None], top)


def whole(query: Tensor, keys: Keys) -> Tensor:
    """Every query over all keys: `[batch, heads, queries, dim]` → `[batch, heads, queries, value_dim]`."""
    sums = _sums(query, keys, keys.key.shape[-2])
    made = []
    for rows in query.split(BLOCK, -2):
        features = _grouped(keys.map.of_query(rows), keys)
        made.append(_ungrouped(_ratio(features @ sums.values, features @ sums.total), rows))
    return torch.cat(made, -2)


def causal(query: Tensor, keys: Keys) -> Tensor:
    """Query i over keys j ≤ i + keys − queries."""
    queries, count = query.shape[-2], keys.key.shape[-2]
    done = max(0, count - queries)
    sums, made = _sums(query, keys, done), []
    for low in range(0, max(1, queries), CHUNK):
        rows = query[..., low : low + CHUNK, :]
        ends = torch.arange(low, low + rows.shape[-2], device=query.device) + (count - queries + 1)
        stop = max(done, min(count, low + rows.shape[-2] + count - queries))
        visible = torch.arange(done, stop, device=query.device) < ends[:, None]
        near = keys.features(done, stop)
        made.append(_met(rows, keys, sums, near, visible))
        sums, done = sums.plus(*near) if stop > done else sums, stop
    return torch.cat(made, -2)


def _sums(query: Tensor, keys: Keys, stop: int) -> Sums:
    """Over the first keys."""
    key, value = keys.key, keys.value
    features, scale, _ = keys.features(0, 0)
    empty = key.new_zeros(*key.shape[:2], features.shape[-1], value.shape[-1])
    top = None if scale is None else key.new_full((*key.shape[:2], 1), NOTHING)
    sums = Sums(empty, empty.new_zeros(*empty.shape[:3], 1), top)
    for low in range(0, stop, BLOCK):
        sums = sums.plus(*keys.features(low, min(stop, low + BLOCK)))
    return sums


def _met(rows: Tensor, keys: Keys, sums: Sums, near: tuple[Tensor, Tensor | None, Tensor], visible: Tensor) -> Tensor:
    """Rows over the sums so far and over the visible ones of the near keys, visible `[rows, near keys]`."""
    features, scale, value = near
    query, group = _grouped(keys.map.of_query(rows), keys), rows.shape[1] // max(1, keys.key.shape[1])
    seen = visible.repeat(group, 1)
    weights = pairs(query, features, seen)
    values, total = query @ sums.values, query @ sums.total
    if scale is not None and sums.top is not None:
        shown = torch.where(visible, scale[..., None, :], NOTHING)
        top = torch.cat((shown, sums.top[..., None].expand(*shown.shape[:-1], 1)), -1).amax(-1)
        weights = weights * _share(shown, top[..., None]).repeat(1, 1, group, 1)
        old = _share(sums.top, top).repeat(1, 1, group)[..., None]
        values, total = values * old, total * old
    return _ungrouped(_ratio(values + gather(weights, value, seen), total + weights.sum(-1, keepdim=True)), rows)


def _share(scale: Tensor, top: Tensor) -> Tensor:
    """exp(scale − top), 0 where there is nothing yet."""
    return torch.where(scale == NOTHING, 0, (scale - top).exp())


def _ratio(values: Tensor, total: Tensor) -> Tensor:
    """A row that sees no key is 0."""
    empty = total == 0
    return torch.where(empty, 0, values / torch.where(empty, 1, total))


def _grouped(tensor: Tensor, keys: Keys) -> Tensor:
    """`[batch, heads, rows, ·]` → `[batch, kv_heads, group · rows, ·]`."""
    batch, heads, rows, last = tensor.shape
    kv_heads = keys.key.shape[1]
    return tensor.reshape(batch, kv_heads, heads // max(1, kv_heads) * rows, last)


def _ungrouped(out: Tensor, rows: Tensor) -> Tensor:
    return out.reshape(*rows.shape[:3], out.shape[-1])
