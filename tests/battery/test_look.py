"""Every method of `Look`, for every rule of the battery, against the same from all weights in float64."""

from __future__ import annotations

import math

import pytest
import torch
from covering import all_pairs
from full_weights import close
from members import tensors
from test_battery import AXES, first_query, rule_of
from test_native import LONG
from test_statistics import SINK, inputs_of
from torch import Tensor

import regard as rg
from regard.engines import native
from regard.problem import pose
from regard.terms.normalize import Softmax

WHOLE_ROWS = ("sparsemax", "entmax15", "top_k", "hard")
TOP, SIZE = 3, 4
NEEDLE = [0, 1]


def tokens_of(batch: int, keys: int) -> Tensor:
    """Few tokens, so that most have an earlier duplicate; other ones in every batch entry."""
    return (torch.arange(keys) * 7 + torch.arange(keys) // 5 + torch.arange(batch)[:, None] * 3) % 6


def segments_of(length: int) -> Tensor:
    return torch.arange(length) // 3 % 4 - 1


def corner(length: int) -> tuple[int, int]:
    return length // 5, max(length // 5 + 1, length - 1)


def found(seen: rg.Look, batch: int, queries: int, keys: int) -> dict[str, Tensor | None]:
    top, distance, profile = seen.top(min(TOP, keys)), seen.distance(), seen.pyramid(SIZE)
    segments = seen.segments(segments_of(keys), segments_of(queries))
    corners = corner(queries), corner(keys)
    result = {
        "mass": seen.mass(),
        "entropy": seen.entropy(),
        "effective keys": seen.effective_keys(),
        "maximum": seen.maximum(),
        "top weights": top.weights,
        "top keys": top.keys,
        "top uncovered": top.uncovered,
        "received": seen.received(),
        "received per query": seen.received(per_query=True),
        "before": distance.before,
        "after": distance.after,
        "distance": distance.mean,
        "share": seen.share(torch.arange(keys) % 3 == 1),
        "segments sum": segments.sum,
        "segments pairs": segments.pairs,
        "segments mean": segments.mean,
        "tile mean": seen.tile(*corners, SIZE),
        "tile max": seen.tile(*corners, SIZE, "max"),
        "rows": seen.rows([queries - 1, 0]),
        "needle": seen.needle(queries // 2, NEEDLE[:keys]).mass,
        **{f"pyramid {n}": level for n, level in enumerate(profile)},
        **{f"head {name}": one for name, one in seen.head_scores(tokens_of(batch, keys))._asdict().items()},
    }
    return result


def expected(weights: Tensor, visible: Tensor, apart: Tensor, alone: bool, within: int = 8) -> dict[str, Tensor]:
    """From `[batch, heads, queries, keys]`; apart is j − i in absolute positions, `[batch, queries, keys]`."""
    batch, _, queries, keys = weights.shape
    apart = apart[:, None]
    mass = weights.sum(-1)
    shares = weights / torch.where(mass == 0, 1, mass)[..., None]
    held = shares if alone else weights
    square = shares.square().sum(-1)
    ranked, order = torch.where(visible, weights, -1).sort(dim=-1, descending=True, stable=True)
    ranked, order = ranked[..., :TOP], order[..., :TOP]
    bins = int(apart.abs().max()).bit_length() + 1
    bin_of = torch.where(apart == 0, 0, apart.abs().clamp(min=1).double().log2().floor().long() + 1)
    sides = [[(weights * ((bin_of == n) & side)).sum((2, 3)) for n in range(bins)] for side in (apart <= 0, apart > 0)]
    corners = corner(queries), corner(keys)
    whole = (0, queries), (0, keys)
    levels = [pooled(weights, *whole, SIZE)]
    while max(levels[-1].shape[-2:]) > 1:
        levels.append(coarser(weights, len(levels)))
    segments = classes(weights, segments_of(queries), segments_of(keys))
    pairs = classes(visible.double(), segments_of(queries), segments_of(keys))
    return {
        "mass": mass,
        "entropy": -torch.xlogy(held, held).sum(-1),
        "effective keys": torch.where(square == 0, 0, 1 / square),
        "maximum": weights.amax(-1),
        "top weights": ranked.clamp(min=0),
        "top keys": torch.where(ranked < 0, -1, order),
        "top uncovered": mass - ranked.clamp(min=0).sum(-1),
        "received": weights.sum(2),
        "received per query": weights.sum(2) / visible.sum(2).clamp(min=1),
        "before": torch.stack(sides[0], -1),
        "after": torch.stack(sides[1], -1),
        "distance": (shares * apart.abs()).sum(-1),
        "share": weights[..., torch.arange(keys) % 3 == 1].sum(-1),
        "segments sum": segments,
        "segments pairs": pairs,
        "segments mean": segments / pairs.clamp(min=1),
        "tile mean": pooled(weights, *corners, SIZE),
        "tile max": pooled(weights, *corners, SIZE, "max"),
        "rows": weights[:, :, [queries - 1, 0]],
        "needle": weights[:, :, [queries // 2]][..., NEEDLE[:keys]].sum(-1),
        **{f"pyramid {n}": level for n, level in enumerate(levels)},
        **scores_expected(weights, visible.any(-1), apart[:, 0], tokens_of(batch, keys), within),
    }


def cuts(run: tuple[int, int], size: int) -> list[Tensor]:
    place = torch.arange(*run)
    cells = min(size, len(place))
    return [place[(place - run[0]) * cells // len(place) == n] for n in range(cells)]


def pooled(weights: Tensor, rows: tuple[int, int], columns: tuple[int, int], size: int, pool: str = "mean") -> Tensor:
    return _pools(weights, cuts(rows, size), cuts(columns, size), pool)


def coarser(weights: Tensor, level: int) -> Tensor:
    """The pyramid's cells of 2^level × 2^level finest cells."""
    step = 1 << level

    def joined(length: int) -> list[Tensor]:
        cells = cuts((0, length), SIZE)
        return [torch.cat(cells[n : n + step]) for n in range(0, len(cells), step)]

    return _pools(weights, joined(weights.shape[2]), joined(weights.shape[3]), "mean")


def _pools(weights: Tensor, rows: list[Tensor], columns: list[Tensor], pool: str) -> Tensor:
    of = torch.mean if pool == "mean" else torch.amax
    return torch.stack([torch.stack([of(weights[:, :, r][..., c], (2, 3)) for c in columns], -1) for r in rows], -2)


def classes(pairs: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    counts = [max(1, int(ids.max()) + 1) for ids in (rows, columns)]
    cells = [
        [pairs[:, :, rows == a][..., columns == b].sum((2, 3)) for b in range(counts[1])] for a in range(counts[0])
    ]
    return torch.stack([torch.stack(line, -1) for line in cells], -2)


def scores_expected(weights: Tensor, live: Tensor, apart: Tensor, tokens: Tensor, within: int) -> dict[str, Tensor]:
    batch, heads, queries, keys = weights.shape
    names = ("previous", "next", "same", "duplicate", "induction", "sink")
    total, count = (
        {name: torch.zeros(batch, heads) for name in names},
        {name: torch.zeros(batch, heads) for name in names},
    )
    for b in range(batch):
        for i in range(queries):
            here = -int(apart[b, i, 0])  # key 0 is that far behind
            at = {"previous": here - 1, "next": here + 1, "same": here, "sink": 0}
            if 0 <= here < keys:
                earlier = [j for j in range(here) if tokens[b, j] == tokens[b, here]]
                at |= {"duplicate": earlier[-1], "induction": earlier[-1] + 1} if earlier else {}
            for name, j in at.items():
                if 0 <= j < keys:
                    total[name] = total[name].to(weights)
                    total[name][b] += weights[b, :, i, j]
                    count[name][b] += live[b, :, i]
    result = {f"head {name}": total[name] / count[name].clamp(min=1) for name in names}
    near = (weights * (apart.abs() <= within)[:, None]).sum((2, 3))
    return result | {"head local": near / live.sum(-1).clamp(min=1)}


def agree(inputs, rule, dtype, engine=None, against=None, **starts) -> None:
    query, key = (t.to(dtype) for t in inputs)
    wide, wide_key = query.double(), key.double()
    steps = rg.steps(wide, wide_key, wide_key, rule if against is None else against, seed=7, **starts)
    problem = pose(wide, wide_key, wide_key, rule, seed=7, **starts)
    weights, visible = (t.expand(problem.batch, problem.heads, -1, -1) for t in (steps.weights, steps.visible))
    apart = problem.positions("key")[:, None, :] - problem.positions("query")[:, :, None]
    normalize = problem.rule.normalize
    alone = not isinstance(normalize, Softmax) and normalize.whole_row is None
    wants = expected(weights, visible, apart.expand(problem.batch, -1, -1), alone)
    seen = rg.look(query, key, rule, seed=7, engine=engine, **starts)
    gots = found(seen, problem.batch, problem.queries, problem.keys)
    if isinstance(normalize, Softmax):
        gots["lse"] = seen.lse
        sink = torch.as_tensor(-math.inf if problem.sink is None else problem.sink, dtype=torch.float64)
        full = torch.logaddexp(steps.lse, sink.reshape(-1, 1))
        wants["lse"] = torch.where(steps.lse == -math.inf, steps.lse, full)
    assert gots.keys() == wants.keys()
    for name, got in gots.items():
        want = wants[name]
        if name == "top keys" and dtype != torch.float64:
            continue  # float32 may take nearly equal weights in another order; float64 tells
        if alone and dtype != torch.float64 and name in ("entropy", "effective keys", "distance"):
            got, want = (
                torch.where(wants["mass"] > 1e-3, t, 0) for t in (got, want)
            )  # float32 holds no shares of less
        close(got, want, dtype, name)


@pytest.mark.parametrize(
    "engine, dtype",
    [(None, torch.float64), (None, torch.float32), ("tiled", torch.float64)],
    ids=["best-float64", "best-float32", "tiled-float64"],
)
@pytest.mark.parametrize("row", all_pairs(AXES), ids=lambda row: "-".join(part or "·" for part in row))
def test_pairs_of_terms(row, engine, dtype):
    rule, start = rule_of(*row), first_query(row[1])
    if dtype == torch.float32 and row[3] in WHOLE_ROWS:
        dtype = torch.float64  # which keys they keep is not continuous: rounding may choose others
    agree(tensors()[:2], rule, dtype, engine, query_start=start)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("engine", [None, "tiled"], ids=["best", "tiled"])
@pytest.mark.parametrize("name", ["causal", "documents", "random", "heads", "lengths"])
def test_over_many_blocks(name, engine, dtype):
    agree(inputs_of(331, 331), rg.Rule(pattern=LONG[name], normalize=SINK), dtype, engine)


@pytest.mark.parametrize("engine", [None, "tiled"], ids=["best", "tiled"])
@pytest.mark.parametrize("normalize", [SINK, rg.sigmoid(), rg.relu()], ids=repr)
def test_offsets_of_each_batch_entry(normalize, engine):
    rule = rg.Rule(pattern=rg.causal() & rg.window(41), bias=rg.alibi(), normalize=normalize)
    starts = {"query_start": torch.tensor([90, 7]), "key_start": torch.tensor([5, 0])}
    agree(inputs_of(67, 131), rule, torch.float64, engine, **starts)


@pytest.mark.parametrize("queries, keys", [(1, 1), (63, 64), (129, 2), (3, 257)])
def test_lengths(queries, keys):
    for engine in (None, "tiled"):
        agree(inputs_of(queries, keys, 5, 2, 1, 1), None, torch.float32, engine)


@pytest.mark.parametrize(
    "rule, other",
    [
        (rg.Rule(normalize=SINK), rg.Rule()),
        (rg.Rule(pattern=rg.causal()), rg.Rule()),
        (rg.Rule(bias=rg.alibi()), rg.Rule()),
        (rg.Rule(rg.dot(0.5)), rg.Rule(rg.dot(0.5002))),
        (rg.Rule(normalize=rg.relu()), rg.Rule(normalize=rg.relu(1, 1.001))),
    ],
    ids=["sink", "pattern", "bias", "scale", "divide"],
)
def test_the_comparison_can_fail(rule, other):
    agree(inputs_of(67, 71), rule, torch.float32)
    with pytest.raises(AssertionError):
        agree(inputs_of(67, 71), rule, torch.float32, against=other)


def test_kernels_and_tiles_share_the_work():
    """Softmax by the kernels alone, sigmoid by both, all else by tiles: nobody else can."""
    query, key = inputs_of(13, 17)
    said = {
        repr(normalize): repr(rg.look(query, key, normalize)).rpartition("by ")[2]
        for normalize in (rg.softmax(), rg.sigmoid(), rg.relu(), rg.sparsemax())
    }
    assert list(said.values()) == ["native)", "tiled (rows) and native)", "tiled)", "tiled)"]
    assert native.refusal(pose(query, key, key, rg.relu()))
