"""Every term in compiled code: without a graph break it gives what it gives eagerly, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from members import BIASES, NORMALIZERS, PATTERNS, SCORES, numbers, tensors
from test_battery import first_query
from torch import Tensor

import regard as rg
from regard.rule import as_rule
from regard.terms.spelling import read, spell
from regard.terms.tree import Term

MAKERS: dict[str, Callable[[], Term]] = {**SCORES, **PATTERNS, **NORMALIZERS}
MAKERS |= {f"bias {name}": make for name, make in BIASES.items()}  # both patterns and biases have edges


@pytest.fixture(autouse=True)
def nothing_compiled() -> None:
    torch._dynamo.reset()


def gradients(run: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    out = run(*inputs)
    return [out, *torch.autograd.grad(out, inputs, numbers(*out.shape, seed=9), materialize_grads=True)]


@pytest.mark.parametrize("name", MAKERS)
def test_a_rule_that_is_handed_over(name: str) -> None:
    """Its tensors are inputs of the graph, and get their gradients."""
    rule = as_rule(MAKERS[name]())
    floats = [leaf.clone().requires_grad_() for leaf in rule.leaves() if leaf.is_floating_point()]

    def run(query: Tensor, key: Tensor, value: Tensor, *leaves: Tensor) -> Tensor:
        return rg.attend(query, key, value, filled, query_start=first_query(name), seed=7)

    kept = iter(floats)
    filled = rule.with_leaves([next(kept) if leaf.is_floating_point() else leaf for leaf in rule.leaves()])
    inputs = [*(t.requires_grad_() for t in tensors()), *floats]
    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    for got, want in zip(gradients(compiled, inputs), gradients(run, inputs), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", MAKERS)
def test_text_and_back(name: str) -> None:
    term = MAKERS[name]()
    text, leaves, integers = spell(term)
    assert [id(leaf) for leaf in leaves] == [id(leaf) for leaf in term.leaves()]
    again = read(text, leaves, integers)
    assert repr(again) == repr(term)
    assert spell(again)[0] == text and spell(again)[2] == integers
    assert [id(leaf) for leaf in again.leaves()] == [id(leaf) for leaf in leaves]


TABLE = numbers(6, 9, seed=1)
SEEN = numbers(17, 17, seed=2) > 0
INSIDE: dict[str, Callable[..., Any]] = {
    "dot": lambda: rg.dot(0.5),
    "softcap": lambda: rg.softcap(rg.dot(), 2.0),
    "cosine": lambda: rg.cosine(4.0),
    "gaussian": lambda: rg.gaussian(2.0),
    "general": lambda: rg.general(TABLE[:, :1, None].expand(6, 7, 7)),
    "additive": lambda: rg.additive(TABLE[:, :7], TABLE[:, 2:], TABLE[0, :6]),
    "softmax": lambda: rg.softmax(0.5),
    "sigmoid": lambda: rg.sigmoid(-1.0),
    "relu": lambda: rg.relu(2, 3),
    "sparsemax": rg.sparsemax,
    "entmax15": rg.entmax15,
    "top_k": lambda: rg.top_k(3),
    "hard": lambda: rg.hard(0.7),
    "bias alibi": lambda: rg.alibi() + rg.alibi(TABLE[:, 0]),
    "bias relative": lambda: rg.relative(TABLE),
    "bias t5": lambda: rg.t5(TABLE[:, :8]),
    "bias keys": lambda: rg.bias.keys(SEEN[0].double()),
    "bias edges": lambda: rg.bias.edges(torch.tensor([[3, 1], [5, 7]]), TABLE[:, :2]),
    "bias tensor": lambda: rg.bias.tensor(SEEN.double()),
    "everything": lambda: rg.everything() & rg.causal(),
    "causal": lambda: rg.causal() & rg.window(4) | rg.prefix(2),
    "window": lambda: rg.window(before=3, after=1),
    "documents": lambda: rg.documents(torch.tensor([9, 8])),
    "packed": lambda: rg.packed([4, 9], torch.tensor([9, 8]), rg.window(3)),
    "padding": lambda: rg.padding(torch.tensor([9, 17])) & rg.padding(SEEN[:2]),
    "prefix": lambda: rg.prefix(torch.tensor([9, 17])),
    "global_tokens": lambda: rg.global_tokens(3, torch.tensor([5, 7])),
    "strided": lambda: rg.strided(3),
    "blocks": lambda: rg.blocks(6, SEEN[:3, :3]) | rg.blocks(5),
    "random_blocks": lambda: rg.random_blocks(3, 2, 17),
    "neighborhood": lambda: rg.neighborhood((3, 3), (3, 6)),
    "axial": lambda: rg.axial((3, 6), axis=-1),
    "edges": lambda: rg.edges(torch.tensor([[3, 1], [5, 7]])),
    "mask": lambda: rg.mask(SEEN),
    "per_head": lambda: rg.per_head([rg.causal(), rg.window(3)] * 3),
    "per_batch": lambda: rg.per_batch(rg.causal(), rg.window(3)),
}


def test_every_term_is_written_inside_as_well() -> None:
    assert set(INSIDE) == set(MAKERS)


@pytest.mark.parametrize("name", INSIDE)
def test_a_rule_that_is_written_inside(name: str) -> None:
    inputs, made = tensors(), INSIDE[name]

    def run(*inputs: Tensor) -> Tensor:
        return rg.attend(*inputs, made(), query_start=first_query(name), seed=7)

    torch.testing.assert_close(torch.compile(run, backend="eager", fullgraph=True)(*inputs), run(*inputs))


def test_not_is_written_outside() -> None:
    """PyTorch does not trace `~` of an object; this tells when it does, so that the documents may say so."""
    with pytest.raises(torch._dynamo.exc.Unsupported, match="invert"):
        torch.compile(lambda *x: rg.attend(*x, ~rg.causal()), backend="eager", fullgraph=True)(*tensors())
