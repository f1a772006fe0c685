"""Every statistic as the kernels find it, and the same from all weights in float64."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

import regard as rg
from regard.engines import native
from regard.engines.native import grouping, single, statistics
from regard.engines.native.levels import RowStatistics
from regard.problem import Problem, pose
from regard.terms.normalize import Softmax

TOP, WITHIN, SIZE = 5, 3, 4
CLASSES = 3


def kinds_of(length: int) -> Tensor:
    """−1 (none), 0, 1 or 2 for every position, in runs of 2."""
    return (torch.arange(length) // 2 * 5 + 2) % (CLASSES + 1) - 1


def chosen_rows(queries: int) -> list[int]:
    return [queries - 1, 0, queries // 2, 0]


def chosen_pairs(queries: int, keys: int) -> Tensor:
    return torch.cartesian_prod(torch.arange(0, queries, 3), torch.arange(0, keys, 5))


def measured(problem: Problem) -> RowStatistics:
    return statistics.measure(problem, top=min(TOP, problem.keys), distance=True, within=WITHIN)


def of_rows(rows: RowStatistics) -> dict[str, Tensor]:
    numbers = {name: getattr(rows, name) for name in ("entropy", "square", "distance", "local")}
    return numbers | {"top": rows.top_weights, "top keys": rows.top_keys}


def found(problem: Problem) -> dict[str, Tensor]:
    """Every statistic by name, as the kernels find it."""
    result: dict[str, Tensor] = {}
    rows = None
    if isinstance(problem.rule.normalize, Softmax):
        rows = measured(problem)
        result = of_rows(rows) | {"lse": rows.lse + rows.rest}
        known, sums = statistics.survey(problem, rows, top=min(TOP, problem.keys), within=WITHIN)
        result |= {f"at once {name}": numbers for name, numbers in of_rows(known).items()}
        result |= {f"at once {name}": getattr(sums, name) for name in ("received", "visible", "distances")}
    kinds = kinds_of(problem.queries), kinds_of(problem.keys)
    spans = (problem.queries // 5, problem.queries), (1, max(1, problem.keys - 1))
    groups = [grouping.share(kinds[1] == 1), grouping.segments(*kinds), grouping.pooled(problem, *spans, SIZE)]
    sums = statistics.collect(problem, rows, received=True, distances=True, groups=groups)
    result |= {"received": sums.received, "visible": sums.visible, "distances": sums.distances}
    result["before"], result["after"] = statistics.profile(problem, sums.distances)
    result["share"] = sums.groups[0].rows[..., 0]
    for name, group in zip(("segments", "pooled"), sums.groups[1:], strict=True):
        result |= {f"{name} {what}": getattr(group, what) for what in ("sum", "greatest", "pairs", "mean")}
    del result["segments greatest"]
    result["rows"] = single.rows(problem, chosen_rows(problem.queries))
    result["entries"] = single.entries(problem, chosen_pairs(problem.queries, problem.keys), rows)
    return result


def expected(problem: Problem, steps: rg.Steps) -> dict[str, Tensor]:
    """The same from all weights."""
    weights, visible = (t.expand(problem.batch, problem.heads, -1, -1) for t in (steps.weights, steps.visible))
    queries, keys = problem.queries, problem.keys
    apart = problem.positions("key")[:, None, :] - problem.positions("query")[:, :, None]  # [batch or 1, queries, keys]
    apart = apart.expand(problem.batch, -1, -1)[:, None]
    result = (
        rows_expected(problem, steps.masked, steps.lse, weights, apart)
        if isinstance(problem.rule.normalize, Softmax)
        else {}
    )
    result |= {"received": weights.sum(2), "visible": visible.sum(2)}
    result["distances"] = torch.stack([weights.diagonal(d, 2, 3).sum(-1) for d in range(1 - queries, keys)], -1)
    if isinstance(problem.rule.normalize, Softmax):
        result |= {f"at once {name}": numbers for name, numbers in result.items() if name != "lse"}
    bins = int(apart.abs().max()).bit_length() + 1
    edges = [0, *(1 << n for n in range(bins))]
    for name, side in (("before", apart <= 0), ("after", apart > 0)):
        inside = [(apart.abs() >= low) & (apart.abs() < high) & side for low, high in pairwise(edges)]
        result[name] = torch.stack([(weights * mask).sum((2, 3)) for mask in inside], -1)
    kinds = kinds_of(queries), kinds_of(keys)
    result["share"] = weights[..., kinds[1] == 1].sum(-1)
    result |= cells("segments", weights, visible, *kinds, *(max(1, int(kind.max()) + 1) for kind in kinds))
    del result["segments greatest"]
    first, last = queries // 5, max(1, keys - 1)
    place = [(torch.arange(n) - low) // SIZE for n, low in ((queries, first), (keys, 1))]
    place[0][:first], place[1][:1], place[1][last:] = -1, -1, -1
    result |= cells("pooled", weights, visible, *place, -(-(queries - first) // SIZE), -(-(last - 1) // SIZE))
    result["rows"] = weights[:, :, chosen_rows(queries)]
    pairs = chosen_pairs(queries, keys)
    result["entries"] = weights[:, :, pairs[:, 0], pairs[:, 1]]
    return result


def rows_expected(problem: Problem, masked: Tensor, lse: Tensor, weights: Tensor, apart: Tensor) -> dict[str, Tensor]:
    sink = torch.as_tensor(-math.inf if problem.sink is None else problem.sink, dtype=torch.float64).reshape(-1, 1)
    scores, order = masked.expand_as(weights).sort(stable=True, dim=-1, descending=True)
    top = min(TOP, weights.shape[-1])
    return {
        "lse": torch.where(lse == -math.inf, lse, torch.logaddexp(lse, sink)),
        "entropy": -torch.xlogy(weights, weights).sum(-1),
        "square": weights.square().sum(-1),
        "distance": (weights * apart.abs()).sum(-1),
        "local": (weights * (apart.abs() <= WITHIN)).sum(-1),
        "top": weights.gather(-1, order)[..., :top],
        "top keys": torch.where(scores == -math.inf, -1, order)[..., :top],
    }


def cells(
    name: str, weights: Tensor, visible: Tensor, query: Tensor, key: Tensor, rows: int, columns: int
) -> dict[str, Tensor]:
    place = (query % (rows + 1))[:, None] * (columns + 1) + key % (columns + 1)  # class −1 comes last

    def folded(pairs: Tensor, how: str) -> Tensor:
        room = torch.zeros(*pairs.shape[:2], (rows + 1) * (columns + 1), dtype=pairs.dtype)
        whole = room.scatter_reduce(2, place.flatten().expand(*pairs.shape[:2], -1), pairs.flatten(2), how)
        return whole.unflatten(2, (rows + 1, columns + 1))[..., :rows, :columns]

    total, pairs = folded(weights, "sum"), folded(visible.long(), "sum")
    return {
        f"{name} sum": total,
        f"{name} greatest": folded(weights, "amax"),
        f"{name} pairs": pairs,
        f"{name} mean": torch.where(pairs == 0, 0, total / pairs),
    }


def close(got: Tensor, want: Tensor, dtype: torch.dtype, name: str) -> None:
    """float64 to 1e-10; float32 to 1e-4 of the number or 1e-5."""
    assert got.shape == want.shape, (name, got.shape, want.shape)
    relative, absolute = (1e-10, 1e-10) if dtype == torch.float64 else (1e-4, 1e-5)
    got, want = got.double(), want.double()
    off = torch.where(got == want, 0, (got - want).abs())
    assert (off <= torch.clamp(relative * want.abs(), min=absolute)).all(), (name, off.max().item())


def scored(query: Tensor, key: Tensor, rule: object, **options: object) -> Problem:
    """The problem of the weights alone: they don't depend on the values."""
    return pose(query, key, key, rule, **options)


def agree(inputs: tuple[Tensor, Tensor], rule: object, dtype: torch.dtype, against: object = None, **starts: object):
    query, key = (t.to(dtype) for t in inputs)
    problem = scored(query, key, rule, **starts)
    assert native.refusal(problem) is None
    steps = rg.steps(query.double(), key.double(), key.double(), rule if against is None else against, **starts)
    wants, gots = expected(problem, steps), found(problem)
    assert gots.keys() == wants.keys()
    for name, got in gots.items():
        if name == "top keys" and dtype != torch.float64:
            continue  # float32 may take nearly equal weights in another order; float64 tells
        close(got, wants[name], dtype, name)
