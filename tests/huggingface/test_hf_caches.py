"""Decoding with dynamic, sliding and static caches, step by step and by `generate`."""

from __future__ import annotations

from typing import Any

import hf_zoo as zoo
import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, StaticCache

from regard.huggingface import interface
from regard.huggingface.masks import Mask

STEPS = [7, 1, 1, 3, 1, 1, 1]


def cache(kind: str, made: Any) -> Any:
    return DynamicCache(config=made.config) if kind == "dynamic" else StaticCache(made.config, max_cache_len=20)


def decoded(made: Any, kind: str, real: Tensor) -> Tensor:
    """The logits of all tokens, fed in several steps to one cache."""
    words, held, said, start = zoo.tokens(real.shape[0], sum(STEPS)), cache(kind, made), [], 0
    places = (real.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        for step in STEPS:
            now = slice(start, start + step)
            fed = {"attention_mask": real[:, : now.stop], "position_ids": places[:, now]}
            said.append(made(input_ids=words[:, now], past_key_values=held, use_cache=True, **fed).logits)
            start += step
    return torch.cat(said, 1)


@pytest.mark.parametrize("side", ["none", "left"])
@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize("name", zoo.DECODERS)
def test_steps(name: str, kind: str, side: str) -> None:
    """For the families with a window, the dynamic cache is a sliding one: 15 tokens against a window of 4."""
    made = zoo.model(name)
    real = zoo.padded("left", sum(STEPS)) if side == "left" else torch.ones(2, sum(STEPS), dtype=torch.long)
    wanted = decoded(made, kind, real)
    assert zoo.apart(decoded(zoo.under(made, "regard"), kind, real), wanted, real) <= zoo.TOLERANCE


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_offsets_reach_the_attention(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[tuple[int, int, int]] = []

    def noted(query: Tensor, key: Tensor, value: Tensor, rule: Any, **rest: Any) -> Tensor:
        starts.append((rest["query_start"], rest["key_start"], key.shape[-2]))
        return attend(query, key, value, rule, **rest)

    attend = interface.attend
    monkeypatch.setattr(interface, "attend", noted)
    made = zoo.under(zoo.model("gemma3"), "regard")
    decoded(made, kind, torch.ones(1, sum(STEPS), dtype=torch.long))
    sliding, full = starts[-2:]
    last = sum(STEPS) - 1
    assert sliding == (last, last - zoo.WINDOW + 1, zoo.WINDOW)
    assert full == (last, 0, last + 1 if kind == "dynamic" else 20)


def test_a_window_reaches_over_the_edge_of_a_sliding_cache() -> None:
    """The cache keeps three tokens before the newest: what the mask asks for, no more."""
    made = zoo.under(zoo.model("mistral"), "regard")
    words, held = zoo.tokens(1, 14), DynamicCache(config=made.config)
    with torch.no_grad():
        whole = made(input_ids=words).logits[:, -1]
        made(input_ids=words[:, :13], past_key_values=held)
        step = made(input_ids=words[:, 13:], past_key_values=held).logits[:, -1]
    assert held.layers[0].keys.shape[-2] == zoo.WINDOW - 1
    assert zoo.apart(step, whole) <= zoo.TOLERANCE


GENERATED = [*zoo.DECODERS, "t5", "bart", "whisper"]


@pytest.mark.parametrize("side", ["none", "left"])
@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize("name", GENERATED)
def test_generate(name: str, kind: str, side: str) -> None:
    given = zoo.inputs(name, zoo.padded("left") if side == "left" else None)
    if name in ("t5", "bart"):
        given.pop("decoder_input_ids")
    made = zoo.model(name)
    asked = {"max_new_tokens": 8, "do_sample": False, "cache_implementation": kind, "pad_token_id": zoo.PAD}
    wanted = made.generate(**given, **asked)
    assert torch.equal(zoo.under(made, "regard").generate(**given, **asked), wanted)
    assert wanted.shape[-1] >= 8


def test_beams() -> None:
    made, given = zoo.model("llama"), zoo.inputs("llama", zoo.padded("left"))
    asked = {"max_new_tokens": 6, "num_beams": 3, "do_sample": False, "pad_token_id": zoo.PAD}
    wanted = made.generate(**given, **asked)
    assert torch.equal(zoo.under(made, "regard").generate(**given, **asked), wanted)


def test_a_static_cache_hands_masks_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """`generate` makes the masks of a static cache itself, and passes them to the model as `attention_mask`."""
    handed: list[Any] = []
    made = zoo.under(zoo.model("llama"), "regard")
    forward = made.forward

    def noted(*args: Any, **options: Any) -> Any:
        handed.append(options["attention_mask"])
        return forward(*args, **options)

    monkeypatch.setattr(made, "forward", noted)
    made.generate(zoo.tokens(), max_new_tokens=3, do_sample=False, cache_implementation="static")
    assert all(isinstance(mask, Mask) and mask.ndim == 4 for mask in handed)
    assert [mask.grid.query_start for mask in handed] == [0, zoo.LENGTH, zoo.LENGTH + 1]
