"""Patterns as sets and as values, for random compositions: laws, canonical forms, pytrees, flex_attention."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pattern_meaning import MEMBERS, SIZE, Case, World, composed, scenes, worlds
from torch.nn.attention.flex_attention import create_mask

from regard.terms import pattern as patterns
from regard.terms.pattern import Bits, Ranges, as_bits, as_ranges, per_batch, per_head
from regard.terms.tree import Term


@settings(max_examples=150)
@given(scenes(count=3, depth=1))
def test_laws_of_sets(scene: tuple[World, Case, Case, Case]) -> None:
    world, *cases = scene
    a, b, c = (case.pattern for case in cases)
    laws = {
        "De Morgan": [(~(a & b), ~a | ~b), (~(a | b), ~a & ~b)],
        "idempotence": [(a & a, a), (a | a, a)],
        "double negation": [(~~a, a)],
        "commutativity": [(a & b, b & a), (a | b, b | a)],
        "distribution": [(a & (b | c), (a & b) | (a & c)), (a | (b & c), (a | b) & (a | c))],
        "nothing and everything": [(a & ~a, ~patterns.everything()), (a | ~a, patterns.everything())],
    }
    for name, equal in laws.items():
        for left, right in equal:
            np.testing.assert_array_equal(world.lowered(left), world.lowered(right), err_msg=name)


@settings(max_examples=60)
@given(st.data(), worlds())
def test_per_head_and_per_batch_distribute(data: st.DataObject, world: World) -> None:
    for per, count in ((per_head, world.heads), (per_batch, world.batch)):
        left = [composed(data.draw, world, 0).pattern for _ in range(count)]
        right = [composed(data.draw, world, 0).pattern for _ in range(count)]
        both = list(zip(left, right, strict=True))
        for apart, together in (
            (per(left) & per(right), per([a & b for a, b in both])),
            (per(left) | per(right), per([a | b for a, b in both])),
            (~per(left), per([~a for a in left])),
        ):
            np.testing.assert_array_equal(world.lowered(apart), world.lowered(together))


def assert_canonical(form: Ranges) -> None:
    row = np.repeat(np.arange(form.rows), np.diff(form.offsets))
    assert form.offsets[0] == 0 and form.offsets[-1] == form.low.size == form.high.size
    assert all(array.dtype == np.int64 for array in (form.offsets, form.low, form.high))
    assert (form.low < form.high).all(), "an empty range"
    assert ((form.low >= form.keys[0]) & (form.high <= form.keys[1])).all(), "a range outside the keys"
    same = row[1:] == row[:-1]
    assert (form.high[:-1] < form.low[1:])[same].all(), "ranges of a row overlap, touch or are out of order"


@settings(max_examples=150)
@given(scenes())
def test_lowered_form_is_canonical_and_answers_alike_as_ranges_and_bits(scene: tuple[World, Case]) -> None:
    world, case = scene
    lists = world.lower(case.pattern)
    assert lists.index.shape[0] in (1, world.batch) and lists.index.shape[1] in (1, world.heads)
    assert set(np.unique(lists.index)) == set(range(len(lists.forms))), "a form that nothing uses"
    for form in lists.forms:
        ranges, bits = as_ranges(form), as_bits(form)
        assert_canonical(ranges)
        assert isinstance(bits, Bits) and form.keys == world.keys and form.rows == world.rows[1] - world.rows[0]
        dense = form.dense(0, form.rows, np.arange(*world.keys))
        assert ranges.pairs == bits.pairs == dense.sum()
        first, last = form.rows // 3, form.rows
        assert ranges.pairs_in(first, last) == bits.pairs_in(first, last) == dense[first:last].sum()
        seen = np.zeros(SIZE + 1, dtype=bool)
        seen[slice(*world.keys)] = dense[first:last].any(axis=0)
        for spans in (ranges.spans(first, last), bits.spans(first, last)):
            shown = np.zeros_like(seen)
            for low, high in spans:
                assert not shown[max(low - 1, 0) : high + 1].any(), "spans touch"
                shown[low:high] = True
            np.testing.assert_array_equal(shown, seen)
    total = world.lowered(case.pattern).sum()
    assert lists.pairs(world.batch, world.heads) == total


@settings(max_examples=100)
@given(scenes(depth=1), st.lists(st.integers(-4, SIZE + 4), unique=True), st.data())
def test_dense_at_any_columns(scene: tuple[World, Case], columns: list[int], data: st.DataObject) -> None:
    world, case = scene
    form = world.lower(case.pattern).form(0, 0)
    first = data.draw(st.integers(0, form.rows))
    last = data.draw(st.integers(first, form.rows))
    columns = sorted(columns)
    wide = np.zeros((form.rows, SIZE + 9), dtype=bool)
    wide[:, world.keys[0] + 4 : world.keys[1] + 4] = form.dense(0, form.rows, np.arange(*world.keys))
    expected = wide[first:last, np.array(columns, dtype=int) + 4]
    for same in (form, as_ranges(form), as_bits(form)):
        np.testing.assert_array_equal(same.dense(first, last, np.array(columns, dtype=np.int64)), expected)


@settings(max_examples=60)
@given(scenes(), st.data())
def test_rows_do_not_depend_on_which_rows_are_asked_for(scene: tuple[World, Case], data: st.DataObject) -> None:
    world, case = scene
    picked = data.draw(st.lists(st.integers(0, max(0, world.rows[1] - world.rows[0] - 1)), unique=True))
    picked = sorted(place for place in picked if place < world.rows[1] - world.rows[0])
    rows = world.rows[0] + np.array(picked, dtype=np.int64)
    lists = case.pattern.lower(rows, world.keys, world.batch, world.heads)
    whole = world.lowered(case.pattern)
    for b, h in itertools.product(range(world.batch), range(world.heads)):
        dense = lists.form(b, h).dense(0, len(picked), np.arange(*world.keys))
        np.testing.assert_array_equal(dense, whole[b, h][picked])


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
def test_allows_is_a_mask_mod_of_flex_attention(member: Callable[[st.DrawFn, World], Case]) -> None:
    """`create_mask` maps over single positions with nested vmaps, as `create_block_mask` does."""
    world = World(2, 3, (0, SIZE), (0, SIZE))

    @settings(max_examples=3)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        pattern = member(data.draw, world).pattern & per_head([patterns.causal()] * 2 + [patterns.everything()])
        mod = lambda b, h, i, j: pattern.allows(i, j, b, h)  # noqa: E731
        mapped = create_mask(mod, world.batch, world.heads, SIZE, SIZE, device="cpu")
        np.testing.assert_array_equal(mapped.numpy(), world.lowered(pattern))

    run()


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
def test_value_and_pytree(member: Callable[[st.DrawFn, World], Case]) -> None:
    @settings(max_examples=10)
    @given(st.data(), worlds())
    def run(data: st.DataObject, world: World) -> None:
        pattern = ~member(data.draw, world).pattern & patterns.causal()
        leaves, spec = torch.utils._pytree.tree_flatten(pattern)
        again = torch.utils._pytree.tree_unflatten(leaves, spec)
        assert isinstance(again, Term) and len(leaves) == len(pattern.leaves()) and repr(again) == repr(pattern)
        np.testing.assert_array_equal(world.lowered(again), world.lowered(pattern))
        assert (again == pattern) is (not leaves) and pattern == pattern
        assert hash(again) == hash(pattern) or leaves
        assert repr(pattern).startswith(f"~{member.__name__}") and repr(pattern).endswith(" & causal")

    run()
