"""Masks: transformers' closures read back by formula, users' own masks, packed rows, and what carries them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import hf_zoo as zoo
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import DynamicCache, masking_utils

from regard.errors import InputError
from regard.huggingface import masks
from regard.huggingface.closures import UnrecognisedError, lower, run_lengths
from regard.huggingface.grid import Grid
from regard.huggingface.masks import make
from regard.terms.pattern import everything

MaskFunction = Callable[..., Any]
POSITIONS = 24


@st.composite
def labels(draw: st.DrawFn, batch: int, distinct: bool) -> Tensor:
    """Runs of labels; `distinct`: −1 or a label that no other run has, as blockwise overlays hold them."""
    rows = []
    for _ in range(batch):
        row: list[int] = []
        while len(row) < POSITIONS:
            name = -1 if distinct and draw(st.booleans()) else len(row)
            row += [name] * draw(st.integers(1, 6))
        rows.append(row[:POSITIONS])
    return torch.tensor(rows)


@st.composite
def functions(draw: st.DrawFn, batch: int, depth: int = 2) -> MaskFunction:
    """Any composition of transformers' mask functions."""
    m = masking_utils
    first = torch.tensor([draw(st.integers(0, 7)) for _ in range(batch)])
    real = torch.tensor([[draw(st.booleans()) for _ in range(POSITIONS)] for _ in range(batch)])
    leaves = [
        m.causal_mask_function,
        m.bidirectional_mask_function,
        m.sliding_window_overlay(draw(st.integers(1, 9))),
        m.sliding_window_causal_mask_function(draw(st.integers(1, 9))),
        m.sliding_window_bidirectional_mask_function(draw(st.integers(0, 9))),
        m.chunked_overlay(draw(st.integers(1, 9)), first),
        m.chunked_causal_mask_function(draw(st.integers(1, 9)), first),
        m.blockwise_overlay(draw(labels(batch, True))),
        m.padding_mask_function(real),
        m.packed_sequence_mask_function(draw(labels(batch, False))),
    ]
    if not depth or draw(st.booleans()):
        return draw(st.sampled_from(leaves))
    parts = [draw(functions(batch, depth - 1)) for _ in range(draw(st.integers(1, 3)))]
    return draw(st.sampled_from([m.and_masks, m.or_masks]))(*parts)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    query_start, key_start = draw(st.integers(0, POSITIONS)), draw(st.integers(0, POSITIONS))
    queries, keys = draw(st.integers(0, POSITIONS - query_start)), draw(st.integers(0, POSITIONS - key_start))
    return Grid(draw(st.sampled_from([1, 3])), queries, keys, query_start, key_start, torch.device("cpu"))


@settings(max_examples=150)
@given(st.data())
def test_formulas_say_what_the_closures_say(data: st.DataObject) -> None:
    grid = data.draw(grids())
    function = data.draw(functions(grid.batch))
    pattern = lower(function, grid.length)
    assert torch.equal(grid.shown(pattern), grid.evaluated(function, vectorised=True))
    assert torch.equal(grid.evaluated(function, vectorised=False), grid.evaluated(function, vectorised=True))


@settings(max_examples=50)
@given(st.data())
def test_masks_are_those_of_sdpa(data: st.DataObject) -> None:
    """With a 2-D mask shorter than the keys, as under a static cache, and with one that is longer."""
    grid = data.draw(grids())
    function = data.draw(functions(grid.batch))
    tokens = data.draw(st.integers(max(1, grid.key_start), POSITIONS))
    real = torch.rand(grid.batch, tokens, generator=torch.Generator().manual_seed(tokens)) > 0.3
    asked = {"q_length": grid.queries, "kv_length": grid.keys, "mask_function": function, "attention_mask": real}
    starts = {"q_offset": grid.query_start, "kv_offset": grid.key_start, "allow_is_causal_skip": False}
    made = make(grid.batch, **asked, **starts)
    wanted = masking_utils.sdpa_mask(grid.batch, **asked, **starts)
    assert torch.equal(made.dense(), wanted)


def packed(positions: Tensor) -> Tensor:
    found = masking_utils.find_packed_sequence_indices(positions)
    assert found is not None
    return found


@pytest.mark.parametrize("inner", ["causal", "window", "chunks"])
def test_packed_positions_become_documents(inner: str) -> None:
    positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 0, 1], [3, 4, 5, 0, 1, 2, 3, 4, 5, 6]])
    function = {
        "causal": masking_utils.causal_mask_function,
        "window": masking_utils.sliding_window_causal_mask_function(2),
        "chunks": masking_utils.chunked_causal_mask_function(2, torch.tensor([0, 0])),
    }[inner]
    whole = masking_utils.packed_sequence_compatibility_function(function, positions, packed(positions))
    grid = Grid(2, 10, 10, 0, 0, torch.device("cpu"))
    made = make(2, 10, 10, mask_function=whole)
    assert made.note is None
    assert "documents" in repr(made.pattern)
    assert torch.equal(made.dense(), grid.evaluated(whole, vectorised=True))


def test_runs() -> None:
    assert run_lengths(torch.tensor([[5, 5, 2], [1, 2, 3]])).tolist() == [[2, 1, 0], [1, 1, 1]]
    assert run_lengths(torch.tensor([[5, 5, 2], [1, 1, 3]])).tolist() == [2, 1]


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3", "qwen3"])
def test_packed_rows(name: str) -> None:
    """Three texts in one row say what each of them says alone."""
    words = zoo.tokens(1, 15)
    places = torch.cat([torch.arange(n) for n in (6, 2, 7)])[None]
    given = {"input_ids": words, "position_ids": places, "use_cache": False}
    found, wanted = zoo.both(name, given)
    assert zoo.apart(found, wanted) <= zoo.TOLERANCE
    made = zoo.under(zoo.model(name), "regard")
    with torch.no_grad():
        alone = torch.cat([made(part).logits for part in words.split([6, 2, 7], 1)], 1)
        assert zoo.apart(found, alone) <= zoo.TOLERANCE
        assert zoo.apart(made(words).logits, alone) >= 100 * zoo.TOLERANCE


# ------------------------------------------------------------------------------------------ what is not recognised


def odd_or_before(batch: Any, head: Any, query: Any, key: Any) -> Any:
    return (key % 2 == 1) | (key <= query)


def test_a_foreign_function_is_evaluated_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    function = masking_utils.and_masks(odd_or_before, masking_utils.sliding_window_bidirectional_overlay(5))
    masks._warn.cache_clear()
    real = torch.ones(2, 9, dtype=torch.bool)
    real[1, :3] = False
    asked = {"q_length": 3, "kv_length": 7, "q_offset": 6, "kv_offset": 2, "mask_function": function}
    with caplog.at_level(logging.WARNING, "regard.huggingface"):
        made, again = (make(2, **asked, attention_mask=real, use_vmap=vmap) for vmap in (False, True))
    assert len(caplog.records) == 1
    assert made.note is not None and "odd_or_before" in made.note and "O(N²)" in made.note
    wanted = masking_utils.sdpa_mask(2, **asked, attention_mask=real, allow_is_causal_skip=False)
    assert torch.equal(made.dense(), wanted)
    assert torch.equal(again.dense(), wanted)


def test_a_function_that_only_works_pair_by_pair() -> None:
    table = torch.rand(6, 6) > 0.5

    def looked_up(batch: Any, head: Any, query: Any, key: Any) -> Any:
        return table[query][key]

    assert torch.equal(make(1, 6, 6, mask_function=looked_up, use_vmap=True).dense()[0, 0], table)


def test_evaluation_goes_in_row_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regard.huggingface.grid._CELLS", 32)
    grid = Grid(2, 7, 9, 3, 1, torch.device("cpu"))
    wanted = masking_utils.sdpa_mask(2, 7, 9, 3, 1, odd_or_before, allow_is_causal_skip=False)
    assert torch.equal(grid.evaluated(odd_or_before, vectorised=True), wanted)


def test_a_wrong_formula_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regard.huggingface.closures.causal", everything)
    made = make(1, 5, 5)
    assert made.note is not None
    assert torch.equal(made.dense()[0, 0], torch.ones(5, 5).tril().bool())


def test_a_block_in_two_pieces_is_not_recognised() -> None:
    with pytest.raises(UnrecognisedError, match="several pieces"):
        lower(masking_utils.blockwise_overlay(torch.tensor([[1, 2, 1]])), 3)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_a_model_with_its_own_overlays(name: str) -> None:
    """`or_mask_function` and blocks of images, as multimodal models pass them to `create_causal_mask`."""
    made = zoo.model(name)
    embeds, blocks = torch.zeros(1, 9, 32), torch.tensor([[-1, -1, 0, 0, 0, -1, 1, 1, -1]])
    results = []
    for attention in ("sdpa", "regard"):
        made.set_attn_implementation(attention)
        asked = {"config": made.config, "inputs_embeds": embeds, "attention_mask": None, "past_key_values": None}
        shown = masking_utils.create_causal_mask(**asked, block_sequence_ids=blocks)
        more = masking_utils.create_causal_mask(**asked, or_mask_function=odd_or_before)
        results.append((shown, more))
    (wanted, wanted_more), (found, more) = results
    assert found.note is None and torch.equal(found.dense(), wanted)
    assert more.note is not None and torch.equal(more.dense(), wanted_more)


# ----------------------------------------------------------------------------------------------- users' own masks


def own(rows: int, floating: float | None) -> Tensor:
    """Causal with a hole, per batch row; each query sees itself."""
    shown = torch.ones(zoo.LENGTH, zoo.LENGTH).tril().bool().repeat(rows, 1, 1, 1)
    shown[1:, :, 5:, 1:4] = False
    return shown if floating is None else torch.where(shown, 0.0, floating)


@pytest.mark.parametrize("kind", ["bool", "lowest", "infinite", "soft"])
@pytest.mark.parametrize("name", ["llama", "gemma2", "mistral", "gpt_oss", "gpt2", "bert"])
def test_own_masks(name: str, kind: str) -> None:
    """A 4-D mask bypasses the mask function, and with it every window of the model."""
    additive = own(2, {"lowest": torch.finfo(torch.float32).min, "infinite": -torch.inf}.get(kind, -3.0))
    made, words = zoo.model(name), zoo.tokens()
    given = own(2, None) if kind == "bool" else additive
    eager = own(2, torch.finfo(torch.float32).min) if kind == "bool" else additive
    with torch.no_grad():
        wanted = made(input_ids=words, attention_mask=eager).logits
        plain = made(input_ids=words).logits
        found = zoo.under(made, "regard")(input_ids=words, attention_mask=given).logits
    assert zoo.apart(found, wanted) <= zoo.TOLERANCE
    assert zoo.apart(plain, wanted) >= 100 * zoo.TOLERANCE


@pytest.mark.parametrize("floating", [None, torch.finfo(torch.float32).min])
def test_own_masks_with_a_cache(floating: float | None) -> None:
    """A 4-D mask over a cache counts queries from 0, not from where they stand."""
    made, words = zoo.model("llama"), zoo.tokens()
    results = []
    for attention in ("eager", "regard"):
        made.set_attn_implementation(attention)
        held = DynamicCache(config=made.config)
        with torch.no_grad():
            made(input_ids=words[:, :8], past_key_values=held)
            lowest = torch.finfo(torch.float32).min if attention == "eager" else floating
            results.append(made(input_ids=words[:, 8:], past_key_values=held, attention_mask=own(2, lowest)[:, :, 8:]))
    assert zoo.apart(results[1].logits, results[0].logits) <= zoo.TOLERANCE


def test_a_row_of_lowest_numbers_is_a_mean_and_one_of_infinities_is_nothing() -> None:
    from regard.huggingface.interface import attention

    layer, value = torch.nn.Identity(), torch.randn(1, 2, 3, 4)
    for lowest, wanted in ((torch.finfo(torch.float32).min, value.mean(2)), (-torch.inf, torch.zeros(1, 2, 4))):
        mask = torch.zeros(1, 1, 3, 3)
        mask[:, :, 1] = lowest
        out, _ = attention(layer, torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4), value, mask)
        assert torch.allclose(out[:, 1], wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(1, 1, 3, 3, dtype=torch.long), "must be bool .* or floating"),
        (torch.ones(3, 3, dtype=torch.bool), r"must be \[batch, heads, queries, keys\], got \[3, 3\]"),
        (make(1, 3, 5), "3 queries and 5 keys, and the layer has 3 and 3"),
    ],
)
def test_own_masks_that_cannot_be_taken(mask: Tensor, message: str) -> None:
    from regard.huggingface.interface import attention

    with pytest.raises(InputError, match=message):
        attention(torch.nn.Identity(), *torch.randn(3, 1, 2, 3, 4), mask)


def test_a_mask_of_three_axes() -> None:
    with pytest.raises(InputError, match=r"attention_mask must be \[batch, tokens\]"):
        make(1, 3, 3, attention_mask=torch.ones(1, 3, 3))


def test_a_window_of_nothing_falls_back_to_its_pairs() -> None:
    made = make(1, 3, 3, mask_function=masking_utils.sliding_window_causal_mask_function(0))
    assert made.note is not None and not made.dense().any()
