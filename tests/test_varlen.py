"""`regard.varlen`: many sequences packed into one give what each of them gives alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import regard as rg

RULES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "causal": rg.causal,
    "window": lambda: rg.window(before=2, after=1),
    "causal window": lambda: rg.causal() & rg.window(3),
    "prefix": lambda: rg.causal() | rg.prefix(2),
    "sink": lambda: rg.Rule(pattern=rg.causal(), normalize=rg.softmax(sink=0.5)),
    "sigmoid": lambda: rg.Rule(pattern=rg.window(3), normalize=rg.sigmoid(-1)),
    "sparsemax": lambda: rg.Rule(pattern=rg.causal(), normalize=rg.sparsemax()),
    "gaussian": lambda: rg.Rule(rg.gaussian(2.0), rg.causal()),
}

BY_DISTANCE: dict[str, Callable[[], Any]] = {
    "alibi": rg.alibi,
    "relative": lambda: rg.relative(3 * torch.randn(6, 7, dtype=torch.float64)),
    "t5": lambda: rg.t5(3 * torch.randn(6, 8, dtype=torch.float64), max_distance=13),
}


def offsets(lengths: list[int]) -> list[int]:
    return [0, *torch.tensor(lengths, dtype=torch.int64).cumsum(0).tolist()]


def tensors(queries: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two entries, six query heads on two key heads; scores have a standard deviation of 3."""
    query = 3 * torch.randn(2, 6, queries, 5, dtype=torch.float64)
    return query, torch.randn(2, 2, keys, 5, dtype=torch.float64), torch.randn(2, 2, keys, 7, dtype=torch.float64)


def one_by_one(query: Tensor, key: Tensor, value: Tensor, rows: list[int], columns: list[int], rule: Any) -> Tensor:
    made = []
    for (first, last), (low, high) in zip(pairwise(rows), pairwise(columns), strict=True):
        made.append(rg.attend(query[:, :, first:last], key[:, :, low:high], value[:, :, low:high], rule))
    return torch.cat(made, 2)


lengths = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 13)), min_size=1, max_size=5)


@settings(max_examples=60)
@given(lengths, st.sampled_from(list(RULES)), st.integers(0, 2**31))
def test_equals_a_loop(pairs: list[tuple[int, int]], name: str, seed: int) -> None:
    torch.manual_seed(seed)
    rule = RULES[name]()
    rows, columns = (offsets([pair[side] for pair in pairs]) for side in (0, 1))
    query, key, value = tensors(rows[-1], columns[-1])
    packed = rg.varlen(query, key, value, rows, columns, rule)
    torch.testing.assert_close(packed, one_by_one(query, key, value, rows, columns, rule), rtol=1e-12, atol=1e-12)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 13), min_size=1, max_size=5), st.sampled_from([*RULES, *BY_DISTANCE]))
def test_equal_lengths_need_one_list(sizes: list[int], name: str) -> None:
    torch.manual_seed(0)
    rule = {**RULES, **BY_DISTANCE}[name]()
    rows = offsets(sizes)
    query, key, value = tensors(rows[-1], rows[-1])
    packed = rg.varlen(query, key, value, torch.tensor(rows, dtype=torch.int32), rule=rule)
    torch.testing.assert_close(packed, one_by_one(query, key, value, rows, rows, rule), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_gradients_equal_the_loops(name: str) -> None:
    rule, rows, columns = RULES[name](), offsets([3, 0, 7, 5]), offsets([5, 2, 3, 11])
    inputs = [t.requires_grad_() for t in tensors(rows[-1], columns[-1])]
    results = [rg.varlen(*inputs, rows, columns, rule), one_by_one(*inputs, rows, columns, rule)]
    upstream = torch.randn_like(results[0])
    ours, wanted = (torch.autograd.grad(out, inputs, upstream) for out in results)
    for a, b in zip(ours, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)
    assert (ours[1][:, :, 5:7] == 0).all(), "keys of a sequence without queries get no gradient"


@pytest.mark.parametrize("name", BY_DISTANCE)
def test_the_gradient_of_a_bias_sums_over_sequences(name: str) -> None:
    rule, rows = BY_DISTANCE[name](), offsets([3, 0, 7, 5])
    leaves = [leaf.requires_grad_() for leaf in rule.leaves()]
    query, key, value = tensors(rows[-1], rows[-1])
    results = [rg.varlen(query, key, value, rows, rule=rule), one_by_one(query, key, value, rows, rows, rule)]
    upstream = torch.randn_like(results[0])
    if not leaves:
        return
    ours, wanted = (torch.autograd.grad(out, leaves, upstream) for out in results)
    for a, b in zip(ours, wanted, strict=True):
        assert a.abs().max() > 0.1
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_the_comparison_can_fail() -> None:
    """Attention across sequences, or causal from the first query on, is far from what varlen gives."""
    rows, columns = offsets([3, 7, 5]), offsets([5, 11, 2])
    query, key, value = tensors(rows[-1], columns[-1])
    packed = rg.varlen(query, key, value, rows, columns, rg.causal())
    assert (packed - rg.attend(query, key, value, rg.causal())).abs().max() > 0.1
    top_left = [
        rg.attend(query[:, :, a:b], key[:, :, c:d], value[:, :, c:d], rg.causal(), query_start=0)
        for (a, b), (c, d) in zip(pairwise(rows), pairwise(columns), strict=True)
    ]
    assert (packed - torch.cat(top_left, 2)).abs().max() > 0.1


def test_by_hand() -> None:
    """Equal scores, v_j = j, causal: each row is the mean of the keys of its own sequence up to its own place."""
    query, key, value = torch.zeros(5, 3), torch.zeros(7, 3), torch.arange(7.0)[:, None]
    out = rg.varlen(query, key, value, [0, 2, 2, 5], [0, 3, 4, 7], rg.causal())
    #                     keys 0 1 | 0 1 2 | sequence without queries | 4 | 4 5 | 4 5 6
    torch.testing.assert_close(out.flatten(), torch.tensor([0.5, 1.0, 4.0, 4.5, 5.0]))


def test_without_a_rule_a_sequence_is_dense() -> None:
    query, key, value = torch.zeros(5, 3), torch.zeros(5, 3), torch.arange(5.0)[:, None]
    out = rg.varlen(query, key, value, [0, 2, 5])
    torch.testing.assert_close(out.flatten(), torch.tensor([0.5, 0.5, 3.0, 3.0, 3.0]))


def test_a_sequence_without_keys_gives_zero() -> None:
    query, key, value = tensors(5, 7)
    out = rg.varlen(query, key, value, [0, 2, 5], [0, 0, 7])
    assert (out[:, :, :2] == 0).all() and (out[:, :, 2:] != 0).all()


def test_no_sequence_at_all() -> None:
    query, key, value = tensors(0, 0)
    assert rg.varlen(query, key, value, [0]).shape == (2, 6, 0, 7)
    assert rg.varlen(query, key, value, [0, 0, 0], rule=rg.causal()).shape == (2, 6, 0, 7)


def test_jagged_tensors_pass_values_and_offsets() -> None:
    """A jagged batch `[sequences, (length), heads, dim]` keeps positions first; varlen wants them last but one."""
    sizes = [3, 7, 2]
    parts = [[torch.randn(n, 5, 11, dtype=torch.float64) for n in sizes] for _ in range(3)]
    query, key, value = (torch.nested.nested_tensor(p, layout=torch.jagged) for p in parts)
    out = rg.varlen(*(t.values().transpose(0, 1) for t in (query, key, value)), query.offsets(), rule=rg.causal())
    again = torch.nested.nested_tensor_from_jagged(out.transpose(0, 1), query.offsets())
    for n, one in enumerate(again.unbind()):
        alone = rg.attend(*(p[n].transpose(0, 1) for p in parts), rg.causal())
        torch.testing.assert_close(one.transpose(0, 1), alone, rtol=1e-12, atol=1e-12)


def test_nan_stays_in_its_sequence() -> None:
    rows = offsets([3, 7, 5])
    query, key, value = tensors(15, 15)
    clean = rg.varlen(query, key, value, rows)
    key[:, :, 5], value[:, :, 6] = float("nan"), float("inf")
    dirty = rg.varlen(query, key, value, rows)
    kept = [*range(3), *range(10, 15)]
    assert torch.equal(clean[:, :, kept], dirty[:, :, kept])
    assert dirty[:, :, 3:10].isnan().all()


def test_dropout_depends_on_the_place_in_the_packing() -> None:
    query, key, value = tensors(11, 11)
    first = rg.varlen(query, key, value, [0, 4, 11], dropout=0.5, seed=3)
    assert torch.equal(first, rg.varlen(query, key, value, [0, 4, 11], dropout=0.5, seed=3))
    assert not torch.equal(first, rg.varlen(query, key, value, [0, 4, 11], dropout=0.5, seed=4))


def test_an_engine_by_name() -> None:
    query, key, value = tensors(11, 11)
    made = [rg.varlen(query, key, value, [0, 4, 11], rule=rg.causal(), engine=name) for name in ("tiled", "reference")]
    torch.testing.assert_close(made[0], made[1], rtol=1e-12, atol=1e-12)
    with pytest.raises(rg.EngineError, match="normalizer is softmax"):
        rg.varlen(query, key, value, [0, 4, 11], rule=rg.sigmoid(), engine="flex")


Q, K, V = torch.zeros(3, 11, 5), torch.zeros(3, 13, 5), torch.zeros(3, 13, 7)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((Q, K, V, [0, 11]), ["11 queries and 13 keys", "key_offsets"]),
        ((Q, K, V, [0, 7, 2, 11], [0, 1, 2, 13]), ["query_offsets must rise from 0 to 11", "[0, 7, 2, 11]"]),
        ((Q, K, V, [1, 11], [0, 13]), ["query_offsets must rise from 0 to 11", "[1, 11]"]),
        ((Q, K, V, [0, 11], [0, 12]), ["key_offsets must rise from 0 to 13", "[0, 12]"]),
        ((Q, K, V, [], [0, 13]), ["query_offsets must rise from 0", "[]"]),
        ((Q, K, V, list(range(30)), [0, 13]), ["query_offsets must rise", "…"]),
        ((Q, K, V, [0, 5, 11], [0, 13]), ["query_offsets tell of 2 sequences", "key_offsets of 1"]),
        ((Q, K, V, torch.tensor([0.0, 11.0]), [0, 13]), ["query_offsets", "integers", "got torch.float32"]),
        ((Q, K, V, torch.tensor([[0, 11]]), [0, 13]), ["query_offsets", "one axis", "[1, 2]"]),
        ((Q, K, V, torch.tensor([False, True]), [0, 13]), ["query_offsets", "integers", "torch.bool"]),
        ((Q, K, V, torch.tensor([0, 11], device="meta"), [0, 13]), ["query_offsets", "meta device"]),
        ((Q, K, V, 11, [0, 13]), ["query_offsets", "cumulative lengths", "shape []"]),
        ((Q, K, V, [0, 11], rg.causal()), ["key_offsets", "cumulative lengths", "got Causal"]),
        ((Q, K, V, [0, 11], [0, 13], torch.ones(11, 13)), ["rule must be a regard.Rule", "got Tensor", "regard.mask"]),
        ((Q, K, V, [0, 5, 11], [0, 5, 13], rg.alibi()), ["alibi()", "positions across the packing"]),
        ((Q[0, 0], K, V, [0, 5], [0, 13]), ["query must be [..., heads, positions, dim]", "[5]"]),
        (([0.0], K, V, [0, 1], [0, 13]), ["query must be a torch.Tensor", "got list"]),
        ((Q, K, V[:, :11], [0, 11], [0, 13]), ["key and value need as many positions", "13 and 11"]),
    ],
)
def test_bad_input(arguments: tuple[Any, ...], says: list[str]) -> None:
    with pytest.raises(rg.InputError) as caught:
        rg.varlen(*arguments)
    assert all(part in str(caught.value) for part in says), caught.value


def test_packed_rows_count_from_their_own_start_unless_told():
    """The queries are the last ones of their own packing: all five, or its last three."""
    query, key, value = torch.randn(2, 5, 3), torch.randn(2, 11, 3), torch.randn(2, 11, 7)
    pattern = rg.packed([3, 2], [4, 7])
    whole = rg.attend(query, key, value, pattern)
    torch.testing.assert_close(whole, rg.attend(query, key, value, pattern, query_start=0), rtol=0, atol=0)
    torch.testing.assert_close(rg.attend(query[:, 2:], key, value, pattern), whole[:, 2:])
    torch.testing.assert_close(whole[:, 3:], rg.attend(query[:, 3:], key[:, 4:], value[:, 4:], rg.causal()))


@pytest.mark.parametrize("same", [True, False])
def test_jagged_nested_tensors(same: bool) -> None:
    """As the docstring says: values and offsets in, a nested tensor out; gradients flow."""

    def jagged(lengths: list[int], heads: int, dim: int) -> Tensor:
        rows = [torch.randn(n, heads, dim, dtype=torch.float64) for n in lengths]
        return torch.nested.nested_tensor(rows, layout=torch.jagged, requires_grad=True)

    query, keys = jagged([5, 0, 7], 6, 3), [5, 0, 7] if same else [11, 2, 7]
    key, value = jagged(keys, 2, 3), jagged(keys, 2, 5)
    offsets = () if same else (key.offsets(),)
    packed = (t.values().transpose(0, 1) for t in (query, key, value))
    out = rg.varlen(*packed, query.offsets(), *offsets, rule=rg.causal())
    nested = torch.nested.nested_tensor_from_jagged(out.transpose(0, 1), query.offsets())
    alone = [
        rg.attend(*(t.transpose(0, 1) for t in row), rg.causal()).transpose(0, 1)
        for row in zip(query.unbind(), key.unbind(), value.unbind(), strict=True)
    ]
    for got, want in zip(nested.unbind(), alone, strict=True):
        torch.testing.assert_close(got, want)
    found = torch.autograd.grad(nested.values().sin().sum(), (query, key, value))
    wanted = torch.autograd.grad(torch.cat(alone).sin().sum(), (query, key, value))
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got.values(), want.values())
