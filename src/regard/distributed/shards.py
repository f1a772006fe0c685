"""From a whole tensor to one rank's rows of it, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from regard.distributed.agreement import Brought, agreed
from regard.distributed.peers import Group, Peers
from regard.engines.ring import Sharding, zigzag
from regard.errors import InputError

__all__ = ["found", "shard", "unshard"]


def shard(tensor: Tensor, group: Group = None, dim: int = -2, *, sharding: Sharding | None = None) -> Tensor:
    """This rank's rows of a tensor that every rank has.

    Args:
        tensor: the whole, the same on every rank.
        group: a process group, a `DeviceMesh` of one axis, or None: all processes.
        dim: the axis of positions.
        sharding: which rows; None is `zigzag`: of 2·ranks chunks the r-th and the r-th from the end.

    Returns: a copy. Its gradient is that of these rows alone.

    Errors: InputError for a sharding of another length or number of ranks.
    """
    peers = Peers(group)
    length = tensor.shape[dim]
    sharding = zigzag(length, peers.size) if sharding is None else sharding
    if sharding.ranks != peers.size or sharding.length != length:
        raise InputError(
            f"the sharding is of {sharding.length} positions on {sharding.ranks} ranks, the tensor has {length}, the "
            f"group {peers.size}"
        )
    parts = [tensor.narrow(dim, first, end - first) for first, end in sharding.runs[peers.rank]]
    return torch.cat(parts, dim) if parts else tensor.narrow(dim, 0, 0).clone()


def unshard(tensor: Tensor, group: Group = None, dim: int = -2, *, sharding: Sharding | None = None) -> Tensor:
    """The whole of which every rank has some rows; `shard` undone.

    Args:
        tensor: this rank's rows.
        group: as in `shard`.
        dim: as in `shard`.
        sharding: as in `shard`; None finds the zigzag of the lengths that there are.

    Returns: the whole, on every rank. Its gradient is taken from this rank's own rows of it: let every rank compute
    the same of it, as they do with a loss over everything.

    Errors: on every rank, InputError where ranks bring other types or shapes, or other lengths than the sharding's.
    """
    peers = Peers(group)

    def brought() -> Brought:
        others = list(tensor.shape)
        length = others.pop(dim)
        return Brought({"dtype": str(tensor.dtype), "shape but for positions": str(others)}, (length,))

    lengths = [row[0] for row in agreed(peers, brought)]
    sharding = found(lengths, sharding, "the tensor")
    return _Whole.apply(tensor, peers, dim, sharding)  # type: ignore[no-any-return, no-untyped-call]


def found(lengths: list[int], sharding: Sharding | None, name: str) -> Sharding:
    """The sharding that is meant, or InputError where the lengths are not its own."""
    meant = zigzag(sum(lengths), len(lengths)) if sharding is None else sharding
    if meant.lengths != tuple(lengths):
        kind = "zigzag" if sharding is None else "the sharding"
        raise InputError(
            f"{name} has {lengths} positions by rank, {kind} of {meant.length} has {list(meant.lengths)}; cut it by "
            "regard.distributed.shard, or say which positions these are: sharding=contiguous(lengths)"
        )
    return meant


class _Whole(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, peers: Peers, dim: int, sharding: Sharding) -> Tensor:
        ctx.peers, ctx.dim, ctx.sharding = peers, dim, sharding
        rows = tensor.detach().movedim(dim, 0)
        most = max(sharding.lengths)
        room = rows.new_zeros(most, *rows.shape[1:])
        room[: rows.shape[0]] = rows
        every = peers.gathered(room, "the rows of all shards")
        whole = rows.new_empty(sharding.length, *rows.shape[1:])
        for own, runs in zip(every, sharding.runs, strict=True):
            passed = 0
            for first, end in runs:
                whole[first:end] = own[passed : passed + end - first]
                passed += end - first
        return whole.movedim(0, dim).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        runs = ctx.sharding.runs[ctx.peers.rank]
        parts = [grad.narrow(ctx.dim, first, end - first) for first, end in runs]
        return (torch.cat(parts, ctx.dim) if parts else grad.narrow(ctx.dim, 0, 0)), None, None, None
