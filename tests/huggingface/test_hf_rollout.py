"""Rollout of a model that was watched: rows and columns of the full product, and when it refuses."""

from __future__ import annotations

from collections.abc import Sequence

import hf_zoo as zoo
import pytest
import torch
from hf_watched import close, eager, seen_in
from torch import Tensor

import regard as rg
from regard.huggingface import watch


def product(all_weights: Sequence[Tensor], without: Sequence[int] = ()) -> Tensor:
    """Abnar & Zuidema's rollout by full matrices."""
    result = torch.eye(all_weights[0].shape[-1], dtype=torch.float64)
    for weights in all_weights:
        mean = weights.double().mean(1)
        mean[..., list(without)] = 0
        mass = mean.sum(-1, keepdim=True)
        mean = torch.where(mass > 0, mean / mass, torch.eye(mean.shape[-1]))
        result = (mean + torch.eye(mean.shape[-1])) / 2 @ result
    return result


@pytest.mark.parametrize("without", [(), (0,), (2, 5)])
@pytest.mark.parametrize("name", ["bert", "llama", "gpt_oss", "vit"])
def test_rollout_is_a_row_or_a_column_of_the_full_product(name, without):
    made, given = zoo.model(name), zoo.inputs(name)
    if name != "gpt_oss":  # whose experts have no float64
        made = made.double()
        given = {name: t.double() if t.is_floating_point() else t for name, t in given.items()}
    with torch.inference_mode(), watch(made, keep="queries") as seen:
        made(**given)
    wanted = product([layer.rows(range(layer.entropy().shape[-1])) for layer in seen], without)
    close(wanted, product(eager(made, given), without))
    assert not without or float((wanted - product(eager(made, given))).abs().max()) > 100 * 1e-6
    for at in (0, 7):
        row = seen.rollout(row=at, without_sink=list(without))
        torch.testing.assert_close(row.weights.double(), wanted[:, at], atol=1e-6, rtol=0)
        column = seen.rollout(column=at, without_sink=list(without))
        torch.testing.assert_close(column.weights.double(), wanted[:, :, at], atol=1e-6, rtol=0)
    close(row.weights.sum(-1), torch.ones(2))


def test_rollout_through_some_layers_and_decoded_tokens():
    made = zoo.model("llama")
    with watch(made, keep="queries") as seen:
        words = made.generate(zoo.tokens(2, 7), max_new_tokens=5, min_new_tokens=5, do_sample=False)
    weights = eager(made, {"input_ids": words[:, :-1]})
    for layers in ([0], [1], [0, 1]):
        wanted = product([weights[layer] for layer in layers])
        close(seen.rollout(row=-1, layers=layers).weights, wanted[:, -1])
        close(seen.rollout(column=3, layers=layers).weights, wanted[:, :, 3])


def test_a_causal_rollout_says_what_it_is():
    told = seen_in(zoo.model("llama"), zoo.inputs("llama"), keep="queries").rollout(row=-1)
    assert told.causal
    assert f"{float(told.weights[:, 0].mean()):.1%} of the row" in repr(told)
    assert "causal" in repr(told)
    assert not seen_in(zoo.model("bert"), zoo.inputs("bert"), keep="queries").rollout(row=-1).note


def test_sixteen_bits_do_not_round_the_rollout():
    made, given = zoo.model("bert").to(torch.bfloat16), zoo.inputs("bert")
    seen = seen_in(made, given, keep="queries")
    full = [layer.rows(range(zoo.LENGTH)) for layer in seen]
    torch.testing.assert_close(seen.rollout(row=4).weights.double(), product(full)[:, 4], atol=1e-6, rtol=0)


def test_rollout_refuses_entries_that_changed_places():
    made, given = zoo.model("llama"), zoo.inputs("llama")
    for order in ([0, 1], [1, 0]):
        with torch.no_grad(), watch(made, keep="queries") as seen:
            cache = made(**given).past_key_values
            cache.reorder_cache(torch.tensor(order))
            made(input_ids=zoo.tokens()[:, :1], past_key_values=cache)
        assert seen[1].rows([zoo.LENGTH]).shape == (2, 4, 1, zoo.LENGTH + 1)
        if order == [0, 1]:
            assert seen.rollout(row=-1).weights.shape == (2, zoo.LENGTH + 1)
        else:
            with pytest.raises(rg.InputError, match="changed places between tokens, as in beam search"):
                seen.rollout(row=-1)
