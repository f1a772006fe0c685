"""Heads silenced, taken out, weighed and compared: by hand on tiny models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hf_zoo as zoo
import pytest
import torch
from hf_watched import eager, seen_in
from torch import Tensor

import regard as rg
from regard.huggingface import importance_by_gradient, importance_by_masking, mask_heads, prune_heads, watch

OUT = {
    "bert": "bert.encoder.layer.{}.attention.output.dense",
    "llama": "model.layers.{}.self_attn.o_proj",
    "distilbert": "distilbert.transformer.layer.{}.attention.out_lin",
    "gpt_oss": "model.layers.{}.self_attn.o_proj",
}
DIM = 8


def without(name: str, layer: int, heads: list[int]) -> Any:
    """A model whose output projection ignores some heads: what `mask_heads` must give."""
    made = zoo.model(name)
    weight = made.get_submodule(OUT[name].format(layer)).weight
    with torch.no_grad():
        for head in heads:
            weight[:, head * DIM : (head + 1) * DIM] = 0
    return made


@pytest.mark.parametrize("name", OUT)
def test_a_masked_head_gives_nothing(name):
    made, given = zoo.model(name), zoo.inputs(name)
    with torch.no_grad():
        before = zoo.logits(made, given)
        with mask_heads(made, {1: [3, 0], 0: []}):
            found = zoo.logits(made, given)
        wanted = zoo.logits(without(name, 1, [0, 3]), given)
        again = zoo.logits(made, given)
    assert zoo.apart(found, wanted) <= zoo.TOLERANCE
    assert zoo.apart(found, before) > 100 * zoo.TOLERANCE
    assert torch.equal(again, before)  # eager attention, as before


def test_masks_add_up_and_are_seen_by_watch():
    made, given = zoo.model("llama"), zoo.inputs("llama")
    with torch.no_grad():
        with mask_heads(made, {0: [1]}), mask_heads(made, {0: [2], 1: [0]}), watch(made) as seen:
            inner = zoo.logits(made, given)
        with mask_heads(made, {0: [1, 2], 1: [0]}):
            assert torch.equal(zoo.logits(made, given), inner)
    assert len(seen) == 2


def test_a_module_that_runs_several_times_is_several_layers():
    """ALBERT's one module is layers 0 and 1; an error in between leaves the model as it was."""
    made, given = zoo.model("albert"), zoo.inputs("albert")
    with torch.no_grad():
        with mask_heads(made, {0: [0, 1, 2, 3]}), watch(made, keep="queries") as first:
            made(**given)
        with mask_heads(made, {1: [0, 1, 2, 3]}), watch(made, keep="queries") as second:
            made(**given)
        with watch(made, keep="queries") as plain:
            made(**given)
    assert torch.equal(second[1].calls[0].query, plain[1].calls[0].query)  # layer 0 gave what it gives
    assert not torch.equal(first[1].calls[0].query, plain[1].calls[0].query)
    with pytest.raises(KeyError), mask_heads(made, {0: [0]}):
        raise KeyError
    assert made.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("heads", "said"),
    [({2: [0]}, "layers must be .* from 0 to 1, got 2"), ({0: [4]}, "heads must be integers from 0 to 3, got 4")],
)
def test_heads_that_are_not_there(heads, said):
    made = zoo.model("bert")
    with pytest.raises(rg.InputError, match=said), mask_heads(made, heads):
        made(**zoo.inputs("bert"))
    assert made.config._attn_implementation == "eager"


def test_a_model_without_the_interface_can_not_be_masked():
    from transformers import XLNetConfig, XLNetModel

    made = XLNetModel(XLNetConfig(vocab_size=9, d_model=8, n_layer=1, n_head=2, d_inner=8))
    with pytest.raises(rg.InputError, match="computes attention by itself"), mask_heads(made, {0: [0]}):
        pass


def surprise(made: Any) -> Callable[[Tensor], Tensor]:
    """The loss of each text: how unlikely its last token is."""

    def losses(ids: Tensor) -> Tensor:
        return -made(input_ids=ids).logits[:, -1].log_softmax(-1)[:, 7]

    return losses


def test_importance_by_masking_is_the_change_of_the_loss():
    made, ids = zoo.model("bert"), zoo.tokens(5)
    found = importance_by_masking(made, surprise(made), [ids[:2], ids[2:]])
    with torch.no_grad():
        for layer, head in ((0, 0), (1, 2)):
            change = surprise(without("bert", layer, [head]))(ids).mean() - surprise(made)(ids).mean()
            assert float(found.scores[layer][head]) == pytest.approx(float(change), abs=1e-5)
    assert [len(scores) for scores in found.scores.values()] == [4, 4]
    order = found.order()
    assert sorted(order) == [(layer, head) for layer in range(2) for head in range(4)]
    assert found.scores[order[0][0]][order[0][1]] == min(float(scores.min()) for scores in found.scores.values())


def test_importance_by_gradient_is_a_difference_quotient_of_each_example():
    """ξ moved to 1 ± ε by hand, in the output projection; and examples one by one, so that signs don't cancel."""
    made, ids = zoo.model("bert").double(), zoo.tokens(5)
    found = importance_by_gradient(made, surprise(made), [ids[:3], ids[3:]])
    weight = made.get_submodule(OUT["bert"].format(0)).weight
    part, step = weight[:, 3 * DIM : 4 * DIM], 1e-4
    kept = part.detach().clone()
    with torch.no_grad():
        moved = []
        for factor in (1 + step, 1 - step):
            part.copy_(kept * factor)
            moved.append(surprise(made)(ids))
        part.copy_(kept)
    slopes = (moved[0] - moved[1]) / (2 * step)
    assert float(found.scores[0][3]) == pytest.approx(float(slopes.abs().mean()), rel=1e-5)
    assert float(slopes.mean().abs()) < 0.9 * float(slopes.abs().mean())  # else the test would not see it
    lengths = [float(scores.norm()) for scores in found.by_layer().scores.values()]
    assert lengths == pytest.approx([1, 1])


def test_losses_that_are_none():
    made, ids = zoo.model("bert"), zoo.tokens(2)
    with pytest.raises(rg.InputError, match=r"the loss of each example, \[examples\].*; got \[\]"):
        importance_by_masking(made, lambda batch: surprise(made)(batch).mean(), [ids])
    with pytest.raises(rg.InputError, match="computed with gradients"):
        importance_by_gradient(made, lambda batch: surprise(made)(batch).detach(), [ids])
    with pytest.raises(rg.InputError, match="at least one example"):
        importance_by_masking(made, surprise(made), [])
    with pytest.raises(rg.InputError, match="at least one example"):
        importance_by_gradient(made, surprise(made), [])
    other = surprise(zoo.model("bert"))
    for importance in (importance_by_masking, importance_by_gradient):
        with pytest.raises(rg.InputError, match="must run the model"):
            importance(made, other, [ids])


def test_importance_by_gradient_where_the_model_runs_twice():
    """A loss of two texts owes to a head what both runs do."""
    made, ids = zoo.model("bert").double(), zoo.tokens(4)
    one = surprise(made)
    found = importance_by_gradient(made, lambda pair: one(pair[0]) + 2 * one(pair[1]), [(ids[:2], ids[2:])])
    turned = importance_by_gradient(made, lambda pair: 2 * one(pair[1]) + one(pair[0]), [(ids[:2], ids[2:])])
    last = importance_by_gradient(made, lambda ids: 2 * one(ids), [ids[2:]])
    for layer, scores in found.scores.items():
        torch.testing.assert_close(scores, turned.scores[layer])
        assert not torch.allclose(scores, last.scores[layer], rtol=1e-2)
    with pytest.raises(rg.InputError, match="on 1 and on 3 examples"):
        importance_by_gradient(made, lambda ids: one(ids[:1]) + one(ids[1:]).sum(), [ids])


def test_importance_by_gradient_of_checkpointed_layers():
    made, ids = zoo.model("bert").double(), zoo.tokens(3)
    wanted = importance_by_gradient(made, surprise(made), [ids])
    made.train()
    for part in made.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    made.config.attention_probs_dropout_prob = 0.0
    getattr(made, "activation_checkpointing_enable", made.gradient_checkpointing_enable)()
    found = importance_by_gradient(made, surprise(made), [ids])
    for layer, scores in wanted.scores.items():
        torch.testing.assert_close(found.scores[layer], scores)


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("bert", {0: [1, 3], 1: [2]}),
        ("llama", {0: [0, 1], 1: [0, 3]}),
        ("distilbert", {1: [0]}),
        ("qwen3", {0: [2, 3]}),
        ("bart", {0: [1], 5: [2, 0]}),
    ],
)
def test_pruned_is_masked_with_fewer_numbers(name, heads):
    made, given = zoo.model(name), zoo.inputs(name)
    before = sum(one.numel() for one in made.parameters())
    with torch.no_grad():
        with mask_heads(made, heads):
            wanted = zoo.logits(made, given)
        assert prune_heads(made, heads) is made
        for implementation in ("regard", "eager"):
            assert zoo.apart(zoo.logits(zoo.under(made, implementation), given), wanted) <= zoo.TOLERANCE
    assert sum(one.numel() for one in made.parameters()) < before
    if name == "bert":  # query, key, value and output, 8 × 32 each, less 3 · 8 biases
        assert before - sum(one.numel() for one in made.parameters()) == 3 * (4 * DIM * 32 + 3 * DIM)


@pytest.mark.parametrize(
    ("name", "heads", "said"),
    [
        ("bert", {0: [0, 1, 2, 3]}, "no head would stay"),
        ("llama", {0: [0]}, r"on its key heads \[1, 2\] query heads would stay"),
        ("gpt2", {0: [0]}, "no projections that prune_heads knows"),
        ("albert", {0: [0]}, "1 attention modules in 2 layers"),
        ("gpt_oss", {0: [0, 1]}, "holds numbers by head in sinks"),
        ("bert", {1: [0], 2: [0]}, "from 0 to 1, got 2"),
        ("bert", {0: [4]}, "from 0 to 3, got 4"),
    ],
)
def test_what_can_not_be_pruned_stays_whole(name, heads, said):
    made = zoo.model(name)
    before = {key: one.clone() for key, one in made.state_dict().items()}
    with pytest.raises(rg.InputError, match=said):
        prune_heads(made, heads)
    assert all(torch.equal(one, before[key]) for key, one in made.state_dict().items())


def test_agreement_is_that_of_full_weights():
    made, given = zoo.model("gemma2"), zoo.inputs("gemma2", zoo.padded("left"))
    seen = seen_in(made, given, keep="queries")
    found = seen.agreement()
    full = torch.cat(eager(made, given), 1).double()
    for entry, missing in enumerate((0, 3, 5)):
        roots = full[entry, :, missing:].sqrt()
        wanted = torch.einsum("hij,gij->hg", roots, roots) / roots.shape[1]
        torch.testing.assert_close(found[entry], wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.diagonal(dim1=1, dim2=2), torch.ones(3, 8, dtype=torch.float64), atol=1e-5, rtol=0)
    assert float(found.min()) < 0.9
    torch.testing.assert_close(
        seen.agreement([1], rows=[9, 11])[0, 0, 0], torch.tensor(1.0).double(), atol=1e-5, rtol=0
    )
    with pytest.raises(rg.InputError, match="were not kept"):
        seen_in(made, given).agreement()
    for rows in ([99], [0.5]):
        with pytest.raises(rg.InputError, match="rows must be integers"):
            seen.agreement([1], rows=rows)
    assert seen.agreement([1], rows=[]).count_nonzero() == 0
