"""First and second derivatives against finite differences; torch.func; second derivatives in bounded memory."""

from __future__ import annotations

import pytest
import torch
from members import BIASES, KEYS, NORMALIZERS, PATTERNS, SCORES, numbers
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, jacfwd, jacrev, jvp, vjp, vmap

import regard as rg


def small() -> tuple[Tensor, Tensor, Tensor]:
    return numbers(2, 6, 3, 7), numbers(2, 3, KEYS, 7, seed=1)[..., -5:, :], numbers(2, 3, 5, 2, seed=2)


def rules() -> dict[str, rg.Rule]:
    """Every term once, in an otherwise plain rule; `hard` has straight-through gradients, not those of its output."""
    made = {f"score {name}": rg.Rule(score=make()) for name, make in SCORES.items()}
    made |= {f"bias {name}": rg.Rule(bias=make()) for name, make in BIASES.items()}
    made |= {f"normalize {name}": rg.Rule(normalize=make()) for name, make in NORMALIZERS.items() if name != "hard"}
    made |= {f"pattern {name}": rg.Rule(pattern=make()) for name, make in PATTERNS.items() if name != "packed"}
    return made


def attended(rule: rg.Rule, engine: str):
    def run(query: Tensor, key: Tensor, value: Tensor, *leaves: Tensor) -> Tensor:
        kept = iter(leaves)
        filled = [next(kept) if leaf.is_floating_point() else leaf for leaf in rule.leaves()]
        return rg.attend(query, key, value, rule.with_leaves(filled), query_start=14, key_start=12, engine=engine)

    return run


def inputs(rule: rg.Rule) -> list[Tensor]:
    floats = [leaf.clone() for leaf in rule.leaves() if leaf.is_floating_point()]
    return [t.detach().clone().requires_grad_() for t in (*small(), *floats)]


@pytest.mark.parametrize("engine", ["reference", "tiled"])
@pytest.mark.parametrize("name", rules())
def test_first_derivatives(name, engine):
    assert gradcheck(attended(rules()[name], engine), inputs(rules()[name]), fast_mode=True)


@pytest.mark.parametrize("engine", ["reference", "tiled"])
@pytest.mark.parametrize("name", rules())
def test_second_derivatives(name, engine):
    assert gradgradcheck(attended(rules()[name], engine), inputs(rules()[name]), fast_mode=True, atol=1e-4)


def test_gradcheck_can_fail():
    wrong = rg.Rule(normalize=rg.hard(1.0))
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        gradcheck(lambda q, k, v: rg.attend(q, k, v, wrong, seed=1), inputs(rg.Rule()), fast_mode=True)


MIXED = rg.Rule(pattern=rg.causal() & rg.window(3), bias=rg.alibi(), normalize=rg.softmax(0.3))
CASES = [rg.Rule(), MIXED, rg.Rule(pattern=rg.causal(), normalize=rg.entmax15()), rg.Rule(score=rg.gaussian(2.0))]


@pytest.mark.parametrize("rule", CASES, ids=repr)
def test_vmap(rule):
    q, k, v = small()
    torch.testing.assert_close(vmap(lambda *x: rg.attend(*x, rule))(q, k, v), rg.attend(q, k, v, rule))
    torch.testing.assert_close(
        vmap(lambda x: rg.attend(x, k, v, rule))(q[None].repeat(2, 1, 1, 1, 1))[1], rg.attend(q, k, v, rule)
    )


@pytest.mark.parametrize("rule", CASES, ids=repr)
def test_jvp_is_the_transpose_of_vjp(rule):
    q, k, v = small()
    tangents = [numbers(*t.shape, seed=9 + n) for n, t in enumerate((q, k, v))]
    out, forward = jvp(lambda *x: rg.attend(*x, rule), (q, k, v), tuple(tangents))
    _, pull = vjp(lambda *x: rg.attend(*x, rule), q, k, v)
    upstream = numbers(*out.shape, seed=13)
    assert (forward * upstream).sum() == pytest.approx(
        sum((a * b).sum() for a, b in zip(pull(upstream), tangents, strict=True))
    )
    with forward_ad.dual_level():
        dual = rg.attend(*(forward_ad.make_dual(t, d) for t, d in zip((q, k, v), tangents, strict=True)), rule)
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, forward)


@pytest.mark.parametrize("rule", CASES, ids=repr)
def test_gradients_of_each_sample_and_hessians(rule):
    q, k, v = small()
    loss = lambda *x: rg.attend(*x, rule).square().sum()  # noqa: E731
    leaves = [t.clone().requires_grad_() for t in (q, k, v)]
    expected = torch.autograd.grad(loss(*leaves), leaves)
    for found in (grad(loss, (0, 1, 2))(q, k, v), vmap(grad(loss, (0, 1, 2)))(q, k, v)):
        for got, want in zip(found, expected, strict=True):
            torch.testing.assert_close(got, want)
    one = q[0, :, :1]
    hessian = jacfwd(jacrev(lambda x: loss(x, k[0], v[0])))(one)
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(lambda x: loss(x, k[0], v[0]), one))


def test_vmap_over_a_mask_and_over_a_table():
    q, k, v = small()
    seen = numbers(2, 3, 5) > -0.5
    found = vmap(lambda q, k, v, m: rg.attend(q, k, v, rg.mask(m), query_start=0))(q, k, v, seen)
    torch.testing.assert_close(found, rg.attend(q, k, v, rg.mask(seen[:, None]), query_start=0))
    tables = numbers(4, 6, 9)
    found = vmap(lambda table: rg.attend(q, k, v, rg.relative(table)))(tables)
    torch.testing.assert_close(found, torch.stack([rg.attend(q, k, v, rg.relative(table)) for table in tables]))


@pytest.mark.parametrize("engine", ["sdpa", "tiled"])
def test_second_derivative_of_an_engine_without_one(engine):
    """PyTorch's fused kernel has no second derivative; the fallback engine takes over."""
    q, k, v = (t.detach().requires_grad_() for t in small())

    def second(name: str) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(rg.attend(q, k, v, engine=name).square().sum(), (q, k, v), create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), (q, k, v))

    for got, want in zip(second(engine), second("reference"), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "pattern",
    [
        rg.global_tokens([7, 150]) | rg.window(4),
        rg.edges(torch.tensor([[0, 30], [5, 7]])),
        rg.blocks(8, torch.eye(38, dtype=torch.bool)),
        rg.documents([100, 200]) & rg.causal(),
    ],
    ids=repr,
)
def test_transforms_of_patterns_with_gaps_and_tensors(pattern):
    q = numbers(1, 2, 300, 4)
    plain = q.clone().requires_grad_()
    (expected,) = torch.autograd.grad(rg.attend(plain, plain, plain, pattern).square().sum(), plain)
    found = grad(lambda x: rg.attend(x, x, x, pattern).square().sum())(q)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rule", CASES, ids=repr)
def test_weights_under_transforms(rule):
    q, k, _ = small()
    torch.testing.assert_close(vmap(lambda a, b: rg.weights(a, b, rule))(q, k), rg.weights(q, k, rule))
    plain = q.clone().requires_grad_()
    (expected,) = torch.autograd.grad(rg.weights(plain, k, rule).square().sum(), plain)
    torch.testing.assert_close(grad(lambda x: rg.weights(x, k, rule).square().sum())(q), expected)
