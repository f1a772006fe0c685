"""Held: the tensors of a rule belong to the module that holds it, under names that say where they stand."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Iterator

import torch
from torch import Tensor, nn

import regard as rg
from regard.nn.held import Held
from regard.rule import as_rule
from regard.terms.tree import Term

HEADS = 3


class Layer(nn.Module):
    def __init__(self, rule: Term) -> None:
        super().__init__()
        self.rule = Held(as_rule(rule))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return rg.attend(query, key, value, self.rule())


def learned(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape))


def every_room() -> rg.Rule:
    """A learned scale, a tuple in which one part stands twice, a sum of biases, and a learned sink."""
    same = rg.padding(torch.tensor([5, 7]))
    return rg.Rule(
        score=rg.softcap(rg.dot(learned(HEADS)), 3.0),
        pattern=rg.per_head(same, rg.causal(), same),
        bias=rg.relative(learned(HEADS, 9)) + rg.alibi(torch.rand(HEADS)),
        normalize=rg.softmax(sink=learned(HEADS)),
    )


def inputs() -> tuple[Tensor, ...]:
    return tuple(torch.randn(2, HEADS, 7, 5) for _ in range(3))


def test_names_say_where_a_tensor_stands() -> None:
    layer = Layer(every_room())
    assert [name for name, _ in layer.named_parameters()] == [
        "rule.score.score.scale",
        "rule.bias.parts.0.table",
        "rule.normalize.sink",
    ]
    buffers = [name for name, _ in layer.named_buffers()]
    assert buffers == ["rule.pattern.patterns.0.length", "rule.bias.parts.1.slopes"]
    assert repr(layer.rule) == (
        "Held(softmax[sink=<3>]( softcap(dot·<3>, 3) + relative(<3×9>) + alibi(<3>) | "
        "per_head(padding(<2>), causal, padding(<2>)) ))"
    )


def test_the_rule_is_the_one_that_was_given() -> None:
    rule = every_room()
    held = Held(rule)()
    assert type(held) is rg.Rule and repr(held) == repr(rule)
    assert all(a is b for a, b in zip(held.leaves(), rule.leaves(), strict=True))
    still = rg.Rule(pattern=rg.causal() & rg.window(3), bias=rg.alibi())
    assert Held(still)() is still and not list(Held(still).parameters())


def test_what_becomes_of_the_tensors_reaches_the_rule() -> None:
    layer, (query, key, value) = Layer(every_room()), inputs()
    before = layer(query, key, value)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(query, key, value), before)
        with torch.no_grad():
            twin.rule.bias.parts[0].table.mul_(2)
        assert (twin(query, key, value) - before).abs().max() > 0.01
        twin.load_state_dict(layer.state_dict())
        assert torch.equal(twin(query, key, value), before)
    doubled = copy.deepcopy(layer).double()
    assert doubled.rule().bias.parts[0].table.dtype == torch.float64
    torch.testing.assert_close(doubled(query.double(), key.double(), value.double()).float(), before)


def test_gradients_reach_the_parameters_compiled_too() -> None:
    layer, given = Layer(every_room()), inputs()
    layer(*given).square().sum().backward()
    plain = {name: one.grad.clone() for name, one in layer.named_parameters() if one.grad is not None}
    assert len(plain) == 3 and all(grad.abs().max() > 0.01 for grad in plain.values())
    layer.zero_grad()
    torch.compile(layer, fullgraph=True)(*given).square().sum().backward()
    for name, one in layer.named_parameters():
        torch.testing.assert_close(one.grad, plain[name])


def test_no_field_of_a_term_has_a_name_that_modules_use() -> None:
    """Held gives a tensor the name of its field, which `nn.Module` refuses where it has an attribute of that name."""

    def below(kind: type) -> Iterator[type]:
        yield kind
        for sub in kind.__subclasses__():
            yield from below(sub)

    kinds = [kind for kind in below(Term) if dataclasses.is_dataclass(kind) and kind.__module__.startswith("regard.")]
    assert len(kinds) > 30
    clashes = [
        f"{kind.__name__}.{field.name}"
        for kind in kinds
        for field in dataclasses.fields(kind)
        if hasattr(nn.Module(), field.name)
    ]
    assert not clashes
