"""Laws that every module of `regard.nn` keeps, found by name."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from examples import EXAMPLES, Example
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import regard as rg

OTHERWISE = {"Held"}
"""Modules that give no tensor; their own tests say what they do."""

MODULES = [
    name
    for name in rg.nn.__all__
    if isinstance(getattr(rg.nn, name), type) and issubclass(getattr(rg.nn, name), nn.Module) and name not in OTHERWISE
]
CASES = [pytest.param(one, id=f"{name} {n}") for name, some in EXAMPLES.items() for n, one in enumerate(some)]
REFUSED = [
    pytest.param(one, given, words, id=f"{name} {n}: {words}")
    for name, some in EXAMPLES.items()
    for n, one in enumerate(some)
    for words, given in one.wrong.items()
]


def called(module: nn.Module, example: Example) -> Tensor:
    """The module on its example's inputs, the same ones every time, in the module's dtype."""
    torch.manual_seed(1)
    dtype = next((p.dtype for p in module.parameters()), torch.get_default_dtype())

    def follow(leaf: Any) -> Any:
        return leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

    args, options = pytree.tree_map(follow, (example.inputs(), example.options()))
    return module(*args, **options)


def tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_an_example(name: str) -> None:
    assert EXAMPLES.get(name), f"give regard.nn.{name} an example in tests/nn/examples.py"
    for example in EXAMPLES[name]:
        assert type(example.make()) is getattr(rg.nn, name)
    assert any(example.wrong for example in EXAMPLES[name]) or name == "LearnedPositions"  # tests/test_positions.py


@pytest.mark.parametrize("example", CASES)
def test_state_dict(example: Example) -> None:
    one, other = example.make().eval(), example.make().eval()
    wanted = called(one, example)
    if list(one.parameters()):
        assert (called(other, example) - wanted).abs().max() > 1e-3
    other.load_state_dict(one.state_dict())
    assert torch.equal(called(other, example), wanted)
    assert set(tensors(one)) == set(one.state_dict())


@pytest.mark.parametrize("example", CASES)
@pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "pickle"])
def test_copies(example: Example, again: Any) -> None:
    one = example.make().eval()
    wanted, twin = called(one, example), again(one)
    assert torch.equal(called(twin, example), wanted)
    mine, others = tensors(one), tensors(twin)
    assert list(mine) == list(others) and not any(mine[name] is others[name] for name in mine)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.5)
    assert torch.equal(called(one, example), wanted)
    if list(one.parameters()):
        assert (called(twin, example) - wanted).abs().max() > 1e-3


@pytest.mark.parametrize("example", CASES)
def test_other_types(example: Example) -> None:
    one = example.make().eval()
    wanted = called(one, example)
    double = copy.deepcopy(one).to(torch.float64)
    assert all(t.dtype == torch.float64 for t in tensors(double).values() if t.is_floating_point())
    assert called(double, example).dtype == torch.float64
    torch.testing.assert_close(called(double, example).float(), wanted, rtol=1e-4, atol=1e-4)
    half = called(copy.deepcopy(one).to(torch.bfloat16), example)
    assert half.dtype == torch.bfloat16 and half.isfinite().all()


@pytest.mark.parametrize("example", CASES)
def test_gradients_reach_every_parameter(example: Example) -> None:
    one = example.make().double().eval()
    called(one, example).square().sum().backward()
    lost = [name for name, p in one.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not lost


@pytest.mark.parametrize("example", CASES)
def test_compiled(example: Example) -> None:
    one = example.make().eval()
    wanted = called(one, example)
    grads = torch.autograd.grad(wanted.square().sum(), list(one.parameters()), allow_unused=True)
    torch.compiler.reset()
    made = torch.compile(one, fullgraph=True, backend="aot_eager")
    got = called(made, example)
    torch.testing.assert_close(got, wanted)
    again = torch.autograd.grad(got.square().sum(), list(one.parameters()), allow_unused=True)
    for a, b in zip(again, grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("example", CASES)
def test_it_prints_its_sizes(example: Example) -> None:
    one = example.make()
    said = repr(one)
    assert said.startswith(f"{type(one).__name__}(") and any(sign.isdigit() for sign in said)
    assert "object at" not in said and "Parameter containing" not in said


@pytest.mark.parametrize(("example", "given", "words"), REFUSED)
def test_wrong_shapes(example: Example, given: Any, words: str) -> None:
    with pytest.raises(rg.InputError) as caught:
        example.make()(*given())
    assert words in str(caught.value), caught.value
    assert "\n" not in str(caught.value)
