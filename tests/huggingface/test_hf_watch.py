"""`watch`: what is seen of a model while it runs is what its eager weights say, and the model is left as it was."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import hf_zoo as zoo
import pytest
import torch
from hf_watched import close, eager, seen_in
from torch import Tensor

import regard as rg
from regard.huggingface import interface, watch
from regard.looking.layers import Layer
from regard.looking.measured import ByRow, Summed

KINDS = ["bert", "albert", "llama", "gemma2", "gemma3", "gpt_oss", "t5", "whisper", "vit"]


def assert_says(layer: Layer, weights: Tensor, live: Tensor | None = None) -> None:
    """The statistics of a layer are those of full weights `[batch, heads, queries, keys]`."""
    w = weights.double()
    close(layer.mass(), w.sum(-1), live)
    close(layer.entropy(), -torch.xlogy(w, w).sum(-1), live)
    close(layer.effective_keys(), w.sum(-1).square() / w.square().sum(-1), live)
    close(layer.maximum(), w.amax(-1), live)
    close(layer.top(3).weights, w.topk(3).values, live)
    close(layer.top(3).uncovered, w.sum(-1) - w.topk(3).values.sum(-1), live)
    if live is None:
        close(layer.received(), w.sum(2))


@pytest.mark.parametrize("keep", ["statistics", "queries"])
@pytest.mark.parametrize("name", KINDS)
def test_statistics_are_those_of_eager_weights(name, keep):
    made, given = zoo.model(name), zoo.inputs(name)
    wanted = eager(made, given)
    seen = seen_in(made, given, keep=keep)
    assert seen.count == len(seen) == len(wanted)
    for number, weights in enumerate(wanted):
        assert_says(seen[number], weights)
        if keep == "queries":
            close(seen[number].rows([3, 1]), weights[:, :, [3, 1]])
            close(seen[number].looks[0].rows([3, 1]), weights[:, :, [3, 1]])


def test_the_comparison_can_fail():
    """Without the sinks, or with another layer's weights, every statistic is off by far more than the tolerance."""
    made, given = zoo.model("gpt_oss"), zoo.inputs("gpt_oss")
    seen, wanted = seen_in(made, given), eager(made, given)
    for other in (wanted[0] / wanted[0].sum(-1, keepdim=True), wanted[1]):
        assert float((seen[0].entropy() + torch.xlogy(other, other).sum(-1)).abs().max()) > 100 * 2e-4
        assert float((seen[0].maximum() - other.amax(-1)).abs().max()) > 100 * 2e-4
        assert float((seen[0].received() - other.sum(2)).abs().max()) > 100 * 2e-4


@pytest.mark.parametrize("name, side", [("bert", "right"), ("bert", "left"), ("llama", "left"), ("t5", "right")])
def test_padding_is_no_query_of_means(name, side):
    real = zoo.padded(side)
    made, given = zoo.model(name), zoo.inputs(name, real)
    wanted, seen = eager(made, given), seen_in(made, given)
    live = real.bool()[:, None].expand(-1, 4, -1)
    assert torch.equal(seen[0].live, live)
    assert_says(seen[1], wanted[1], live)
    scores, ids = seen[1].head_scores(), given["input_ids"]
    first = wanted[1][..., 0].double() * live
    close(scores.sink, first.sum(-1) / live.sum(-1))
    previous = torch.diagonal(wanted[1], -1, 2, 3).double()
    close(scores.previous, (previous * live[..., 1:]).sum(-1) / live[..., 1:].sum(-1))
    assert scores.duplicate is not None
    close(scores.duplicate, duplicates(wanted[1], ids, live))


def duplicates(weights: Tensor, ids: Tensor, live: Tensor) -> Tensor:
    """The mean weight on the last earlier key of the same token."""
    made = torch.zeros(weights.shape[:2], dtype=torch.float64)
    for entry, row in enumerate(ids.tolist()):
        pairs = [(i, max(j for j in range(i) if row[j] == row[i])) for i in range(len(row)) if row[i] in row[:i]]
        pairs = [(i, j) for i, j in pairs if live[entry, 0, i]]
        if pairs:
            made[entry] = torch.stack([weights[entry, :, i, j].double() for i, j in pairs]).mean(0)
    return made


def test_a_shared_module_is_as_many_layers_as_it_runs():
    made, given = zoo.model("albert"), zoo.inputs("albert")
    with torch.no_grad(), watch(made) as seen:
        made(**given)
        made(**given)
    assert seen.count == 2
    assert len(seen.runs) == 2
    assert seen.run(0)[0].where.name == seen.run(0)[1].where.name
    assert not torch.allclose(seen.run(0)[0].entropy(), seen.run(0)[1].entropy())
    assert torch.equal(seen.run(0)[1].entropy(), seen.run(1)[1].entropy())


@pytest.mark.parametrize("keep", ["statistics", "queries"])
@pytest.mark.parametrize("name, cache", [("llama", "dynamic"), ("llama", "static"), ("gemma3", "dynamic")])
def test_generated_tokens_are_rows_after_the_prompt(name, cache, keep):
    made, prompt = zoo.model(name), zoo.tokens(2, 7)
    with watch(made, keep=keep) as seen:
        words = made.generate(
            prompt, max_new_tokens=5, min_new_tokens=5, do_sample=False, cache_implementation=cache,
            attention_mask=torch.ones_like(prompt),
        )  # fmt: skip
    assert len(seen.runs) == 1
    whole = {"input_ids": words[:, :-1]}  # the last word is never read
    for number, weights in enumerate(eager(made, whole)):
        layer = seen[number]
        assert_says(layer, weights) if cache == "dynamic" else close(layer.received()[..., :11], weights.sum(2))
        assert layer.entropy().shape[-1] == 11
        scores = seen_in(made, whole)[number].head_scores()
        for found, wanted in zip(layer.head_scores(), scores, strict=True):
            close(found, wanted)
        close(layer.distance().mean, seen_in(made, whole)[number].distance().mean)
        if keep == "queries":
            close(layer.rows([9, 2, 7])[..., :11], weights[:, :, [9, 2, 7]])


def test_kept_keys_of_decoded_tokens_are_one_tensor():
    made = zoo.model("llama")
    with watch(made, keep="queries") as seen:
        made.generate(zoo.tokens(1, 7), max_new_tokens=5, min_new_tokens=5, do_sample=False)
    calls = seen[0].calls
    assert [call.key.shape[2] for call in calls] == [7, 8, 9, 10, 11]
    assert {call.key.data_ptr() for call in calls} == {calls[-1].key.data_ptr()}


def test_entries_that_change_places_lose_their_tokens_and_nothing_else():
    made, given = zoo.model("llama"), zoo.inputs("llama")
    known, lost = [], []
    for order, found in (([0, 1], known), ([1, 0], lost)):
        with torch.no_grad(), watch(made) as seen:
            cache = made(**given).past_key_values
            cache.reorder_cache(torch.tensor(order))
            made(input_ids=zoo.tokens()[:, :1], past_key_values=cache)
        found.append(seen[0].head_scores())
        assert seen[0].entropy().shape[-1] == zoo.LENGTH + 1
    assert known[0].duplicate is not None
    assert lost[0].duplicate is None


def test_encoder_and_decoder_generate():
    made, given = zoo.model("t5"), zoo.inputs("t5")
    with watch(made) as seen:
        words = made.generate(given["input_ids"], max_new_tokens=5, min_new_tokens=5, do_sample=False)
    whole = {"input_ids": given["input_ids"], "decoder_input_ids": words[:, :-1]}
    assert len(seen.runs) == 1
    for number, weights in enumerate(eager(made, whole)):
        assert_says(seen[number], weights)
    assert [layer.where.kind for layer in seen] == ["self", "self", "self", "cross", "self", "cross"]
    assert [layer.where.stack for layer in seen] == ["encoder", "encoder", *["decoder"] * 4]
    with pytest.raises(rg.InputError, match=r"layer 3 .* is cross-attention"):
        seen[3].head_scores()


def test_only_what_was_asked_for_is_kept():
    made, given = zoo.model("gpt_oss"), zoo.inputs("gpt_oss")  # grouped heads, a sink a head
    weights = eager(made, given)[1]
    for keep in ("statistics", "queries"):
        seen = seen_in(made, given, layers=[1], heads=[3, 0], keep=keep)
        assert seen.runs[0].layers.keys() == {1}
        assert seen[1].where.heads == (3, 0)
        assert_says(seen[1], weights[:, [3, 0]])
        assert [line["head"] for line in seen.table()] == [3, 0]
        with pytest.raises(rg.InputError, match="layer 0 was not seen, only 1"):
            seen[0]


def test_statistics_are_of_the_size_of_the_rows():
    made, length = zoo.model("llama"), 53
    seen = seen_in(made, {"input_ids": zoo.tokens(1, length)}, top=3)
    measured = seen[0].measured
    held = [getattr(part, f.name) for f in fields(ByRow) for part in measured.parts]
    held += [getattr(measured.sums, f.name) for f in fields(Summed)]
    assert not seen[0].calls
    assert max(t.numel() for t in held if isinstance(t, Tensor)) == 4 * length * 3


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_layer_that_is_computed_again_for_its_gradient_is_seen_once(name):
    made, given = zoo.model(name), zoo.inputs(name)
    made.train()
    made.activation_checkpointing_enable()
    with watch(made) as seen:
        zoo.logits(made, {**given, "use_cache": False}).square().sum().backward()
    assert len(seen.runs) == 1
    assert seen.count == len(eager(zoo.model(name), given))
    assert not seen[0].entropy().requires_grad


# ------------------------------------------------------------------------------------------- the model afterwards


def settings(made: Any) -> list[Any]:
    hooks = [len(module._forward_pre_hooks) for module in made.modules()]
    configs = [getattr(module, "config", None) for module in made.modules()]
    return [hooks, [getattr(config, "_attn_implementation", None) for config in configs if config is not None]]


@pytest.mark.parametrize("name", ["bert", "clip", "t5"])
def test_the_model_is_left_as_it_was(name):
    made, given = zoo.model(name), zoo.inputs(name)
    if name == "clip":
        made.set_attn_implementation({"text_config": "eager", "vision_config": "sdpa"})
    before, wanted = settings(made), zoo.logits(made, given)
    for _ in range(2):
        with watch(made) as seen:
            zoo.logits(made, given)
            assert settings(made) != before
        assert settings(made) == before
        assert len(seen) >= 2
    assert interface._watcher.get() is None
    assert torch.equal(zoo.logits(made, given), wanted)


def test_an_error_in_the_model_comes_through_and_is_told():
    made, given = zoo.model("bert"), zoo.inputs("bert")
    before = settings(made)

    def fail(module: Any, inputs: Any) -> None:
        raise ZeroDivisionError("in the second layer")

    handle = made.bert.encoder.layer[1].register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError, match="in the second layer"), watch(made) as seen:
        made(**given)
    handle.remove()
    assert settings(made) == before
    assert interface._watcher.get() is None
    assert seen[0].entropy().shape == (2, 4, zoo.LENGTH)
    with pytest.raises(rg.InputError, match="stopped after 1 layers: ZeroDivisionError: in the second layer"):
        seen[1]


def test_an_error_of_ours_comes_through_the_model():
    made = zoo.model("bert")
    before = settings(made)
    with pytest.raises(rg.InputError, match="heads must be integers from 0 to 3, got 4"):
        seen_in(made, zoo.inputs("bert"), heads=[4])
    assert settings(made) == before


def test_two_models_are_watched_apart():
    inner, outer, given = zoo.model("bert"), zoo.model("llama"), zoo.inputs("bert")
    with torch.no_grad(), watch(outer) as one, watch(inner) as two:
        outer(**given)
        inner(**given)
    assert [layer.where.stack for layer in one] == ["model"] * 2
    assert [layer.where.stack for layer in two] == ["bert"] * 2


@pytest.mark.parametrize(
    "options, said",
    [
        ({"layers": [2]}, "layers must be integers from 0 to 1, got 2"),
        ({"layers": [-1]}, "layers must be counted from the first, from 0 to 1"),
        ({"keep": "all"}, 'keep must be "statistics" or "queries", got \'all\''),
        ({"top": 0}, "top must be an integer ≥ 1, got 0"),
    ],
)
def test_what_watch_refuses(options, said):
    with pytest.raises(rg.InputError, match=said), watch(zoo.model("bert"), **options):
        raise AssertionError("never runs")


def test_models_without_the_interface():
    with pytest.raises(rg.InputError, match="takes a model of transformers, got Linear"), watch(torch.nn.Linear(2, 3)):
        raise AssertionError("never runs")


def test_what_was_not_seen_or_not_kept():
    made, given = zoo.model("bert"), zoo.inputs("bert")
    with watch(made) as seen:
        pass
    with pytest.raises(rg.InputError, match="has not run inside of"):
        seen[0]
    seen = seen_in(made, given)
    for wrong in (2, -3, "0"):
        with pytest.raises(rg.InputError, match="layer must be an integer from 0 to 1"):
            seen[wrong]
    for ask in (lambda: seen[0].looks, lambda: seen[0].rows([0]), lambda: seen.rollout(row=0)):
        with pytest.raises(rg.InputError, match=r'were not kept, only statistics; watch\(model, keep="queries"\)'):
            ask()
    with pytest.raises(rg.InputError, match="kept the 8 greatest weights of a row, not 9"):
        seen[0].top(9)
    both = seen_in(zoo.model("t5"), zoo.inputs("t5"), keep="queries")
    with pytest.raises(rg.InputError, match=r"decoder: layers=\[2, 4\]; encoder: layers=\[0, 1\]"):
        both.rollout(row=0)
    assert both.rollout(row=0, layers=[0, 1]).weights.shape == (2, zoo.LENGTH)
    for wrong in ({}, {"row": 0, "column": 0}):
        with pytest.raises(rg.InputError, match="either row or column"):
            both.rollout(**wrong)
    with torch.no_grad(), watch(made) as twice:
        made(**given)
        made(**given)
    with pytest.raises(rg.InputError, match=r"the model ran 2 times: take seen.run\(i\)\[layer\]"):
        twice[0]
