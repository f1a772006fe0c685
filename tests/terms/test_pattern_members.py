"""Each pattern on an example small enough to check by eye, and its printed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

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
    shorter = documents(torch.tensor([[1, 0], [1, 2]]))
    assert not shorter.allows(near + 1, near + 1).any() and shorter.allows(near + 1, near + 1, batch=1).all()


def test_allows_reads_narrow_integers() -> None:
    index = torch.tensor([[0, 70_000], [70_000, 1]])
    query, key = torch.tensor([70_000, 1, 1], dtype=torch.int32), torch.tensor([0, 70_000, 0], dtype=torch.int32)
    assert edges(index).allows(query, key).tolist() == [True, True, False]


def test_edges_far_from_every_node():
    """A far row times the number of nodes does not come round to a near one in 64 bits."""
    last = 2**31 - 1
    pattern = edges(torch.tensor([[2, last], [0, last]]))
    assert picture(pattern, 1, 3) == "··#"
    assert picture(pattern, 1, 3, start=2**33) == "···"
    assert picture(pattern, 1, 2, start=last, key_start=last - 1) == "·#"
    far = torch.tensor([[0], [2**33], [last]])
    assert pattern.allows(far, torch.tensor([2, last])).tolist() == [[True, False], [False, False], [False, True]]
