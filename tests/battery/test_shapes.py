"""Leading dimensions, groups, offsets, strides, lengths of nothing: every engine gives what one plain loop gives."""

from __future__ import annotations

import pytest
import torch
from members import numbers
from torch import Tensor

import regard as rg
from regard.planning import ENGINES as ALL

ENGINES = [name for name in ALL if name != "native"]
"""The kernels are for float32: tests/battery/test_native.py."""

LOCAL = rg.Rule(pattern=rg.causal() & rg.window(5), bias=rg.alibi())
RULES = {"reference": LOCAL, "tiled": LOCAL, "flex": LOCAL, "sdpa": rg.Rule()}
"""For every engine the richest rule that it takes."""


def loop(query: Tensor, key: Tensor, value: Tensor, rule: rg.Rule) -> Tensor:
    """One head of one batch entry at a time, leading dimensions expanded and key heads repeated."""
    heads = query.shape[-3] if query.ndim > 2 else 1
    query, key, value = (t if t.ndim > 2 else t[None] for t in (query, key, value))
    repeat = heads // key.shape[-3]
    key, value = key.repeat_interleave(repeat, -3), value.repeat_interleave(repeat, -3)
    lead = torch.broadcast_shapes(*(t.shape[:-2] for t in (query, key, value)))
    flat = [t.expand(*lead, *t.shape[-2:]).reshape(-1, *t.shape[-2:]) for t in (query, key, value)]
    slopes = rg.alibi().for_heads(heads, query.device).slopes
    made = []
    for n, (q, k, v) in enumerate(zip(*flat, strict=True)):
        one = rule if rule.bias is None else rg.Rule(rule.score, rule.pattern, rg.alibi(slopes[n % heads, None]))
        made.append(rg.attend(q, k, v, one, engine="reference"))
    return torch.stack(made).reshape(*lead, *made[0].shape)


SHAPES = [
    ((7, 5), (11, 5), (11, 3)),
    ((2, 7, 5), (2, 11, 5), (2, 11, 3)),
    ((6, 7, 5), (3, 11, 5), (3, 11, 2)),
    ((2, 6, 7, 5), (2, 3, 11, 5), (2, 3, 11, 2)),
    ((3, 2, 6, 7, 5), (3, 2, 2, 11, 5), (3, 2, 2, 11, 13)),
    ((3, 1, 6, 7, 5), (1, 2, 2, 11, 5), (3, 2, 2, 11, 13)),
    ((6, 7, 5), (3, 2, 11, 5), (3, 2, 11, 2)),
    ((2, 6, 7, 5), (1, 11, 5), (1, 11, 2)),
    ((1, 1, 2, 5), (1, 1, 137, 5), (1, 1, 137, 2)),
    ((1, 2, 149, 5), (1, 1, 151, 5), (1, 1, 151, 2)),
]


def found(query: Tensor, key: Tensor, value: Tensor, engine: str) -> Tensor:
    return rg.attend(query, key, value, RULES[engine], engine=engine)


def test_every_engine_has_a_rule():
    assert set(RULES) == set(ENGINES)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_leading_dimensions_and_groups(shapes, engine):
    query, key, value = (numbers(*shape, seed=n, scale=3 - n) for n, shape in enumerate(shapes))
    out = found(query, key, value, engine)
    expected = loop(query, key, value, RULES[engine]).reshape(out.shape)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dim", [1, 17, 40, 80, 256])
def test_dims(dim, engine):
    query, key, value = numbers(2, 7, dim, scale=3), numbers(2, 11, dim, seed=1), numbers(2, 11, dim, seed=2)
    out = found(query, key, value, engine)
    torch.testing.assert_close(out, loop(query, key, value, RULES[engine]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "lead, queries, keys", [((2, 3), 0, 5), ((2, 3), 5, 0), ((0, 3), 5, 7), ((2, 0), 5, 7), ((2, 3), 0, 0)]
)
@pytest.mark.parametrize(
    "normalize", [rg.softmax(0.5), rg.sparsemax(), rg.entmax15(), rg.top_k(2), rg.sigmoid(), rg.hard()]
)
def test_lengths_of_nothing(lead, queries, keys, engine, normalize):
    query, key, value = (torch.ones(*lead, n, d, requires_grad=True) for n, d in ((queries, 5), (keys, 5), (keys, 3)))
    rule = rg.Rule(pattern=rg.causal(), bias=rg.alibi() if lead[1] else None, normalize=normalize)
    try:
        out = rg.attend(query, key, value, rule, engine=engine)
    except rg.EngineError as refused:
        assert engine not in ("reference", "tiled"), refused
        return
    assert out.shape == (*lead, queries, 3)
    assert not out.any()
    out.sum().backward()
    assert all(t.grad is not None and not t.grad.any() for t in (query, key))


def strided(tensor: Tensor) -> list[Tensor]:
    """The same numbers in other strides: transposed, with gaps, on a negative-free view of a larger block."""
    wide = torch.full((*tensor.shape[:-1], tensor.shape[-1] * 2), float("nan"), dtype=tensor.dtype)
    wide[..., ::2] = tensor
    return [tensor.mT.contiguous().mT, wide[..., ::2], tensor.transpose(0, 1).contiguous().transpose(0, 1)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("which", range(3))
def test_strides(which, engine):
    plain = [numbers(2, 6, 7, 5, scale=3), numbers(2, 3, 11, 5, seed=1), numbers(2, 3, 11, 2, seed=2)]
    expected = found(*plain, engine)
    odd = [strided(t)[which].requires_grad_(engine != "flex") for t in plain]
    out = rg.attend(*odd, RULES[engine], engine=engine)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-14)
    if engine == "flex":
        return
    grads = torch.autograd.grad(out.square().sum(), odd)
    plain = [t.requires_grad_() for t in plain]
    wanted = torch.autograd.grad(rg.attend(*plain, RULES[engine], engine=engine).square().sum(), plain)
    for got, want in zip(grads, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("engine", ENGINES)
def test_stride_zero(engine):
    """One key head seen by every batch entry through a stride of 0; its gradient is the sum."""
    query, one, value = numbers(5, 2, 7, 3, scale=3), numbers(1, 2, 11, 3, seed=1), numbers(1, 2, 11, 2, seed=2)
    expected = rg.attend(query, one.repeat(5, 1, 1, 1), value, RULES[engine], engine="reference")
    for key, val in ((one, value), (one.expand(5, -1, -1, -1), value.expand(5, -1, -1, -1))):
        torch.testing.assert_close(found(query, key, val, engine), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("engine", ENGINES)
def test_offsets_per_batch_entry(engine):
    """Each batch entry as if it were alone with its own offsets, forward and backward."""
    query, key, value = (
        t.requires_grad_() for t in (numbers(3, 2, 7, 5), numbers(3, 2, 11, 5, seed=1), numbers(3, 2, 11, 3, seed=2))
    )
    first_query, first_key = torch.tensor([4, 9, 2]), torch.tensor([0, 3, 1])
    rule = rg.Rule(
        pattern=rg.causal() & ~rg.mask(numbers(1, 29, 29, seed=3) > 1),
        bias=rg.relative(numbers(2, 9, seed=4))
        + rg.bias.keys(numbers(29, seed=5))
        + rg.bias.tensor(numbers(29, 29, seed=6)),
    )
    try:
        out = rg.attend(query, key, value, rule, query_start=first_query, key_start=first_key, engine=engine)
    except rg.EngineError:
        return
    alone = []
    for q, k, v, i, j in zip(query, key, value, first_query.tolist(), first_key.tolist(), strict=True):
        alone.append(rg.attend(q, k, v, rule, query_start=i, key_start=j, engine="reference"))
    torch.testing.assert_close(out, torch.stack(alone), rtol=0, atol=1e-12)
    grads = torch.autograd.grad(out.square().sum(), (query, key, value))
    wanted = torch.autograd.grad(torch.stack(alone).square().sum(), (query, key, value))
    for got, want in zip(grads, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_weights_of_some_rows_are_those_rows():
    query, key, _ = numbers(2, 6, 149, 5, scale=3), numbers(2, 3, 151, 5, seed=1), None
    rule = rg.Rule(pattern=rg.causal(), bias=rg.relative(numbers(6, 9)), normalize=rg.softmax(0.3))
    whole = rg.weights(query, key, rule)
    assert whole.shape == (2, 6, 149, 151)
    some = rg.weights(query, key, rule, rows=[140, 3, 4, 5, -1, 3])
    torch.testing.assert_close(some, whole[..., [140, 3, 4, 5, 148, 3], :], rtol=0, atol=1e-14)
    assert rg.weights(query, key, rule, rows=[]).shape == (2, 6, 0, 151)
