"""One attention over several ranks, before its numbers: agreed upon, every rank's needs known, the layout chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from regard.distributed.agreement import Brought, agreed, likewise
from regard.distributed.asked import Asked
from regard.distributed.cost import LAYOUTS, Work, seconds
from regard.distributed.peers import Messages, Peers
from regard.distributed.shards import found
from regard.distributed.ulysses import unfit
from regard.engines.ring import MOST, Needs, Run, Shard, Sharding, needs_of, seen
from regard.errors import InputError, RegardError
from regard.problem import Problem
from regard.rule import Rule
from regard.terms.normalize import Softmax

__all__ = ["Call", "begin", "received"]

HEAD = 2 + len(LAYOUTS)
"""What stands before the runs of keys in what a rank tells another: failure, keys needed in all, costs."""


@dataclass(frozen=True)
class Call:
    """One attention over several ranks, agreed upon.

    Args:
        peers: the ranks.
        asked: what this rank's user asked for, settled.
        shard: what this rank brings.
        queries: where all queries stand, from 0.
        needs: what this rank needs of the others.
        wanted: by rank, what it needs of this one.
        costs: seconds of the forward pass by layout, by rank; ∞ where it can't be.
        few: whether every rank needs no more keys of the others than it has itself.
        layout: the one that is used.
        reasons: why not the others.
    """

    peers: Peers
    asked: Asked
    shard: Shard
    queries: Sharding
    needs: Needs
    wanted: tuple[tuple[Run, ...], ...]
    costs: Mapping[str, tuple[float, ...]]
    few: bool
    layout: str
    reasons: Mapping[str, str]

    @property
    def rule(self) -> Rule:
        """As the user gave it."""
        assert isinstance(self.asked.rule, Rule)
        return self.asked.rule

    @cached_property
    def frame(self) -> Problem:
        """The rule and the shapes, without rows; its sink is the user's."""
        return self.asked.frame()

    def messages(self) -> Messages:
        """Between the ranks, counted from 0."""
        return Messages(self.peers, self.shard.key)

    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Steps whose keys come together: few keys at once, behind the rank's own; many owner by owner."""
        steps = tuple(range(self.peers.size))
        if self.layout == "all-gather":
            return (steps,)
        if self.few:
            return (steps[:1], steps[1:]) if len(steps) > 1 else (steps,)
        return tuple((step,) for step in steps)

    def sent(self) -> int:
        """Bytes that this rank sends in a forward pass."""
        if self.layout == "ulysses":
            return turned(self.shard, self.peers.size)
        others = [runs for rank, runs in enumerate(self.wanted) if rank != self.peers.rank]
        return sum(self.shard.count(runs) for runs in others) * self.shard.key.element_size()


def begin(peers: Peers, asked: Asked) -> Call:
    """Agree, tell one another what is needed, choose the layout; the same errors and the same choice on every rank."""
    settled: list[Asked] = []

    def bring() -> Brought:
        settled.append(asked.settled())
        return settled[0].brought()

    rows = agreed(peers, bring)
    queries, keys, seeds = zip(*(row[:3] for row in rows), strict=True)
    of_queries = found(list(queries), settled[0].setup.sharding, "query")
    of_keys = found(list(keys), settled[0].setup.sharding, "key")
    mine = settled[0].placed(of_queries.length, of_keys.length, seeds[0])
    return _chosen(peers, mine, _sharded(mine, peers.rank, of_queries, of_keys), of_queries)


def _sharded(asked: Asked, rank: int, queries: Sharding, keys: Sharding) -> Shard:
    rule, start = asked.rule, asked.query_start
    assert isinstance(rule, Rule)
    assert start is not None
    assert asked.seed is not None
    bare = replace(rule, normalize=Softmax()) if isinstance(rule.normalize, Softmax) else rule
    runs = tuple((first + start, end + start) for first, end in queries.runs[rank])
    return Shard(*asked.tensors, bare, runs, keys, rank, asked.dropout, asked.seed)


def _chosen(peers: Peers, asked: Asked, shard: Shard, queries: Sharding) -> Call:
    """Every rank's needs and costs, exchanged; what goes wrong on one rank is an error on all."""
    failure, costs, needs = None, dict.fromkeys(LAYOUTS, math.inf), None
    reasons: dict[str, str] = {}
    try:
        frames = [shard.frame(run) for run in range(len(shard.queries))]
        needs = needs_of([seen(frame) for frame in frames], shard.keys)
        reasons = _unfit(shard, asked, frames)
        known = seconds(_work(shard, needs, peers.size), asked.setup.machine)
        costs = {name: math.inf if name in reasons else known[name] for name in LAYOUTS}
    except RegardError as error:
        failure = error
    room = MOST * max((len(runs) for runs in shard.keys.runs), default=1)
    rows = torch.full((peers.size, HEAD + 2 * room), -1, dtype=torch.int64)
    rows[:, 0] = int(failure is not None)
    rows[:, 1] = received(needs, peers.rank)
    rows[:, 2:HEAD] = torch.tensor([_nanoseconds(cost) for cost in costs.values()])
    for rank, runs in enumerate(needs.travel if needs else ()):
        flat = torch.tensor([edge for run in runs for edge in run], dtype=torch.int64)
        rows[rank, HEAD:][: len(flat)] = flat
    told = peers.transposed(rows, "what all ranks need").tolist()
    likewise(peers, failure, [bool(row[0]) for row in told])
    assert needs is not None
    wanted = tuple(_runs(row[HEAD:]) for row in told)
    by_rank = {name: tuple(_back(row[2 + n]) for row in told) for n, name in enumerate(LAYOUTS)}
    layout, reasons = _cheapest(by_rank, reasons, asked.setup.layout)
    few = all(row[1] * peers.size <= shard.keys.length for row in told)
    return Call(peers, asked, shard, queries, needs, wanted, by_rank, few, layout, reasons)


def received(needs: Needs | None, rank: int) -> int:
    """How many keys a rank gets from the others."""
    return sum(b - a for n, runs in enumerate(needs.travel if needs else ()) if n != rank for a, b in runs)


def _cheapest(
    costs: Mapping[str, tuple[float, ...]], unfit: Mapping[str, str], named: str | None
) -> tuple[str, dict[str, str]]:
    """The layout and why not the others; InputError where the named one can't be."""
    slowest = {name: max(of_ranks) for name, of_ranks in costs.items()}
    other = {name: "it can't be on another rank" for name, cost in slowest.items() if cost == math.inf}
    unfit = {**other, **unfit}
    if named is not None and named in unfit:
        raise InputError(f"layout={named!r} can't be: {unfit[named]}; layout=None picks one that can")
    best = named or min(LAYOUTS, key=lambda name: slowest[name])
    reasons = {
        name: unfit.get(name) or (
            f"{best} was asked for" if named else
            f"{1000 * slowest[name]:.3g} ms by the cost model, {best} {1000 * slowest[best]:.3g} ms"
        )
        for name in LAYOUTS if name != best
    }  # fmt: skip
    return best, reasons


def _unfit(shard: Shard, asked: Asked, frames: list[Problem]) -> dict[str, str]:
    reasons = {}
    gathered = shard.count([(0, shard.keys.length)]) * shard.key.element_size()
    if gathered > asked.setup.machine.room and asked.setup.layout != "all-gather":
        reasons["all-gather"] = (
            f"gathered keys and values would take {gathered:,} bytes, "
            f"the machine has room for {asked.setup.machine.room:,}"
        )
    why = unfit(shard, frames)
    return reasons if why is None else {**reasons, "ulysses": why}


def _work(shard: Shard, needs: Needs, size: int) -> Work:
    """A run's visible pairs are spread over its parts as these have keys."""
    each = 2 * (shard.query.shape[-1] + shard.value.shape[-1])
    flops, calls = [0.0] * size, [0] * size
    for run, pairs in enumerate(needs.pairs):
        keys = [sum(b - a for a, b in needs.own[run][(shard.rank - step) % size]) for step in range(size)]
        for step in range(size):
            flops[step] += each * pairs * keys[step] / max(1, sum(keys))
            calls[step] += len(needs.own[run][(shard.rank - step) % size])
    width = shard.key.element_size()
    come = [shard.count(needs.travel[(shard.rank - step) % size]) * width if step else 0 for step in range(size)]
    share = sum(flops)  # of all heads on this rank's rows, as of this rank's heads on all rows where work is balanced
    return Work(flops, calls, come, turned(shard, size), share)


def turned(shard: Shard, size: int) -> int:
    """Bytes that a rank sends in Ulysses' all-to-alls: of query, key, value and output all heads but its own."""
    query, value = shard.query, shard.value
    numbers = sum(t.numel() for t in (query, shard.key, value)) + query[..., :1].numel() * value.shape[-1]
    return numbers * (size - 1) // size * query.element_size()


def _nanoseconds(cost: float) -> int:
    return -1 if cost == math.inf else min(int(1e9 * cost), 2**62)


def _back(nanoseconds: int) -> float:
    return math.inf if nanoseconds < 0 else nanoseconds / 1e9


def _runs(flat: list[int]) -> tuple[Run, ...]:
    return tuple((a, b) for a, b in zip(flat[::2], flat[1::2], strict=True) if a >= 0)
