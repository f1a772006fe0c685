"""Weights added up over the rows of all ranks, their log-sum-exp known; each key's sums go home to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from regard.distributed.levels import Levels
from regard.engines.native import grouping, refusal, statistics
from regard.engines.native.levels import RowStatistics
from regard.engines.ring import Exchange, Held, Home, Round, Run
from regard.looking import heads, passes
from regard.problem import Problem
from regard.terms.normalize import NOTHING

__all__ = ["Weighed", "weighed"]


@dataclass(frozen=True)
class Weighed:
    """Sums of weights.

    Args:
        received: `Σ_i w_ij` of the rank's own keys, `[batch, heads, local keys]`.
        visible: how many rows see them.
        before: mass by distance, `[batch, heads, bins]`, of this rank's rows.
        after: the same of keys after the query.
        shares: the mass on sets of keys, `[batch, heads, local queries]` each.
        scores: `[batch, heads, 4]`, of this rank's rows: weights on the key before, after, at the query, on key 0.
        counted: over how many rows.
    """

    received: Tensor
    visible: Tensor
    before: Tensor
    after: Tensor
    shares: tuple[Tensor, ...]
    scores: Tensor
    counted: Tensor


def weighed(round: Round, home_by: Exchange, levels: Levels, sets: list[Tensor]) -> tuple[Weighed, str]:
    """One round of the keys; and why it means nothing, where the kernels can't look at some part.

    Args:
        round: between the ranks.
        home_by: takes the sums home, in the dtype of accumulation.
        levels: of this rank's rows, all keys and the sink in them.
        sets: of keys, bool `[keys]` each.
    """
    shard, frame = round.shard, round.shard.frame(None)
    room = torch.zeros(frame.batch, frame.heads, shard.key.shape[-2], 1, dtype=frame.accumulate)
    homeward = replace(round, shard=replace(shard, key=room, value=room), exchange=home_by)
    mine = homeward.shard.own(shard.keys.runs[shard.rank]).zeros(room.dtype)
    home, sums, refused = Home(homeward, mine), _empty(round, levels, len(sets)), ""
    for steps, held in round.stages():
        rooms = tuple(room.new_zeros(*room.shape[:2], end - first, 1) for first, end in held.runs)
        back = Held(held.runs, rooms, tuple(torch.zeros_like(t) for t in rooms))
        for run in range(len(shard.queries)):
            for keys in round.needs.of(run, [round.before(step) for step in steps]):
                problem, rows = shard.part(run, keys, held), shard.rows(run)
                refused = refused or refusal(problem) or ""
                if not refused:
                    _add(sums, back, (problem, rows, keys), levels.rows(rows), sets)
        home.send(steps, back)
    home.arrive()
    for place, parts in (("received", mine.keys), ("visible", mine.values)):
        sums[place] = torch.cat([room[:, :, :0, 0], *(part[..., 0] for part in parts)], -1)
    shares = tuple(sums.pop(f"share {n}") for n in range(len(sets)))
    return Weighed(shares=shares, **sums), refused


def _empty(round: Round, levels: Levels, sets: int) -> dict[str, Tensor]:
    shard = round.shard
    batch, count, rows = levels.full.shape
    ends = [abs(position - key) for q in shard.queries for position in q for key in (0, shard.keys.length)]
    bins = max([shard.keys.length, *ends]).bit_length() + 1
    zeros = torch.zeros(batch, count, bins, dtype=torch.float64)
    live = levels.full != NOTHING
    found = {"before": zeros, "after": zeros.clone(), "scores": zeros.new_zeros(batch, count, 4)}
    counted = torch.zeros(batch, count, 4, dtype=torch.float64)
    for run, (first, end) in enumerate(shard.queries):
        targets = _targets(torch.arange(first, end), (0, shard.keys.length))
        counted += heads.totals(torch.zeros(batch, count, end - first, 4), targets, live[..., shard.rows(run)])[1]
    return {**found, "counted": counted} | {
        f"share {n}": torch.zeros(batch, count, rows, dtype=torch.float64) for n in range(sets)
    }


def _add(
    sums: dict[str, Tensor], back: Held, place: tuple[Problem, slice, Run], levels: Levels, sets: list[Tensor]
) -> None:
    """Add one part."""
    problem, rows, keys = place
    full = levels.full.to(problem.accumulate)
    known = RowStatistics(full, torch.where(full == NOTHING, 0, levels.full - full.double()).to(full))
    groups = [grouping.share(keys_in[keys[0] : keys[1]]) for keys_in in sets]
    found = statistics.collect(problem, known, received=True, distances=True, groups=groups)
    assert found.received is not None
    assert found.visible is not None
    assert found.distances is not None
    back.add(keys, found.received[..., None], found.visible[..., None].to(found.received))
    for name, part in zip(("before", "after"), statistics.profile(problem, found.distances), strict=True):
        own = sums[name].shape[-1]
        sums[name] += pad(part, (0, max(0, own - part.shape[-1])))[..., :own]
    for n, group in enumerate(found.groups):
        assert group.rows is not None
        sums[f"share {n}"][..., rows] += group.rows[..., 0]
    at = _targets(problem.positions("query")[0], keys)
    measured = passes.Rows(full, *(full,) * 5, top=None, levels=known)  # type: ignore[arg-type]
    sums["scores"] += passes.given(problem, True, measured, at).double().sum(2)


def _targets(query: Tensor, keys: Run) -> Tensor:
    """The keys before, after, at the queries, and key 0, `[1, queries, 4]`, from the first of `keys` on; −1: none."""
    found = torch.stack((query - 1, query + 1, query, torch.zeros_like(query)), -1) - keys[0]
    return torch.where((found >= 0) & (found < keys[1] - keys[0]), found, -1)[None]
