"""What a head does: its weights on the key before, after, at the query, on its duplicate, and after that."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.looking.asking import local_keys
from regard.problem import Problem

__all__ = ["means", "targets", "totals"]


def targets(problem: Problem, sink: int, tokens: Tensor | None, forgotten: int = 0) -> Tensor:
    """The keys to look at, `[batch or 1, queries, 4 or 6]`; −1 where there is no such key.

    previous, next, same, sink; with tokens, duplicate and induction

    Args:
        problem: whose queries.
        sink: which key is the sink.
        tokens: of the keys, `[batch or 1, forgotten + keys]`.
        forgotten: how many keys came before the first that is there (a sliding cache); they are counted, too.
    """
    here, length = local_keys(problem) + forgotten, problem.keys + forgotten
    found = [here - 1, here + 1, here, torch.full_like(here, sink)]
    if tokens is not None:
        earlier = _earlier(tokens)
        entries = max(len(earlier), len(here))
        here = here.expand(entries, -1)
        there = (here >= 0) & (here < length)
        same = earlier.expand(entries, -1).gather(1, here.clamp(0, length - 1))
        same = torch.where(there, same, -1)
        found = [*(one.expand(entries, -1) for one in found), same, torch.where(same < 0, -1, same + 1)]
    keys = torch.stack(found, -1)
    return torch.where((keys >= 0) & (keys < length), keys, -1)


def means(weights: Tensor, keys: Tensor, live: Tensor) -> Tensor:
    """`[batch, heads, queries, n]` → `[batch, heads, n]`: over the rows that see anything and whose key exists.

    Args:
        weights: 0 where the key does not exist.
        keys: by `targets`.
        live: `[batch, heads, queries]`, True for rows that see any key.
    """
    total, counted = totals(weights, keys, live)
    return total / counted.clamp(min=1)


def totals(weights: Tensor, keys: Tensor, live: Tensor) -> tuple[Tensor, Tensor]:
    """The sums over these rows, and how many rows that is, `[batch, heads, n]` each; arguments as of `means`."""
    counted = live[..., None] & (keys >= 0)[:, None].to(live.device)
    return (weights * counted).sum(2), counted.sum(2)


def _earlier(tokens: Tensor) -> Tensor:
    """The last earlier key with the same token, −1 where there is none; `[batch or 1, keys]`."""
    order = tokens.argsort(dim=-1, stable=True)
    in_order = tokens.gather(-1, order)
    before = torch.full_like(order, -1)
    before[:, 1:] = torch.where(in_order[:, 1:] == in_order[:, :-1], order[:, :-1], -1)
    return torch.empty_like(order).scatter_(-1, order, before)
