"""Statistics of the weights, found without the weights, against the same from all of them in float64."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from covering import all_pairs
from members import numbers, tensors
from test_battery import AXES, first_query, rule_of
from test_native import ISAS, LONG, passes_under
from torch import Tensor

import regard as rg
from regard.engines import native
from regard.engines.native import grouping, statistics
from regard.engines.native.statistics import RowStatistics
from regard.problem import Problem, pose
from regard.terms.normalize import Softmax
from test_memory import MEGABYTE, linux, peak

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


def found(problem: Problem) -> dict[str, Tensor]:
    """Every statistic by name, as the kernels find it."""
    result: dict[str, Tensor] = {}
    rows = None
    if isinstance(problem.rule.normalize, Softmax):
        rows = measured(problem)
        result = {name: getattr(rows, name) for name in ("entropy", "square", "distance", "local")}
        result |= {"lse": rows.lse + rows.rest, "top": rows.top_weights, "top keys": rows.top_keys}
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
    result["rows"] = statistics.rows(problem, chosen_rows(problem.queries))
    result["entries"] = statistics.entries(problem, chosen_pairs(problem.queries, problem.keys), rows)
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


def agree(inputs: tuple[Tensor, Tensor], rule: object, dtype: torch.dtype, against: object = None, **starts: object):
    query, key = (t.to(dtype) for t in inputs)
    problem = pose(query, key, None, rule, **starts)
    assert native.refusal(problem) is None
    steps = rg.steps(query.double(), key.double(), key.double(), rule if against is None else against, **starts)
    wants, gots = expected(problem, steps), found(problem)
    assert gots.keys() == wants.keys()
    for name, got in gots.items():
        if name == "top keys" and dtype != torch.float64:
            continue  # float32 may take nearly equal weights in another order; float64 tells
        close(got, wants[name], dtype, name)


PAIRS = [row for row in all_pairs(AXES) if row[3] in ("", "softmax", "sigmoid") and row[0] != "additive"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("row", PAIRS, ids=lambda row: "-".join(part or "·" for part in row))
def test_pairs_of_terms(row, dtype):
    agree(tensors()[:2], rule_of(*row), dtype, query_start=first_query(row[1]))


@pytest.mark.parametrize("row", all_pairs(AXES), ids=lambda row: "-".join(part or "·" for part in row))
def test_what_is_left_out_is_refused(row):
    rule = rule_of(*row)
    problem = pose(*tensors()[:2], None, rule, query_start=first_query(row[1]), seed=7)
    if row not in PAIRS:
        assert native.refusal(problem)
        with pytest.raises(rg.EngineError, match="can't look at these weights"):
            statistics.collect(problem, measured_as_nothing(problem), received=True)
    if not isinstance(rule.normalize, Softmax):
        with pytest.raises(rg.EngineError, match="has not"):
            statistics.measure(problem)


def measured_as_nothing(problem: Problem) -> RowStatistics:
    lse = torch.zeros(problem.batch, problem.heads, problem.queries, dtype=problem.accumulate)
    return RowStatistics(lse, lse)


def inputs_of(queries: int, keys: int, dim: int = 17, heads: int = 6, kv_heads: int = 3, batch: int = 2):
    return numbers(batch, heads, queries, dim, seed=1, scale=3), numbers(batch, kv_heads, keys, dim, seed=2)


SINK = rg.softmax(numbers(6, seed=8))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("queries", [331, 65, 1])
@pytest.mark.parametrize("name", ["everything", "causal", "documents", "random", "few", "heads", "lengths"])
def test_over_many_blocks(name, queries, dtype):
    agree(inputs_of(queries, 331), rg.Rule(pattern=LONG[name], normalize=SINK), dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("queries, keys", [(1, 1), (63, 64), (64, 65), (129, 2), (3, 257), (1031, 67)])
def test_lengths(queries, keys, dtype):
    agree(inputs_of(queries, keys, 5, 2, 1, 1), None, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("bias", [None, rg.alibi()], ids=["plain", "alibi"])
def test_offsets_of_each_batch_entry(bias, dtype):
    rule = rg.Rule(pattern=rg.causal() & rg.window(41), bias=bias, normalize=SINK)
    starts = {"query_start": torch.tensor([90, 7]), "key_start": torch.tensor([5, 0])}
    agree(inputs_of(67, 131), rule, dtype, **starts)


@pytest.mark.parametrize("scale", [-0.3, 0.0])
def test_scales_that_turn_the_order(scale):
    agree(inputs_of(67, 131), rg.Rule(rg.dot(scale), rg.causal()), torch.float64)


def test_sinks_that_leave_nothing_or_take_nothing():
    for logit in (1000.0, -1000.0):
        agree(inputs_of(67, 71), rg.Rule(normalize=rg.softmax(torch.full((6,), logit))), torch.float64)


def test_strided_inputs():
    query, key = inputs_of(67, 131)
    wide = torch.full((*key.shape[:-1], 2 * key.shape[-1]), math.nan, dtype=key.dtype)
    wide[..., ::2] = key
    agree((query.mT.contiguous().mT, wide[..., ::2]), rg.causal(), torch.float64)


@pytest.mark.parametrize(
    "rule, other",
    [
        (rg.Rule(normalize=SINK), rg.Rule()),
        (rg.Rule(pattern=rg.causal()), rg.Rule()),
        (rg.Rule(bias=rg.alibi()), rg.Rule()),
        (rg.Rule(rg.softcap(rg.dot(), 2.0)), rg.Rule()),
        (rg.Rule(rg.dot(0.5)), rg.Rule(rg.dot(0.5002))),
    ],
    ids=["sink", "pattern", "bias", "cap", "scale"],
)
def test_the_comparison_can_fail(rule, other):
    with pytest.raises(AssertionError):
        agree(inputs_of(67, 71), rule, torch.float32, against=other)


def test_ties_go_to_the_lower_key_and_missing_keys_are_none():
    key = torch.zeros(1, 70, 3)
    key[:, 66] = 1
    rows = statistics.measure(pose(torch.ones(1, 2, 3), key, None, rg.mask(torch.arange(70) % 2 == 0)), top=4)
    assert rows.top_keys.tolist() == [[[[66, 0, 2, 4]] * 2]]
    few = statistics.measure(pose(torch.ones(1, 2, 3), key, None, rg.prefix(2)), top=4)
    assert few.top_keys.tolist() == [[[[0, 1, -1, -1]] * 2]]
    assert few.top_weights.tolist() == [[[[0.5, 0.5, 0.0, 0.0]] * 2]]


def test_by_hand():
    """Two keys of equal weight: entropy ln 2, two effective keys, each receives half of every row."""
    problem = pose(torch.ones(1, 3, 2), torch.ones(1, 2, 2), None, None, query_start=0)
    rows = statistics.measure(problem, distance=True)
    torch.testing.assert_close(rows.entropy, torch.full((1, 1, 3), math.log(2)))
    torch.testing.assert_close(rows.effective_keys, torch.full((1, 1, 3), 2.0))
    torch.testing.assert_close(rows.distance, torch.tensor([[[0.5, 0.5, 1.5]]]))
    sums = statistics.collect(problem, rows, received=True, distances=True)
    torch.testing.assert_close(sums.received, torch.full((1, 1, 2), 1.5))
    assert sums.visible.tolist() == [[[3, 3]]]
    before, after = statistics.profile(problem, sums.distances)
    torch.testing.assert_close(before, torch.tensor([[[1.0, 1.0, 0.5]]]))
    torch.testing.assert_close(after, torch.tensor([[[0.0, 0.5, 0.0]]]))


def test_the_greatest_64_of_many_and_no_more():
    problem = pose(*inputs_of(67, 331), None, rg.causal())
    weights = rg.weights(*inputs_of(67, 331), rg.causal())
    close(statistics.measure(problem, top=64).top_weights, weights.topk(64).values, torch.float64, "top")
    with pytest.raises(rg.InputError, match="top must be 0 to 64, got 65"):
        statistics.measure(problem, top=65)


def test_some_heads_rows_and_columns():
    inputs = inputs_of(331, 257)
    problem, weights = pose(*inputs, None, rg.causal()), rg.weights(*inputs, rg.causal())
    some = weights[:, [4, 1]]
    hidden = torch.ones_like(some, dtype=torch.bool)
    hidden[:, :, 70:301, 65:202] = False
    sums = statistics.collect(
        problem,
        received=True,
        distances=True,
        heads=[4, 1],
        rows=(70, 301),
        columns=(65, 202),
        groups=[grouping.share(torch.ones(257, dtype=torch.bool))],
    )
    some = some.masked_fill(hidden, 0)
    close(sums.received, some.sum(2), torch.float64, "received")
    close(sums.distances[..., 330 + 5], some.diagonal(5, 2, 3).sum(-1), torch.float64, "distances")
    close(sums.groups[0].rows[..., 0], some.sum(-1), torch.float64, "share")


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [0, 1])
def test_poison_goes_where_it_is_seen_and_nowhere_else(poison, where):
    inputs = [t.float() for t in inputs_of(67, 71)]
    inputs[where][0, 0, 37, 2] = poison
    weights = rg.weights(*inputs, rg.causal())
    problem = pose(*inputs, None, rg.causal())
    rows = statistics.measure(problem, top=2, distance=True)
    sums = statistics.collect(problem, rows, received=True, groups=[grouping.share(torch.arange(71) < 40)])
    sick = weights.isnan() & (torch.arange(71) <= torch.arange(67)[:, None] + 4)
    assert 0 < sick.sum() < 5000
    for statistic in (rows.lse, rows.entropy, rows.square, rows.distance, rows.top_weights[..., 0]):
        assert torch.equal(statistic.isnan(), sick.any(-1))
    assert torch.equal(sums.received.isnan(), sick.any(2))
    assert torch.equal(sums.groups[0].rows[..., 0].isnan(), sick[..., :40].any(-1))
    assert torch.equal(statistics.rows(problem, range(67)).isnan(), sick)
    assert torch.equal(
        statistics.entries(problem, torch.tensor([[37, 41], [37, 40], [36, 41]]), rows).isnan(),
        sick[:, :, [37, 37, 36], [41, 40, 41]],
    )


def test_the_same_bits_for_any_threads_and_any_other_heads():
    query, key = (t.float() for t in inputs_of(1031, 331))
    problem, alone = pose(query, key, None, rg.causal()), pose(query[1:, 2:4], key[1:, 1:2], None, rg.causal())
    before = torch.get_num_threads()
    try:
        results = []
        for threads, asked in ((1, problem), (2, problem), (3, problem), (2, problem), (2, alone)):
            torch.set_num_threads(threads)
            results.append(found(asked))
    finally:
        torch.set_num_threads(before)
    for name, one in results[0].items():
        assert all(torch.equal(one, other[name]) for other in results[1:-1]), name
        assert torch.equal(one[1:, 2:4], results[-1][name]), name


@pytest.mark.parametrize(
    "ask, said",
    [
        (lambda p: statistics.measure(p, within=-1), "within must be a distance"),
        (lambda p: statistics.rows(p, [13]), "rows must be 0…12, got 13…13"),
        (lambda p: statistics.entries(p, torch.tensor([[0, 17]])), "keys must be 0…16, got 17…17"),
        (lambda p: statistics.entries(p, torch.tensor([0, 1])), r"\[pairs, 2\]"),
        (lambda p: statistics.collect(p, heads=[6]), "heads must be 0…5"),
        (lambda p: statistics.collect(p, rows=(3, 14)), "rows must be a span within 0…13, got 3…14"),
        (lambda p: statistics.collect(p, groups=[grouping.share(torch.ones(16))]), r"classes of keys must be \[17\]"),
        (
            lambda p: statistics.collect(p, groups=[grouping.Grouping(torch.arange(17), 16)]),
            "classes of keys must be −1 .none. or 0…15, got 0…16",
        ),
        (lambda p: statistics.collect(p, measured(pose(*inputs_of(13, 17, batch=1), None, None))), "same problem"),
        (lambda p: grouping.pooled(p, (0, 13), (0, 17), 0), "size must be ≥ 1"),
    ],
)
def test_bad_requests_reach_no_kernel(ask, said):
    with pytest.raises(rg.InputError, match=said):
        ask(pose(*tensors()[:2], None, None))


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set(isa):
    passes_under(isa, __file__, "test_lengths or offsets or same_bits or greatest_64 or ties or poison")


MANY = """
from regard.problem import pose
from regard.engines.native import grouping, statistics
def run(n):
    problem = pose(torch.randn(1, n, 16), torch.randn(1, n, 16), None, rg.causal())
    rows = statistics.measure(problem, top=8, distance=True, within=64)
    groups = [grouping.share(torch.arange(n) < 4), grouping.pooled(problem, (0, n), (0, n), n // 64)]
    statistics.collect(problem, rows, received=True, distances=True, groups=groups)
    statistics.rows(problem, [n // 3])
def warm(): run(257)
def work(): run(16384)
"""


@linux
def test_bytes_grow_with_length():
    """The square alone would be 1 GiB in float32."""
    assert peak(MANY) < 60 * MEGABYTE


@linux
def test_the_count_can_fail():
    assert peak(MANY.replace("work(): run(16384)", "work(): torch.ones(8192, 8192)")) > 200 * MEGABYTE
