"""The two forms of a lowered pattern: what they hold, what they cost, and that large ones are made in small pieces."""

from __future__ import annotations

import tracemalloc

import numpy as np
import torch

from regard.terms.pattern import (
    Bits,
    Form,
    Lists,
    Pattern,
    Ranges,
    as_bits,
    as_ranges,
    causal,
    compact,
    complement,
    documents,
    edges,
    everything,
    global_tokens,
    intersect,
    mask,
    neighborhood,
    padding,
    strided,
    unite,
    window,
)
from regard.terms.pattern.build import single, take, triples

MILLION = 1_000_000


def lowered(pattern: Pattern, queries: int, keys: int | None = None) -> Form:
    return pattern.lower(np.arange(queries), (0, queries if keys is None else keys), 1, 1).form(0, 0)


def listed(form: Form) -> list[list[tuple[int, int]]]:
    ranges = as_ranges(form)
    pairs = list(zip(ranges.low.tolist(), ranges.high.tolist(), strict=True))
    return [pairs[first:last] for first, last in zip(ranges.offsets[:-1], ranges.offsets[1:], strict=True)]


def array(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_single_clips_and_drops() -> None:
    form = single(array(-3, 2, 9, 5, 4), array(1, 4, 12, 5, 99), (0, 8))
    assert listed(form) == [[(0, 1)], [(2, 4)], [], [], [(4, 8)]]
    assert form.rows == 5 and form.pairs == 7 and form.nbytes == 8 * (6 + 3 + 3)


def test_triples_sort_merge_clip_and_drop() -> None:
    row, low, high = array(2, 0, 0, 0, 2, 2, 2), array(7, 5, 1, 3, 11, 14, 6), array(9, 6, 3, 4, 99, 14, 8)
    assert listed(triples(row, low, high, 4, (2, 13))) == [[(2, 4), (5, 6)], [], [(6, 9), (11, 13)], []]
    assert listed(triples(array(), array(), array(), 2, (0, 0))) == [[], []]


def test_take_repeats_and_skips_rows() -> None:
    form = triples(array(0, 0, 2), array(0, 4, 1), array(2, 5, 3), 3, (0, 6))
    for same in (form, as_bits(form)):
        assert listed(take(same, array(2, 0, 1, 0))) == [[(1, 3)], [(0, 2), (4, 5)], [], [(0, 2), (4, 5)]]


def test_bits_hold_the_highest_bit_first_and_zeros_after_the_last_key() -> None:
    form = as_bits(triples(array(0, 1), array(3, 11), array(5, 13), 2, (3, 13)))
    assert form.words.tolist() == [[0b11000000, 0], [0, 0b11000000]]
    assert complement(form).words.tolist() == [[0b00111111, 0b11000000], [0b11111111, 0]]


def test_compact_takes_the_smaller() -> None:
    wide = lowered(causal(), 300)
    assert isinstance(wide, Ranges) and wide.nbytes == 8 * 301 + 16 * 300
    assert compact(wide) is wide and as_bits(wide).nbytes == 300 * 38
    assert isinstance(compact(as_bits(wide)), Ranges)
    narrow = lowered(causal(), 100)
    assert isinstance(compact(narrow), Bits) and compact(narrow).nbytes == 100 * 13 < narrow.nbytes
    noise = torch.rand(300, 300) < 0.5
    assert isinstance(lowered(mask(noise), 300), Bits)
    assert isinstance(lowered(mask(torch.arange(3000)[None] < torch.arange(3000)[:, None]), 3000), Ranges)
    assert isinstance(lowered(strided(2), 300), Bits) and isinstance(lowered(strided(500), 3000), Ranges)


def test_operations_take_ranges_and_bits_alike() -> None:
    noise, other = (lowered(mask(torch.rand(37, 43) < share), 37, 43) for share in (0.5, 0.2))
    for left, right in ((noise, other), (other, noise)):
        for a in (as_ranges(left), as_bits(left)):
            for b in (as_ranges(right), as_bits(right)):
                assert listed(intersect(a, b)) == listed(intersect(left, right))
                assert listed(unite(a, b)) == listed(unite(left, right))
            assert listed(complement(a)) == listed(complement(left))


def test_a_thin_result_of_bits_goes_back_to_ranges() -> None:
    noise = lowered(mask(torch.rand(500, 8000) < 0.5), 500, 8000)
    assert isinstance(noise, Bits)
    assert isinstance(intersect(noise, lowered(window(3), 500, 8000)), Ranges)


def test_spans_of_a_block_of_rows() -> None:
    form = lowered(window(4) | global_tokens(0), 100)
    assert form.spans(50, 54).tolist() == [[0, 1], [47, 54]]
    assert as_bits(form).spans(50, 54).tolist() == [[0, 1], [47, 54]]
    assert form.spans(0, 2).tolist() == [[0, 100]]
    assert form.spans(7, 7).tolist() == [] and as_bits(form).spans(7, 7).tolist() == []
    assert lowered(documents([3, 4]), 7).spans(1, 5).tolist() == [[0, 7]]


def test_dense_skips_ranges_between_columns() -> None:
    form = triples(array(0, 0, 0, 0), array(1, 3, 5, 8), array(2, 4, 7, 9), 1, (0, 9))
    for same in (form, as_bits(form)):
        assert same.dense(0, 1, array(0, 5, 7, 8, 20)).tolist() == [[False, True, False, True, False]]


def test_dense_looks_only_at_the_ranges_near_its_columns() -> None:
    form = lowered(everything(), 2, 1 << 18)
    comb = triples(
        np.zeros(1 << 17, dtype=np.int64), np.arange(1 << 17) * 2, np.arange(1 << 17) * 2 + 1, 1, (0, 1 << 18)
    )
    columns = np.arange(1000, 1064)
    tracemalloc.start()
    try:
        shown = comb.dense(0, 1, columns)
        form.dense(0, 2, columns)
        as_bits(comb)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        comb.dense(0, 1, columns)
        assert tracemalloc.get_traced_memory()[1] - before < 20_000
    finally:
        tracemalloc.stop()
    assert shown[0].tolist() == [True, False] * 32


def test_a_million_rows_in_little_memory() -> None:
    rows = np.arange(MILLION)
    tracemalloc.start()
    try:
        lists = (causal() & window(256)).lower(rows, (0, MILLION), 1, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6
    assert lists.pairs(1, 1) == 256 * MILLION - 256 * 255 // 2
    assert lists.pairs(3, 5) == 15 * lists.pairs(1, 1)
    assert lists.nbytes == 8 * (MILLION + 1) + 16 * MILLION + 8


def test_blocks_of_rows_are_joined_without_a_seam() -> None:
    """More rows than any operation takes at once, against counts and rows that are known."""
    size = 200_003
    form = lowered((causal() & (window(8) | global_tokens(3))) | ~window(before=5, after=size), size)
    at = size - 7
    dense = form.dense(at, at + 1, np.arange(at - 20, at + 7))[0]
    assert dense.tolist() == [True] * 21 + [False] * 6  # keys before the window, and the causal window itself
    row, offsets = 150_001, as_ranges(form).offsets
    assert listed(take(form, array(row)))[0] == [(0, row + 1)] and offsets[-1] == as_ranges(form).low.size
    low = np.maximum(np.arange(size) - 5, 0)
    assert lowered(~window(before=5, after=size), size).pairs == low.sum()
    assert lowered(neighborhood((3, 3), (449, 449)), size, 449 * 449).pairs == 9 * size


def test_tables_and_bits_are_worked_in_blocks_of_rows() -> None:
    noise = torch.rand(2600, 2600) < 0.5
    form = lowered(mask(noise) & causal(), 2600)
    assert isinstance(form, Bits) and form.pairs == int((noise.tril()).sum())
    np.testing.assert_array_equal(form.dense(0, 2600, np.arange(2600)), noise.tril().numpy())
    np.testing.assert_array_equal(as_ranges(form).dense(0, 2600, np.arange(2600)), noise.tril().numpy())
    assert complement(form).pairs == 2600 * 2600 - form.pairs


def test_edges_cost_their_number_and_not_the_square() -> None:
    nodes = 100_000
    hub = torch.stack((torch.arange(nodes), torch.zeros(nodes, dtype=torch.int64)))
    index = torch.cat((hub, hub.flip(0), torch.randint(nodes, (2, 300_000))), dim=1)
    form = lowered(edges(torch.cat((index, index), dim=1)), nodes)
    expected = torch.unique(index[1] * nodes + index[0])
    assert isinstance(form, Ranges) and form.pairs == expected.numel()
    assert form.pairs_in(0, 1) == nodes and form.nbytes < 16 * expected.numel() + 8 * nodes + 16


def test_one_row_for_all_is_encoded_once() -> None:
    real = torch.arange(5000) % 1000 != 0
    form = lowered(padding(real) & causal(), 5000)
    assert form.pairs == int(sum(real[: row + 1].sum() for row in range(5000)))


def test_lists_are_combined_by_distinct_pairs_of_forms() -> None:
    calls = []

    def counted(a: Form, b: Form) -> Form:
        calls.append((a, b))
        return intersect(a, b)

    one, two = lowered(causal(), 3), lowered(window(1), 3)
    left = Lists((one, two), np.array([[0], [1], [0]]))
    right = Lists((two, one), np.array([[0, 0, 1, 0]]))
    both = left.combine(right, counted)
    assert len(calls) == len(both.forms) == 4 and both.index.shape == (3, 4)
    assert both.pairs(3, 4) == sum(both.form(b, h).pairs for b in range(3) for h in range(4))
    assert both.map(complement).pairs(3, 4) == 3 * 4 * 9 - both.pairs(3, 4)
    assert both.nbytes == both.index.nbytes + sum(form.nbytes for form in both.forms)
