"""Ulysses: every rank gets all positions of some heads, attends, and gives the output back; two all-to-alls.

Source: Jacobs et al. 2023, "DeepSpeed Ulysses".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from regard.distributed.peers import Peers
from regard.engines.ring import Shard, Sharding
from regard.problem import Problem
from regard.rule import Rule
from regard.terms.tree import Role, aligned

__all__ = ["back", "met", "turned", "unfit"]


def unfit(shard: Shard, frames: Sequence[Problem]) -> str | None:
    """Why heads can't be shared out, or None."""
    if min(t.ndim for t in (shard.query, shard.key, shard.value)) < 3:
        return "there is one head"
    heads, kv_heads, ranks = shard.query.shape[-3], shard.key.shape[-3], shard.keys.ranks
    if kv_heads % ranks or heads % ranks:
        return f"{heads} query heads over {kv_heads} key heads don't divide among {ranks} ranks"
    if shard.dropout:
        return "dropout is drawn by the number of a head, which a rank with some heads doesn't know"
    if any(frame.ranges is not None and frame.ranges.index.shape[1] > 1 for frame in frames):
        return "the pattern differs by head"
    if any("head" in roles for roles in _pattern_roles(shard.rule)):
        return "the pattern may differ by head"
    return None


def _pattern_roles(rule: Rule) -> list[tuple[Role, ...]]:
    found: list[tuple[Role, ...]] = []
    if rule.pattern is not None:
        rule.pattern.map(
            lambda leaf, roles: found.append(tuple(
                role for role, size in zip(aligned(roles, leaf.ndim), leaf.shape, strict=True) if size > 1
            )) or leaf  # type: ignore[func-returns-value]
        )  # fmt: skip
    return found


def met(peers: Peers, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The same tensors; no rank has their gradients where another has none."""
    found = iter(_Met.apply(peers, *(t for t in tensors if t.requires_grad)))  # type: ignore[no-untyped-call]
    return tuple(next(found) if t.requires_grad else t for t in tensors)


def turned(tensor: Tensor, peers: Peers, sharding: Sharding) -> Tensor:
    """`[..., heads, local positions, dim]` → `[..., heads / ranks, positions, dim]`."""
    return _Turned.apply(tensor, peers, sharding, True)  # type: ignore[no-any-return, no-untyped-call]


def back(tensor: Tensor, peers: Peers, sharding: Sharding) -> Tensor:
    """`[..., heads / ranks, positions, dim]` → `[..., heads, local positions, dim]`."""
    return _Turned.apply(tensor, peers, sharding, False)  # type: ignore[no-any-return, no-untyped-call]


class _Met(Function):
    @staticmethod
    def forward(ctx: Any, peers: Peers, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.peers = peers
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.peers.finished("the end of all ranks' backward passes")
        return None, *grads


class _Turned(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, peers: Peers, sharding: Sharding, there: bool) -> Tensor:
        ctx.known = peers, sharding, there
        return (_there if there else _home)(tensor, peers, sharding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        peers, sharding, there = ctx.known
        return (_home if there else _there)(grad, peers, sharding), None, None, None


def _there(tensor: Tensor, peers: Peers, sharding: Sharding) -> Tensor:
    parts = tensor.chunk(peers.size, -3)
    shapes = [(*parts[0].shape[:-2], length, tensor.shape[-1]) for length in sharding.lengths]
    found = _sent(parts, shapes, peers)
    whole = tensor.new_empty(*parts[0].shape[:-2], sharding.length, tensor.shape[-1])
    for piece, runs in zip(found, sharding.runs, strict=True):
        passed = 0
        for first, end in runs:
            whole[..., first:end, :] = piece[..., passed : passed + end - first, :]
            passed += end - first
    return whole


def _home(tensor: Tensor, peers: Peers, sharding: Sharding) -> Tensor:
    parts = [
        torch.cat([tensor[..., :0, :], *(tensor[..., first:end, :] for first, end in runs)], -2)
        for runs in sharding.runs
    ]
    own = parts[peers.rank].shape
    return torch.cat(_sent(parts, [tuple(own)] * peers.size, peers), -3)


def _sent(parts: Sequence[Tensor], shapes: Sequence[Sequence[int]], peers: Peers) -> list[Tensor]:
    """One part to each rank, one of each shape from each."""
    counts = [torch.Size(shape).numel() for shape in shapes]
    message = torch.cat([part.reshape(-1) for part in parts])
    received = message.new_empty(sum(counts))
    with peers.watched("the heads of all ranks"):
        dist.all_to_all_single(received, message, counts, [part.numel() for part in parts], group=peers.group)
    return [piece.view(shape) for piece, shape in zip(received.split(counts), shapes, strict=True)]
