"""Every error of a pattern says what was expected, what came and what to do."""

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
