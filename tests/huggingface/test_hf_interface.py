"""The two registrations, what a layer may ask for, and models that can't be served."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import hf_zoo as zoo
import pytest
import torch
import transformers as hf
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

import regard.huggingface
from regard.errors import InputError
from regard.huggingface import interface, masks
from regard.huggingface.interface import attention
from regard.huggingface.models import NAME


def test_both_names_are_registered() -> None:
    assert AttentionInterface()["regard"] is attention
    assert AttentionMaskInterface()["regard"] is masks.make


def test_the_name_triggers_no_other_code() -> None:
    assert not any(part in NAME for part in ("flash", "sdpa", "flex_attention", "/", "paged|"))


def test_the_first_name_alone_loses_the_mask_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trap that the second registration is for: transformers makes no mask at all."""
    monkeypatch.delitem(AttentionMaskInterface._global_mapping, "regard")
    real = zoo.padded("left")
    found, wanted = zoo.both("llama", zoo.inputs("llama", real))
    assert zoo.apart(found, wanted, real) >= 100 * zoo.TOLERANCE


@pytest.mark.parametrize("version", ["4.57.1", None])
def test_another_transformers_is_named_with_the_command(version: str | None) -> None:
    code = f"""
from importlib import metadata
asked = metadata.version
def version(name):
    if name != "transformers": return asked(name)
    if {version!r} is None: raise metadata.PackageNotFoundError(name)
    return {version!r}
metadata.version = version
import regard.errors
try:
    import regard.huggingface.library
except regard.errors.MissingError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'regard[huggingface]'" in run.stdout
    assert (version or "none is installed") in run.stdout


def test_from_pretrained(tmp_path: Any) -> None:
    made = zoo.model("llama")
    made.save_pretrained(tmp_path)
    loaded = hf.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="regard")
    assert loaded.config._attn_implementation == "regard"
    with torch.no_grad():
        assert zoo.apart(loaded(zoo.tokens()).logits, made(zoo.tokens()).logits) <= zoo.TOLERANCE


# -------------------------------------------------------------------------------------------------- one layer


class Layer(nn.Module):
    def __init__(self, is_causal: bool | None = None) -> None:
        super().__init__()
        if is_causal is not None:
            self.is_causal = is_causal


def drawn(queries: int = 5, keys: int = 5, heads: int = 4, kv_heads: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(2, heads, queries, 8) * 3, torch.randn(2, kv_heads, keys, 8), torch.randn(2, kv_heads, keys, 6)


def plain(query: Tensor, key: Tensor, value: Tensor, shown: Tensor | None = None) -> Tensor:
    group = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(group, 1).mT / query.shape[-1] ** 0.5
    scores = scores if shown is None else scores.masked_fill(~shown, -torch.inf)
    return (scores.softmax(-1) @ value.repeat_interleave(group, 1)).transpose(1, 2)


def test_shape_and_nothing_else() -> None:
    out, seen = attention(Layer(False), *drawn(3, 5))
    assert out.shape == (2, 3, 4, 6) and out.is_contiguous() and seen is None


def test_the_second_value_is_weights_or_nothing() -> None:
    query, key, value = drawn()
    out, seen = attention(Layer(True), query, key, value, output_attentions=True)
    assert isinstance(seen, Tensor) and seen.shape == (2, 4, 5, 5) and seen.dtype == query.dtype
    assert torch.allclose(seen.sum(-1), torch.ones(2, 4, 5), atol=1e-6)
    assert torch.allclose((seen @ value.repeat_interleave(2, 1)).transpose(1, 2), out, atol=1e-5)


@pytest.mark.parametrize(
    ("module", "said", "queries", "is_causal"),
    [
        (True, None, 5, True),
        (False, None, 5, False),
        (None, None, 5, True),
        (True, False, 5, False),
        (False, True, 5, True),
        (True, None, 1, False),
    ],
)
def test_causality_without_a_mask(module: bool | None, said: bool | None, queries: int, is_causal: bool) -> None:
    query, key, value = drawn(queries, 5)
    out, _ = attention(Layer(module), query, key, value, None, is_causal=said)
    shown = torch.ones(5, 5).tril().bool() if is_causal else None
    assert torch.allclose(out, plain(query, key, value, shown), atol=1e-5)


def test_a_window_without_a_mask() -> None:
    query, key, value = drawn()
    band = torch.ones(5, 5).tril().triu(-1).bool()
    out, _ = attention(Layer(True), query, key, value, None, sliding_window=2)
    assert torch.allclose(out, plain(query, key, value, band), atol=1e-5)
    newest, _ = attention(Layer(True), query[:, :, -1:], key, value, None, sliding_window=2)
    assert torch.allclose(newest, plain(query[:, :, -1:], key, value, band[-1:]), atol=1e-5)


@pytest.mark.parametrize(
    ("queries", "is_causal", "options", "message"),
    [
        (3, True, {}, "nothing says where the queries stand"),
        (5, False, {"sliding_window": 2}, "its sides are unknown"),
        (5, True, {"head_mask": torch.ones(4)}, "scales whole heads"),
        (5, True, {"cache": object()}, "paged caches"),
        (5, True, {"indices": torch.ones(1)}, "indexer"),
        (5, True, {"temperature": 2.0}, "does not know whether it changes the result"),
        (5, True, {"cu_seq_lens_q": torch.tensor([0, 3])}, "whole documents"),
    ],
)
def test_what_would_be_lost_raises(queries: int, is_causal: bool, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        attention(Layer(is_causal), *drawn(queries, 5), None, **options)


def test_what_changes_nothing_is_let_through() -> None:
    given = drawn()
    options = {
        "head_mask": None,
        "output_hidden_states": True,
        "position_ids": torch.arange(5),
        "num_items_in_batch": 3,
    }
    assert torch.equal(attention(Layer(True), *given, None, **options)[0], attention(Layer(True), *given)[0])


def test_cumulative_lengths_are_documents() -> None:
    query, key, value = (part[:1] for part in drawn())
    ends = torch.tensor([0, 2, 5])
    out, _ = attention(Layer(True), query, key, value, None, cu_seq_lens_q=ends, cu_seq_lens_k=ends)
    shown = torch.block_diag(torch.ones(2, 2).tril(), torch.ones(3, 3).tril()).bool()
    assert torch.allclose(out, plain(query, key, value, shown), atol=1e-5)


def test_a_position_bias_is_placed_where_the_queries_stand() -> None:
    """A chunk of 3 queries at 4 over 7 keys: the bias is [1, heads, 3, 7], over this call's queries."""
    query, key, value = drawn(3, 7)
    bias = (3 * torch.randn(1, 4, 3, 7)).requires_grad_()
    out, _ = attention(Layer(True), query, key, value, masks.make(2, 3, 7, 4), position_bias=bias)
    group = [part.repeat_interleave(2, 1) for part in (key, value)]
    scores = query @ group[0].mT / 8**0.5 + bias
    shown = torch.ones(3, 7).tril(4).bool()
    wanted = (scores.masked_fill(~shown, -torch.inf).softmax(-1) @ group[1]).transpose(1, 2)
    assert torch.allclose(out, wanted, atol=1e-5)
    pull = torch.randn_like(out)
    found, correct = (torch.autograd.grad(part, bias, pull)[0] for part in (out, wanted))
    assert torch.allclose(found, correct, atol=1e-5)


def test_keys_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: set[tuple[int, int]] = set()

    def noted(query: Tensor, key: Tensor, *rest: Any, **more: Any) -> Tensor:
        heads.add((query.shape[1], key.shape[1]))
        return attend(query, key, *rest, **more)

    attend = interface.attend
    monkeypatch.setattr(interface, "attend", noted)
    zoo.both("llama", zoo.inputs("llama"))
    assert heads == {(4, 2)}


def test_dropout_in_training_only() -> None:
    layer, given = Layer(False), drawn()
    out = attention(layer, *given, dropout=0.5)[0]
    assert not torch.allclose(out, plain(*given), atol=1e-2)
    assert torch.allclose(attention(layer.eval(), *given, dropout=0.5)[0], plain(*given), atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "bert", "t5"])
def test_nan_in_padding_stays_there(name: str) -> None:
    real = zoo.padded("right")
    made, words = zoo.under(zoo.model(name), "regard"), zoo.tokens(3)
    embeds = made.get_input_embeddings()(words).detach()
    spoilt = embeds.masked_fill(real[..., None] == 0, torch.nan)
    more = {"decoder_input_ids": zoo.tokens(3, 7)} if name == "t5" else {}
    with torch.no_grad():
        wanted, found = (made(inputs_embeds=e, attention_mask=real, **more).logits for e in (embeds, spoilt))
    assert zoo.apart(found, wanted, None if more else real) <= zoo.TOLERANCE


# ---------------------------------------------------------------------------------------------- whole models


def configs(made: nn.Module) -> list[str]:
    return [m.config._attn_implementation for m in made.modules() if getattr(m, "config", None) is not None]


@pytest.mark.parametrize("name", ["t5", "bart", "whisper", "clip", "gemma3"])
def test_every_sub_config_is_set(name: str) -> None:
    made = regard.huggingface.serve(zoo.model(name))
    assert set(configs(made)) == {"regard"}


def test_a_sub_config_set_apart_is_found() -> None:
    made = zoo.model("t5")
    made.encoder.config._attn_implementation = "sdpa"
    assert set(configs(regard.huggingface.serve(made))) == {"regard"}


def alone() -> dict[str, Any]:
    sizes = {"vocab_size": zoo.WORDS, "hidden_size": 32}
    return {
        "BloomForCausalLM": hf.BloomForCausalLM(hf.BloomConfig(**sizes, n_layer=1, n_head=4)),
        "FalconForCausalLM": hf.FalconForCausalLM(hf.FalconConfig(**sizes, num_hidden_layers=1, num_attention_heads=4)),
        "XLNetLMHeadModel": hf.XLNetLMHeadModel(hf.XLNetConfig(vocab_size=zoo.WORDS, d_model=32, n_layer=1, n_head=4)),
        "MambaForCausalLM": hf.MambaForCausalLM(hf.MambaConfig(**sizes, num_hidden_layers=1)),
    }


@pytest.mark.parametrize("name", alone())
def test_a_model_that_cannot_be_served_is_left_as_it_was(name: str) -> None:
    made = alone()[name].eval()
    before, wanted = configs(made), made(zoo.tokens()).logits
    with pytest.raises(InputError, match=f"{name} can't be served by regard"):
        regard.huggingface.serve(made)
    assert configs(made) == before
    assert torch.equal(made(zoo.tokens()).logits, wanted)


def test_a_model_that_is_half_set_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made = zoo.model("t5")

    def breaks(name: str) -> None:
        made.encoder.config._attn_implementation = name
        raise ValueError("no")

    monkeypatch.setattr(made, "set_attn_implementation", breaks)
    with pytest.raises(InputError, match="T5ForConditionalGeneration can't be served by regard: no"):
        regard.huggingface.serve(made)
    assert set(configs(made)) == {"eager"}


def test_serve_takes_models_only() -> None:
    with pytest.raises(InputError, match="serve takes a model of transformers, got Linear"):
        regard.huggingface.serve(nn.Linear(2, 2))


def test_a_model_that_adds_the_mask_by_itself_says_so() -> None:
    """Loaded under the name, Bloom would add True and False to its scores."""
    made = alone()["BloomForCausalLM"]
    made.config._attn_implementation_internal = "regard"
    with pytest.raises(InputError, match="computes attention by itself"):
        made(zoo.tokens())
