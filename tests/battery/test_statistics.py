"""Statistics of the weights, found without the weights, against the same from all of them in float64."""

from __future__ import annotations

import math

import pytest
import torch
from covering import all_pairs
from full_weights import agree, close, found, measured, scored
from members import numbers, tensors
from test_battery import AXES, first_query, rule_of
from test_native import ISAS, LONG, passes_under

import regard as rg
from regard.engines import native
from regard.engines.native import grouping, single, statistics
from regard.engines.native.levels import RowStatistics
from regard.problem import Problem
from regard.terms.normalize import Softmax
from test_memory import MEGABYTE, linux, peak

PAIRS = [row for row in all_pairs(AXES) if row[3] in ("", "softmax", "sigmoid") and row[0] != "additive"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("row", PAIRS, ids=lambda row: "-".join(part or "·" for part in row))
def test_pairs_of_terms(row, dtype):
    agree(tensors()[:2], rule_of(*row), dtype, query_start=first_query(row[1]))


@pytest.mark.parametrize("row", all_pairs(AXES), ids=lambda row: "-".join(part or "·" for part in row))
def test_what_is_left_out_is_refused(row):
    rule = rule_of(*row)
    problem = scored(*tensors()[:2], rule, query_start=first_query(row[1]), seed=7)
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
    rows = statistics.measure(scored(torch.ones(1, 2, 3), key, rg.mask(torch.arange(70) % 2 == 0)), top=4)
    assert rows.top_keys.tolist() == [[[[66, 0, 2, 4]] * 2]]
    few = statistics.measure(scored(torch.ones(1, 2, 3), key, rg.prefix(2)), top=4)
    assert few.top_keys.tolist() == [[[[0, 1, -1, -1]] * 2]]
    assert few.top_weights.tolist() == [[[[0.5, 0.5, 0.0, 0.0]] * 2]]


def test_by_hand():
    """Two keys of equal weight: entropy ln 2, two effective keys, each receives half of every row."""
    problem = scored(torch.ones(1, 3, 2), torch.ones(1, 2, 2), None, query_start=0)
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
    problem = scored(*inputs_of(67, 331), rg.causal())
    weights = rg.weights(*inputs_of(67, 331), rg.causal())
    close(statistics.measure(problem, top=64).top_weights, weights.topk(64).values, torch.float64, "top")
    with pytest.raises(rg.InputError, match="top must be 0 to 64, got 65"):
        statistics.measure(problem, top=65)


def test_some_heads_rows_and_columns():
    inputs = inputs_of(331, 257)
    problem, weights = scored(*inputs, rg.causal()), rg.weights(*inputs, rg.causal())
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
    problem = scored(*inputs, rg.causal())
    rows = statistics.measure(problem, top=2, distance=True)
    sums = statistics.collect(problem, rows, received=True, groups=[grouping.share(torch.arange(71) < 40)])
    sick = weights.isnan() & (torch.arange(71) <= torch.arange(67)[:, None] + 4)
    assert 0 < sick.sum() < 5000
    for statistic in (rows.lse, rows.entropy, rows.square, rows.distance, rows.top_weights[..., 0]):
        assert torch.equal(statistic.isnan(), sick.any(-1))
    assert torch.equal(sums.received.isnan(), sick.any(2))
    assert torch.equal(sums.groups[0].rows[..., 0].isnan(), sick[..., :40].any(-1))
    assert torch.equal(single.rows(problem, range(67)).isnan(), sick)
    assert torch.equal(
        single.entries(problem, torch.tensor([[37, 41], [37, 40], [36, 41]]), rows).isnan(),
        sick[:, :, [37, 37, 36], [41, 40, 41]],
    )


def test_the_same_bits_for_any_threads_and_any_other_heads():
    query, key = (t.float() for t in inputs_of(1031, 331))
    problem, alone = scored(query, key, rg.causal()), scored(query[1:, 2:4], key[1:, 1:2], rg.causal())
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


def test_each_batch_entry_has_its_own_pairs_and_key_minus_one_weighs_nothing():
    query, key = inputs_of(13, 17)
    pairs = torch.tensor([[[12, 3], [7, -1], [0, 4]], [[2, 5], [12, 16], [9, 1]]])
    found = single.entries(scored(query, key, rg.causal()), pairs)
    weights = rg.weights(query, key, rg.causal())
    for entry, own in enumerate(pairs):
        right = weights[entry][:, own[:, 0], own[:, 1]] * (own[:, 1] >= 0)
        torch.testing.assert_close(found[entry], right)
    with pytest.raises(rg.InputError, match="pairs are of 3 batch entries, of which there are 2"):
        single.entries(scored(query, key, rg.causal()), pairs[:1].expand(3, -1, -1))


@pytest.mark.parametrize(
    "ask, said",
    [
        (lambda p: statistics.measure(p, within=-1), "within must be a distance"),
        (lambda p: single.rows(p, [13]), "rows must be 0…12, got 13…13"),
        (lambda p: single.entries(p, torch.tensor([[0, 17]])), "keys must be -1…16, got 17…17"),
        (lambda p: single.entries(p, torch.tensor([0, 1])), r"\[pairs, 2\]"),
        (lambda p: statistics.collect(p, heads=[6]), "heads must be 0…5"),
        (lambda p: statistics.collect(p, rows=(3, 14)), "rows must be a span within 0…13, got 3…14"),
        (lambda p: statistics.collect(p, groups=[grouping.share(torch.ones(16))]), r"classes of keys must be \[17\]"),
        (
            lambda p: statistics.collect(p, groups=[grouping.Grouping(torch.arange(17), 16)]),
            "classes of keys must be −1 .none. or 0…15, got 0…16",
        ),
        (lambda p: statistics.collect(p, measured(scored(*inputs_of(13, 17, batch=1), None))), "same problem"),
        (lambda p: grouping.pooled(p, (0, 13), (0, 17), 0), "size must be ≥ 1"),
    ],
)
def test_bad_requests_reach_no_kernel(ask, said):
    with pytest.raises(rg.InputError, match=said):
        ask(scored(*tensors()[:2], None))


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set(isa):
    passes_under(isa, __file__, "test_lengths or offsets or same_bits or greatest_64 or ties or poison")


MANY = """
from regard.problem import pose
from regard.engines.native import grouping, single, statistics
def run(n):
    query, key = torch.randn(2, 1, n, 16)
    problem = pose(query, key, key, rg.causal())
    rows = statistics.measure(problem, top=8, distance=True, within=64)
    groups = [grouping.share(torch.arange(n) < 4), grouping.pooled(problem, (0, n), (0, n), n // 64)]
    statistics.collect(problem, rows, received=True, distances=True, groups=groups)
    single.rows(problem, [n // 3])
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
