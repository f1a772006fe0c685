"""The two passes over the scores that give every statistic: by the kernels where they can, else tile by tile.

`rows` is what each row of weights says by itself; `sums` adds weights up over rows; `both` needs one pass where lse is
known. They take O(N) memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from regard.engines.native import single, statistics
from regard.engines.native.grouping import Grouped, Grouping
from regard.engines.native.levels import RowStatistics
from regard.engines.native.statistics import MOST_TOP
from regard.looking import columns
from regard.looking.columns import HALF, Seen, added_up
from regard.looking.results import Top
from regard.problem import Problem
from regard.terms.normalize import NOTHING, Softmax, visible_share

__all__ = ["Rows", "Sums", "both", "given", "rows", "sums"]


@dataclass(frozen=True)
class Rows:
    """What each row of weights says by itself, `[batch, heads, queries]`; all 0 in a row that sees no key.

    Args:
        lse: logarithm of the denominator, the sink in it, −∞ in a row that sees no key; None where there is none.
        mass: `Σ_j w_ij`.
        entropy: `−Σ_j p_ij log p_ij`, p the weights; for `sigmoid` and `relu` the weights over their mass.
        effective: `1 / Σ_j s_ij²`, s the weights over their mass.
        distance: `Σ_j s_ij |i − j|`.
        local: `Σ_{|i − j| ≤ within} w_ij`.
        top: the greatest weights, `[batch, heads, queries, top]`, their keys, and the sum of all other weights.
        levels: what the kernels found, for their second pass.
    """

    lse: Tensor | None
    mass: Tensor
    entropy: Tensor
    effective: Tensor
    distance: Tensor
    local: Tensor
    top: Top
    levels: RowStatistics | None = None


@dataclass(frozen=True)
class Sums:
    """Weights added up over rows; None is what was not asked for.

    `received [batch, heads, keys]` and `visible`, how many rows see the key; `before` and `after`, mass by distance in
    logarithmic bins, `[batch, heads, bins]`; `groups` in the order in which they were asked for.
    """

    received: Tensor | None
    visible: Tensor | None
    before: Tensor | None
    after: Tensor | None
    groups: tuple[Grouped, ...]


def rows(problem: Problem, kernels: bool, top: int, within: int) -> Rows:
    """The pass over rows.

    Args:
        problem: whose weights.
        kernels: whether the kernels take what they can: softmax, and up to 64 of the greatest weights.
        top: how many of the greatest weights.
        within: the distance up to which mass is local.
    """
    if not (kernels and isinstance(problem.rule.normalize, Softmax) and top <= MOST_TOP):
        return _tiled_rows(problem, top, within)
    whole = replace(problem, rule=replace(problem.rule, normalize=Softmax()))
    found = statistics.measure(whole, top=top, distance=True, within=within)
    return _sunk(problem, found)


def sums(
    problem: Problem,
    kernels: bool,
    measured: Rows | None,
    groups: Sequence[Grouping] = (),
    *,
    over_rows: bool = False,
    spans: tuple[tuple[int, int] | None, tuple[int, int] | None] = (None, None),
    heads: Sequence[int] | None = None,
) -> Sums:
    """The pass that adds up.

    Args:
        problem: whose weights.
        kernels: whether the kernels do it.
        measured: by `rows`; its lse saves the kernels a pass.
        groups: which classes of queries and keys.
        over_rows: whether `received` and the distances are wanted.
        spans: rows and columns outside of which no group has a class; the kernels skip what is outside.
        heads: which query heads, None for all; the kernels skip the others.
    """
    if not kernels:
        found_tiled = _tiled_sums(problem, groups, over_rows)
        return found_tiled if heads is None else _of_heads(found_tiled, list(heads))
    levels = None if measured is None else measured.levels
    found = statistics.collect(
        problem,
        levels,
        received=over_rows,
        distances=over_rows,
        groups=groups,
        heads=heads,
        rows=spans[0],
        columns=spans[1],
    )
    return _profiled(problem, found)


def both(problem: Problem, kernels: bool, lse: Tensor | None, top: int, within: int) -> tuple[Rows, Sums]:
    """All that rows say and what is summed over them.

    Args:
        problem: whose weights.
        kernels: as in `rows`.
        lse: of every row, `[batch, heads, queries]`, where the forward pass has found it: then the kernels need one
            pass. Not where there is a sink, whose share is taken from what rows say without it.
        top: as in `rows`.
        within: as in `rows`.
    """
    one_pass = kernels and isinstance(problem.rule.normalize, Softmax) and problem.sink is None and top <= MOST_TOP
    if lse is None or not one_pass:
        measured = rows(problem, kernels, top, within)
        return measured, sums(problem, kernels, measured, over_rows=True)
    lse = lse.to(problem.accumulate).contiguous()
    found, summed = statistics.survey(problem, RowStatistics(lse, torch.zeros_like(lse)), top=top, within=within)
    return _sunk(problem, found), _profiled(problem, summed)


def given(problem: Problem, kernels: bool, measured: Rows | None, keys: Tensor) -> Tensor:
    """The weights of each row at keys of its own, `[batch, heads, queries, n]`; 0 for key −1.

    O(dim) for each by the kernels, which take softmax and sigmoid; else a pass over the tiles.

    Args:
        problem: whose weights.
        kernels: whether the kernels do it.
        measured: by `rows`.
        keys: local, `[batch or 1, queries, n]`.
    """
    if not kernels:
        return added_up(problem, [columns.given(problem, keys)])[0][0]
    rows = torch.arange(problem.queries)[:, None].expand_as(keys)
    levels = None if measured is None else measured.levels
    found = single.entries(problem, torch.stack((rows, keys), -1).flatten(1, 2), levels)
    return found.reshape(*found.shape[:2], *keys.shape[1:])


def _profiled(problem: Problem, found: statistics.Sums) -> Sums:
    if found.distances is None:
        return Sums(None, None, None, None, found.groups)
    return Sums(found.received, found.visible, *statistics.profile(problem, found.distances), found.groups)


def _sunk(problem: Problem, found: RowStatistics) -> Rows:
    """What the kernels found without the sink, the sink's share m taken afterwards, so that a great one rounds nothing.

    w = (1 − m) p: `−Σ w log w = (1 − m) (H − log(1 − m))`, `log(exp(sink) + exp(lse))`; what is over the mass stays.
    """
    lse = found.lse.double() + torch.where(found.rest.isnan(), 0, found.rest)
    full, mass = lse, torch.where(lse == NOTHING, 0, lse - lse + 1)
    if problem.sink is not None:
        sink = torch.as_tensor(problem.sink, dtype=torch.float64)
        mass = visible_share(lse, sink)
        full = torch.where(lse == NOTHING, NOTHING, torch.logaddexp(lse, sink.reshape(-1, 1)))
    assert found.entropy is not None
    assert found.effective_keys is not None
    assert found.distance is not None
    assert found.local is not None
    assert found.top_weights is not None
    assert found.top_keys is not None
    uncovered = (1 - found.top_weights.double().sum(-1)).clamp(min=0)
    first = full.to(found.lse)
    return Rows(
        lse=first,
        mass=mass.to(first),
        entropy=(mass * found.entropy - torch.xlogy(mass, mass)).to(first),
        effective=found.effective_keys,
        distance=found.distance,
        local=(mass * found.local).to(first),
        top=Top((mass[..., None] * found.top_weights).to(first), found.top_keys, (mass * uncovered).to(first)),
        levels=RowStatistics(first, torch.where(first == NOTHING, 0, full - first).to(first)),
    )


def _tiled_rows(problem: Problem, top: int, within: int) -> Rows:
    softmax = isinstance(problem.rule.normalize, Softmax)
    alone = not softmax and problem.rule.normalize.whole_row is None

    def entropy(seen: Seen) -> Tensor:
        held = seen.shares if alone else seen.weights
        held = torch.where(held == 0, 1, held)  # 0 · log 0 is 0, and so is its gradient
        return -(held * held.log()).sum(-1)

    def effective(seen: Seen) -> Tensor:
        square = seen.shares.square().sum(-1)
        return torch.where(square == 0, 0, 1 / torch.where(square == 0, 1, square))

    asked = [
        columns.row(problem, lambda seen: seen.weights.sum(-1)),
        columns.row(problem, entropy),
        columns.row(problem, effective),
        columns.row(problem, lambda seen: (seen.shares * seen.apart.abs()).sum(-1)),
        columns.row(problem, lambda seen: torch.where(seen.apart.abs() <= within, seen.weights, 0).sum(-1)),
        columns.top(problem, top),
        *([columns.levels(problem)] if softmax else []),
    ]
    (mass,), (spread,), (keys_in_use,), (distance,), (local,), held, *lse = added_up(problem, asked)
    greatest, high, low, rest = held
    keys = high.detach().long() * HALF + low.detach().long() - 1
    return Rows(lse[0][0] if lse else None, mass, spread, keys_in_use, distance, local, Top(greatest, keys, rest))


def _tiled_sums(problem: Problem, groups: Sequence[Grouping], over_rows: bool) -> Sums:
    groups = [_with_batch(group) for group in groups]
    whole = [columns.received(problem), columns.profile(problem)] if over_rows else []
    found = added_up(problem, [*whole, *(columns.cells(problem, group) for group in groups)])
    pooled = tuple(_grouped(group, parts) for group, parts in zip(groups, found[len(whole) :], strict=True))
    if not over_rows:
        return Sums(None, None, None, None, pooled)
    count = columns.bins(problem)
    (received, visible), (profile,) = found[0], found[1]
    return Sums(received, visible.detach().long(), profile[..., :count], profile[..., count:], pooled)


def _of_heads(sums: Sums, heads: list[int]) -> Sums:
    def some(numbers: Tensor | None) -> Tensor | None:
        return None if numbers is None else numbers[:, heads]

    groups = tuple(Grouped(*(some(one) for one in (g.rows, g.sum, g.greatest, g.pairs))) for g in sums.groups)
    return Sums(some(sums.received), some(sums.visible), some(sums.before), some(sums.after), groups)


def _with_batch(group: Grouping) -> Grouping:
    """The grouping with a batch axis on both of its classes."""
    keys, queries = (None if ids is None else ids.reshape(-1, ids.shape[-1]) for ids in (group.keys, group.queries))
    assert keys is not None
    return Grouping(keys, group.key_classes, queries, group.query_classes, group.greatest)


def _grouped(group: Grouping, parts: tuple[Tensor, ...]) -> Grouped:
    if group.queries is None:
        return Grouped(parts[0], None, None, None)
    return Grouped(None, parts[0], parts[2] if group.greatest else None, parts[1].detach().long())
