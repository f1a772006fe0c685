"""Layers whose sequence is spread over ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from regard.distributed.attending import attend
from regard.distributed.peers import Group, Peers
from regard.distributed.setup import Setup
from regard.distributed.shards import found
from regard.engines.ring import Run
from regard.errors import InputError
from regard.nn import MultiHead
from regard.nn.positions import Rotary
from regard.rule import Rule

__all__ = ["Context", "context_parallel"]

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Context:
    """The ranks over which the sequence of a layer is spread.

    Args:
        group: as in `attend`.
        setup: likewise.
    """

    group: Group
    setup: Setup

    def turned(self, rotary: Rotary, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """This rank's queries and keys, turned by their positions in the whole; the queries are the last ones."""
        peers = Peers(self.group)
        own = torch.tensor([query.shape[-2], key.shape[-2]])
        queries, keys = peers.gathered(own, "the lengths of all shards").T.tolist()
        begin = sum(keys) - sum(queries)
        place = found(queries, self.setup.sharding, "query").runs[peers.rank]
        there = found(keys, self.setup.sharding, "key").runs[peers.rank]
        return _turned(rotary, query, [(a + begin, b + begin) for a, b in place]), _turned(rotary, key, there)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule, dropout: float) -> Tensor:
        """This rank's rows of the output."""
        return attend(query, key, value, rule, group=self.group, dropout=dropout, setup=self.setup)


def _turned(rotary: Rotary, vectors: Tensor, runs: list[Run] | tuple[Run, ...]) -> Tensor:
    parts = vectors.split([end - first for first, end in runs], -2)
    return torch.cat([vectors[..., :0, :], *(rotary(p, run[0]) for p, run in zip(parts, runs, strict=True))], -2)


def context_parallel(model: M, group: Group = None, *, setup: Setup | None = None) -> M:
    """The same model, every `MultiHead` of which attends over the keys of all ranks.

    Each rank calls it with its rows of the sequence (`shard`); all other layers work row by row and need nothing. The
    gradients of parameters are the shares of a rank's own rows: sum them over the group, as DDP and FSDP do of means.

    Args:
        model: changed in place; `layer.across = None` undoes it.
        group: as in `attend`.
        setup: likewise.

    Errors: InputError for a model without a `MultiHead`.
    """
    layers = [module for module in model.modules() if isinstance(module, MultiHead)]
    if not layers:
        raise InputError(f"context_parallel needs a model with a regard.nn.MultiHead, {type(model).__name__} has none")
    for layer in layers:
        layer.across = Context(group, setup or Setup())
    return model
