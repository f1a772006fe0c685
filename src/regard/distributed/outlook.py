"""What an attention over several ranks will cost, before it is computed: plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import fill

import torch
from torch import Tensor

from regard.distributed.asked import Asked
from regard.distributed.calls import begin, received
from regard.distributed.peers import Group, Peers
from regard.distributed.setup import Setup
from regard.rule import Rule
from regard.terms.tree import Term

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Plan:
    """What an attention over several ranks will cost.

    Args:
        rule: the rule, as it prints.
        layout: how keys and values get to the queries: ring, all-gather or ulysses.
        reasons: for the other layouts, why not.
        seconds: of the forward pass by the cost model, by layout; of the slowest rank, ∞ where it can't be.
        pairs: visible pairs of every rank's queries, over batch and heads.
        bytes: that every rank sends in the forward pass.
        keys: how many keys every rank receives, of `length`.
        length: of all keys.
    """

    rule: str
    layout: str
    reasons: Mapping[str, str]
    seconds: Mapping[str, float]
    pairs: tuple[int, ...]
    bytes: tuple[int, ...]
    keys: tuple[int, ...]
    length: int

    @property
    def balance(self) -> float:
        """The mean rank's pairs as a share of the busiest one's: 1 where all work as much."""
        return sum(self.pairs) / (len(self.pairs) * max(self.pairs)) if any(self.pairs) else 1.0

    def __str__(self) -> str:
        known = ", ".join(f"{name} {1000 * cost:.3g} ms" for name, cost in self.seconds.items() if cost < float("inf"))
        lines = [
            self.rule,
            f"  layout   {self.layout} over {len(self.pairs)} ranks; by the cost model: {known}",
            f"  pairs    {sum(self.pairs):,}; balance {self.balance:.1%}",
            f"  sent     {_span(self.bytes)} bytes a rank, forward",
            f"  received {_span(self.keys)} of {self.length:,} keys a rank",
            *(f"  not {name:<9} {why}" for name, why in self.reasons.items()),
        ]
        return "\n".join(fill(line, 80, subsequent_indent=" " * 16, break_on_hyphens=False) for line in lines)


def plan(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rule: Rule | Term | None = None,
    *,
    group: Group = None,
    query_start: int | None = None,
    dropout: float = 0.0,
    setup: Setup | None = None,
) -> Plan:
    """Say how `attend` would compute this: layout, bytes sent, balance. Every rank calls it and gets the same.

    Args: as in `attend`.

    Errors: those of `attend`.
    """
    peers = Peers(group)
    call = begin(peers, Asked("plan", (query, key, value), rule, query_start, dropout, 0, setup or Setup()))
    row = torch.tensor([sum(call.needs.pairs), call.sent(), received(call.needs, peers.rank)])
    pairs, sent, keys = peers.gathered(row, "what all ranks plan").T.tolist()
    return Plan(
        rule=repr(call.rule),
        layout=call.layout,
        reasons=call.reasons,
        seconds={name: max(of_ranks) for name, of_ranks in call.costs.items()},
        pairs=tuple(pairs),
        bytes=tuple(sent),
        keys=tuple(keys),
        length=call.shard.keys.length,
    )


def _span(numbers: tuple[int, ...]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
