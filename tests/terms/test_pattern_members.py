"""Each pattern on an example small enough to check by eye, its printed form, and every error it raises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from regard.errors import InputError
from regard.terms.pattern import (
    Pattern,
    axial,
    blocks,
    causal,
    documents,
    edges,
    everything,
    global_tokens,
    mask,
    neighborhood,
    packed,
    padding,
    per_batch,
    per_head,
    prefix,
    random_blocks,
    strided,
    window,
)


def picture(
    pattern: Pattern, queries: int, keys: int, *, start: int = 0, key_start: int = 0, entry: int = 0, head: int = 0,
    sizes: tuple[int, int] = (1, 1),
) -> str:  # fmt: skip
    """Rows of # (seen) and · (not)."""
    lists = pattern.lower(np.arange(start, start + queries), (key_start, key_start + keys), *sizes)
    dense = lists.form(entry, head).dense(0, queries, np.arange(key_start, key_start + keys))
    return " ".join("".join("#" if seen else "·" for seen in row) for row in dense)


SEEN = [
    (everything(), "### ### ###"),
    (causal(), "#·· ##· ###"),
    (window(3), "#···· ##··· ###·· ·###· ··###"),
    (window(before=2), "#···· ##··· ###·· ·###· ··###"),
    (window(before=1, after=2), "###·· ####· ·#### ··### ···##"),
    (window(after=1), "##··· ·##·· ··##· ···## ····#"),
    (documents([2, 0, 3]), "##··· ##··· ··### ··### ··###"),
    (causal() & documents([2, 3]), "#···· ##··· ··#·· ··##· ··###"),
    (padding(2), "##·· ##·· ##·· ##··"),
    (padding(torch.tensor([True, False, True])), "#·# #·# #·#"),
    (prefix(2), "##·· ##·· ##·· ##··"),
    (causal() | prefix(2), "##·· ##·· ###· ####"),
    (global_tokens(0), "#### #··· #··· #···"),
    (global_tokens([3, 1]), "·#·# #### ·#·# ####"),
    (global_tokens(torch.tensor([1])), "·#· ### ·#·"),
    (global_tokens(), "·· ··"),
    (strided(2), "#·#· ·#·# #·#· ·#·#"),
    (causal() & strided(3), "#···· ·#··· ··#·· #··#· ·#··#"),
    (blocks(2), "##··· ##··· ··##· ··##· ····#"),
    (blocks(2, torch.tensor([[True, False], [True, True]])), "##·· ##·· #### ####"),
    # NATTEN: near an edge the window moves in, so that every query sees three keys.
    (neighborhood(3, 5), "###·· ###·· ·###· ··### ··###"),
    (neighborhood(3, 5, edge="clip"), "##··· ###·· ·###· ··### ···##"),
    (neighborhood(2, 4), "##·· ##·· ·##· ··##"),
    (neighborhood((2, 1), (2, 2)), "#·#· ·#·# #·#· ·#·#"),
    (neighborhood((1, 3), (2, 3)), "###··· ###··· ###··· ···### ···### ···###"),
    (axial((2, 3)), "####·· ###·#· ###··# #··### ·#·### ··####"),
    (axial((2, 3), axis=0), "#··#·· ·#··#· ··#··# #··#·· ·#··#· ··#··#"),
    (axial((2, 3), axis=-1), "###··· ###··· ###··· ···### ···### ···###"),
    # 0 → 1, 2 → 1 (twice), 1 → 0: row 1 sees keys 0 and 2.
    (edges(torch.tensor([[0, 2, 2, 1], [1, 1, 1, 0]])), "·#· #·# ···"),
    (edges(torch.zeros(2, 0, dtype=torch.int64)), "·· ··"),
    (mask(torch.tensor([[True, False], [False, True]])), "#· ·#"),
    (mask(torch.tensor([True, False, True])), "#·# #·# #·#"),
    (mask(torch.tensor([[True], [False]])), "## ··"),
    (~causal(), "·## ··# ···"),
    (~causal() | window(1), "### ·## ··#"),
    (causal() & ~window(1), "··· #·· ##·"),
]


@pytest.mark.parametrize(("pattern", "seen"), SEEN, ids=lambda value: repr(value) if isinstance(value, Pattern) else "")
def test_picture(pattern: Pattern, seen: str) -> None:
    size = len(seen.split())
    assert picture(pattern, size, size) == seen


def test_positions_are_absolute() -> None:
    assert picture(causal(), 2, 4, start=2) == "###· ####"
    assert picture(causal(), 2, 2, start=2, key_start=2) == "#· ##"
    assert picture(causal(), 3, 2, start=-1) == "·· #· ##"
    assert picture(window(2), 2, 3, start=4, key_start=3) == "##· ·##"
    assert picture(~causal(), 2, 3, start=3, key_start=2) == "··# ···"


def test_packed_is_aligned_at_the_end_of_each_document() -> None:
    # Two queries, the last of three positions; then three queries, of which the first comes before both keys.
    assert picture(packed([2, 3], [3, 2]), 5, 5) == "##··· ###·· ····· ···#· ···##"
    assert picture(packed([2, 1], [1, 3], inside=everything()), 3, 4) == "#··· #··· ·###"
    assert picture(packed([1, 2], [2, 2], ~causal()), 3, 4) == "···· ···# ····"
    assert picture(packed([1, 2], [2, 2]), 1, 2, start=1, key_start=1) == "·#"
    pattern = packed([1, 1], torch.tensor([[1, 2], [2, 1]]))
    assert picture(pattern, 2, 3, sizes=(2, 1)) == "#·· ·##"
    assert picture(pattern, 2, 3, sizes=(2, 1), entry=1) == "##· ··#"


def test_terms_that_differ_by_batch_entry_and_head() -> None:
    both = per_head(causal(), mask(torch.tensor([[True, False]]))) & padding(torch.tensor([1, 2]))
    found = {(b, h): picture(both, 2, 2, sizes=(2, 2), entry=b, head=h) for b in range(2) for h in range(2)}
    assert found == {(0, 0): "#· #·", (1, 0): "#· ##", (0, 1): "#· #·", (1, 1): "#· #·"}
    entries = per_batch([causal(), everything()])
    assert [picture(entries, 2, 2, sizes=(2, 1), entry=b) for b in range(2)] == ["#· ##", "## ##"]
    by_head = mask(torch.tensor([[[True, False]], [[False, True]]]))
    assert [picture(per_head(by_head, by_head), 1, 2, sizes=(1, 2), head=h) for h in range(2)] == ["#·", "·#"]


def test_equal_forms_are_kept_once() -> None:
    rows = np.arange(5)
    for pattern in (
        padding(torch.tensor([3, 5, 3, 5])),
        padding(torch.tensor([[True], [False], [True], [False]]).expand(4, 5)),
        documents(torch.tensor([[2, 3], [5, 0], [2, 3], [5, 0]])),
        packed(torch.tensor([[2, 3], [5, 0], [2, 3], [5, 0]]), [2, 3]),
        per_batch([causal(), everything(), causal(), everything()]),
    ):
        lists = (pattern & causal()).lower(rows, (0, 5), 4, 1)
        assert len(lists.forms) == 2 and lists.index[0] == lists.index[2] != lists.index[1] == lists.index[3]
    expanded = mask(torch.ones(1, 1, 5, 5, dtype=torch.bool).expand(4, 3, 5, 5))
    assert len(expanded.lower(rows, (0, 5), 4, 3).forms) == 1
    layout = torch.ones(3, 1, 1, dtype=torch.bool)
    assert len(blocks(5, layout).lower(rows, (0, 5), 1, 3).forms) == 1


def test_random_blocks_are_distinct_reproducible_and_differ() -> None:
    pattern = random_blocks(4, 3, 402, seed=7)
    chosen = pattern.leaves()[0]
    assert chosen.shape == (101, 3) and chosen.min() >= 0 and chosen.max() <= 100
    assert (chosen.sort().values.diff() > 0).all(), "a key block twice"
    assert torch.equal(chosen, random_blocks(4, 3, 402, seed=7).leaves()[0])
    assert not torch.equal(chosen, random_blocks(4, 3, 402, seed=8).leaves()[0])
    # A change of the choice would change what a trained model sees.
    assert chosen[:3].tolist() == [[25, 34, 72], [24, 25, 56], [21, 55, 76]]
    counts = torch.bincount(random_blocks(1, 8, 2048).leaves()[0].ravel(), minlength=2048)
    assert counts.max() <= 8 + 6 * 8**0.5, "some key blocks are far too popular"


PRINTED = [
    (everything(), "everything"),
    (causal(), "causal"),
    (window(256), "window(256)"),
    (window(before=3), "window(4)"),
    (window(before=3, after=4), "window(before=3, after=4)"),
    (~documents([1, 2, 3]), "~documents(3 documents)"),
    (packed([3], [4]), "packed(1 document, causal)"),
    (packed([3, 1], [4, 2], causal() & window(2)), "packed(2 documents, causal & window(2))"),
    (padding(3), "padding(3)"),
    (padding(torch.tensor([3, 4])), "padding(<2>)"),
    (padding(torch.ones(2, 5, dtype=torch.bool)), "padding(<2×5>)"),
    (prefix(3), "prefix(3)"),
    (prefix(torch.tensor([3, 4])), "prefix(<2>)"),
    (global_tokens(5, 0, 5), "global_tokens(0, 5)"),
    (strided(4), "strided(4)"),
    (blocks(16), "blocks(16)"),
    (blocks(16, torch.ones(2, 3, dtype=torch.bool)), "blocks(16, <2×3>)"),
    (random_blocks(4, 2, 64), "random_blocks(4, 2, 64)"),
    (random_blocks(4, 2, 64, seed=1), "random_blocks(4, 2, 64, seed=1)"),
    (neighborhood(3, 8), "neighborhood(3, 8)"),
    (neighborhood((3, 5), (8, 9), edge="clip"), 'neighborhood((3, 5), (8, 9), edge="clip")'),
    (axial((4, 5)), "axial((4, 5))"),
    (axial((4, 5), -1), "axial((4, 5), axis=1)"),
    (edges(torch.tensor([[0, 0, 0], [1, 1, 2]])), "edges(2 edges)"),
    (mask(torch.ones(2, 3, dtype=torch.bool)), "mask(<2×3>)"),
    (per_head(causal(), causal() & window(3)), "per_head(causal, causal & window(3))"),
    (per_batch([causal()]), "per_batch(causal)"),
    (causal() & window(256), "causal & window(256)"),
    (causal() & window(8) | prefix(3), "causal & window(8) | prefix(3)"),
    (causal() & (window(8) | prefix(3)), "causal & (window(8) | prefix(3))"),
    (~(causal() | prefix(3)), "~(causal | prefix(3))"),
    (~~causal() & ~window(3), "~~causal & ~window(3)"),
]


@pytest.mark.parametrize(("pattern", "printed"), PRINTED, ids=[printed for _, printed in PRINTED])
def test_printed_form(pattern: Pattern, printed: str) -> None:
    assert repr(pattern) == printed == f"{pattern}"


def test_equality_and_hash() -> None:
    assert causal() & window(3) == causal() & window(before=2) != causal() & window(4)
    assert len({causal() & window(3), causal() & window(3), ~causal()}) == 2
    assert global_tokens([3, 1, 1]) == global_tokens(1, 3) and padding(3) != prefix(3)
    assert neighborhood(3, 8) == neighborhood([3], [8]) and axial((2, 3), -1) == axial([2, 3], 1)
    one = mask(torch.ones(2, 2, dtype=torch.bool))
    assert one == one and one != mask(torch.ones(2, 2, dtype=torch.bool)) and len({one, one}) == 1


def test_leaves_and_their_axes() -> None:
    pattern = documents(torch.tensor([[2, 3]])) & mask(torch.ones(1, 2, 5, 5, dtype=torch.bool)) | padding(
        torch.tensor([3])
    )
    axes: list[tuple[str | None, ...]] = []
    pattern.map(lambda leaf, roles: axes.append(roles) or leaf)
    assert axes == [("batch", None), ("batch", None), ("batch", "head", "query", "key"), ("batch",)]
    assert [tuple(leaf.shape) for leaf in pattern.leaves()] == [(1, 2), (1, 5), (1, 2, 5, 5), (1,)]


def test_allows_is_false_outside_a_tensor() -> None:
    far = torch.tensor([[-1], [9]])
    near = torch.tensor([0, 1])
    shown = torch.ones(2, 2, dtype=torch.bool)
    for pattern in (
        documents([2]),
        packed([2], [2], everything()),
        mask(shown),
        blocks(1, shown),
        random_blocks(1, 2, 2),
        edges(torch.tensor([[0, 1, 0, 1], [0, 0, 1, 1]])),
    ):
        assert not pattern.allows(far, near).any() and not pattern.allows(near, far).any(), pattern
        assert pattern.allows(near[:, None], near).all(), pattern
    assert not padding(torch.tensor([True])).allows(near, far).any()


def test_allows_reads_narrow_integers() -> None:
    index = torch.tensor([[0, 70_000], [70_000, 1]])
    query, key = torch.tensor([70_000, 1, 1], dtype=torch.int32), torch.tensor([0, 70_000, 0], dtype=torch.int32)
    assert edges(index).allows(query, key).tolist() == [True, True, False]


def lower(pattern: Pattern, rows: tuple[int, int] = (0, 5), keys: tuple[int, int] = (0, 5), sizes: tuple[int, int] = (2, 4)) -> object:  # fmt: skip # noqa: E501
    return pattern.lower(np.arange(*rows), keys, *sizes)


TRUE = torch.ones(1, 1, dtype=torch.bool)
ERRORS: list[tuple[Callable[[], object], str]] = [
    (lambda: causal() & TRUE, r"& takes patterns.*a Tensor: wrap it in regard.mask"),
    (lambda: causal() | 3, r"\| takes patterns, such as regard.causal.*; it got 3"),
    (lambda: None | causal(), r"\| takes patterns.*it got None"),
    (lambda: [] & causal(), r"& takes patterns.*it got \[\]"),
    (lambda: causal() and window(3), r"neither true nor false: combine patterns with &, \| and ~"),
    (lambda: not causal(), "neither true nor false"),
    (window, r"a size, or before= and after=; it got nothing: write window\(256\)"),
    (lambda: window(3, before=2), "it got both"),
    (lambda: window(0), "window's size must be a whole number of at least 1; it got 0"),
    (lambda: window(2.5), "it got 2.5"),  # type: ignore[arg-type]
    (lambda: window(True), "it got True"),
    (lambda: window(before=-1), "window's before must be a whole number of at least 0; it got -1"),
    (lambda: window(after=-1), "window's after must be"),
    (lambda: documents([2, -1]), "documents' lengths must be a whole number of at least 0; it got -1"),
    (lambda: documents(torch.tensor([2, -1])), "documents' lengths must be at least 0; it got -1"),
    (lambda: documents(torch.tensor([2.0])), r"must be whole numbers; it got a tensor of torch.float32.*\.long\(\)"),
    (lambda: documents(torch.tensor(2)), r"must have an axis of documents; it got one number: write \[2\]"),
    (lambda: lower(documents([2, 2])), r"documents holds positions 0…3, but there are query positions 0…4: .*sum"),
    (lambda: lower(documents([2, 2]), rows=(0, 4)), r"but there are key positions 0…4: .*packed"),
    (lambda: lower(documents([])), "documents holds no position"),
    (lambda: lower(documents([5]), rows=(-1, 4)), "query positions -1…3"),
    (lambda: lower(documents(torch.tensor([[5], [4]]))), r"documents holds positions 0…3"),
    (lambda: lower(documents(torch.tensor([[5]] * 3))), "documents has 3 batch entries, .*: give it 1 or 2"),
    (lambda: lower(documents(torch.tensor([[[5]]]))), r"documents must have at most 2 axes.* shape \(1, 1, 1\)"),
    (lambda: packed([1, 2], [3]), "as many query as key documents; it got 2 and 1"),
    (lambda: packed([1], [3], TRUE), "packed's inside takes patterns.*wrap it"),  # type: ignore[arg-type]
    (lambda: lower(packed([3], [5])), r"packed's query lengths holds positions 0…2, .*query_start=0"),
    (lambda: lower(packed([5], [3])), r"packed's key lengths holds positions 0…2, but there are key positions 0…4"),
    (lambda: padding(torch.ones(3)), "padding must be a bool tensor.*torch.float32: write x != 0"),
    (lambda: padding(torch.tensor(True)), r"padding must have shape \[\*batch, keys\]; it got a single bool"),
    (lambda: padding(-1), "padding must be a whole number of at least 0; it got -1"),
    (lambda: padding([3, -4]), r"padding must be a whole number of at least 0; it got -4"),
    (lambda: padding([True, False]), r"padding must be a whole number of at least 0; it got True"),
    (lambda: padding(torch.tensor([-1])), "padding must be at least 0"),
    (lambda: lower(padding(torch.ones(4, dtype=torch.bool))), "padding holds positions 0…3, but there are key"),
    (lambda: lower(padding(torch.ones(3, 5, dtype=torch.bool))), "padding has 3 batch entries, but there are 2"),
    (lambda: lower(padding(torch.tensor([1, 2, 3]))), "padding has 3 batch entries, but there are 2"),
    (lambda: prefix(-2), "prefix must be a whole number of at least 0; it got -2"),
    (lambda: prefix(torch.tensor([0.5])), "prefix must be whole numbers"),
    (lambda: lower(prefix(torch.tensor([1, 2, 3]))), "prefix has 3 batch entries, but there are 2"),
    (lambda: global_tokens(-1), "a position of global_tokens must be a whole number of at least 0; it got -1"),
    (lambda: global_tokens([0.5]), "it got 0.5"),  # type: ignore[list-item]
    (lambda: strided(0), "strided's stride must be a whole number of at least 1; it got 0"),
    (lambda: blocks(0), "the size of blocks must be a whole number of at least 1"),
    (lambda: blocks(2, torch.ones(2, 2)), r"blocks' layout must be bool.*torch.float32 \(2, 2\)"),
    (lambda: blocks(2, [[True]]), "blocks' layout must be bool.*it got list"),  # type: ignore[arg-type]
    (lambda: lower(blocks(2, TRUE)), "blocks' layout holds positions 0…1, but there are query positions 0…4"),
    (lambda: lower(blocks(2, TRUE), rows=(0, 2)), "blocks' layout holds positions 0…1, but there are key positions"),
    (lambda: lower(blocks(9, TRUE.expand(3, 1, 1))), "blocks' layout has 3 heads, but there are 4"),
    (lambda: random_blocks(2, 4, 5), "random_blocks can't choose 4 of 3 key blocks: lower count or size"),
    (lambda: random_blocks(0, 1, 5), "the size of random_blocks"),
    (lambda: random_blocks(1, 0, 5), "random_blocks' count"),
    (lambda: random_blocks(1, 1, 5, seed=-1), "random_blocks' seed"),
    (lambda: lower(random_blocks(2, 1, 4)), "random_blocks holds positions 0…3, .*give it keys="),
    (lambda: neighborhood(3, 2), r"window \(3,\) is larger than the grid \(2,\)"),
    (lambda: neighborhood((3, 3), (9,)), r"one window size for each axis; it got \(3, 3\) for the shape \(9,\)"),
    (lambda: neighborhood(0, 2), "neighborhood's window must be a whole number of at least 1"),
    (lambda: neighborhood(1, 0), "neighborhood's shape must be"),
    (lambda: neighborhood((), ()), "one window size for each axis"),
    (lambda: neighborhood(1, 2, edge="wrap"), 'edge must be "shift" or "clip"; it got \'wrap\''),  # type: ignore[arg-type]
    (lambda: lower(neighborhood(1, 4)), "neighborhood's grid holds positions 0…3, .*the shape of the whole grid"),
    (lambda: axial(()), "axial needs a grid of at least one axis"),
    (lambda: axial((2, 3), 2), r"axial's axis must be below 2 for the grid \(2, 3\); it got 2"),
    (lambda: axial((2, 3), -3), "axial's axis must be a whole number of at least -2; it got -3"),
    (lambda: lower(axial((2, 2))), "axial's grid holds positions 0…3"),
    (lambda: edges(torch.zeros(3, 2, dtype=torch.int64)), r"shape \[2, edges\], sources then targets; it got \(3, 2\)"),
    (lambda: edges([[0], [1]]), "it got list"),  # type: ignore[arg-type]
    (lambda: edges(torch.zeros(2, 2)), "edges' nodes must be whole numbers"),
    (lambda: edges(torch.tensor([[0], [-1]])), r"edges' nodes must be from 0 to 2³¹ − 1; it got -1…0"),
    (lambda: edges(torch.tensor([[0], [2**31]])), "edges' nodes must be from 0"),
    (lambda: mask(torch.zeros(2, 2)), "mask must be a bool tensor, where True means may attend; .* x == 0"),
    (lambda: mask([[True]]), "it got list: convert it with torch.as_tensor"),  # type: ignore[arg-type]
    (lambda: lower(mask(TRUE.expand(4, 5))), "mask's query axis holds positions 0…3, but there are query"),
    (lambda: lower(mask(TRUE.expand(5, 4))), "mask's key axis holds positions 0…3, but there are key positions 0…4"),
    (lambda: lower(mask(TRUE.expand(3, 1, 1))), "mask has 3 heads, but there are 4: give it 1 or 4"),
    (lambda: lower(mask(TRUE.expand(3, 1, 1, 1))), "mask has 3 batch entries, but there are 2"),
    (lambda: lower(mask(TRUE.expand(1, 1, 1, 1, 1))), "mask must have at most 4 axes here"),
    (per_head, r"per_head needs at least one pattern; it got none"),
    (lambda: per_batch([]), "per_batch needs at least one pattern"),
    (lambda: per_head(causal(), TRUE), "per_head takes patterns.*wrap it"),  # type: ignore[arg-type]
    (lambda: per_head(TRUE), "per_head takes patterns.*wrap it"),  # type: ignore[arg-type]
    (lambda: per_head(3), "per_head takes patterns.*it got 3"),  # type: ignore[arg-type]
    (lambda: lower(per_head(causal())), "per_head has 1 patterns, but there are 4 heads: give one for each"),
    (lambda: lower(per_batch([causal()] * 3)), "per_batch has 3 patterns, but there are 2 batch entries"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "sentence"), ERRORS, ids=[sentence[:40] for _, sentence in ERRORS])
def test_error_says_what_came_and_what_to_do(wrong: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        wrong()
