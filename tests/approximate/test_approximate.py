"""Approximations against their own definitions, against the exact equation, and against what they must not see."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import elu

import regard as rg
from regard import approximate
from regard.approximate import features, sums

BATCH, HEADS, KV_HEADS, LENGTH, DIM, VALUE_DIM = 2, 6, 3, 307, 13, 7
"""The length is more than two chunks of rows and one block of keys."""

RULES = [None, rg.causal(), rg.padding(torch.tensor([101, 307])), rg.causal() & rg.padding(torch.tensor([101, 307]))]


def numbers(scale: float = 1.0, queries: int = LENGTH, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    query = scale * torch.randn(BATCH, HEADS, queries, DIM, dtype=dtype)
    key = scale * torch.randn(BATCH, KV_HEADS, LENGTH, DIM, dtype=dtype)
    return query, key, torch.randn(BATCH, KV_HEADS, LENGTH, VALUE_DIM, dtype=dtype)


def visible(rule: object, queries: int) -> Tensor:
    """Which pairs a rule shows, one by one: `[batch, 1, queries, keys]`."""
    place, batch = torch.arange(LENGTH), torch.arange(BATCH).view(-1, 1, 1, 1)
    shown = torch.ones(BATCH, 1, queries, LENGTH, dtype=torch.bool)
    if rule is not None:
        shown = shown & rule.allows(place[-queries:, None], place, batch)
    return shown


def by_weights(similarity: Tensor, value: Tensor, shown: Tensor) -> Tensor:
    """Σ_j a_ij v_j / Σ_j a_ij, the square written out."""
    weights = torch.where(shown, similarity, 0)
    return weights @ value.repeat_interleave(HEADS // KV_HEADS, 1) / weights.sum(-1, keepdim=True)


@pytest.mark.parametrize("queries", [LENGTH, 131, 1])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_linear_is_its_own_definition(rule, queries):
    query, key, value = numbers(3.0, queries)
    similarity = (elu(query) + 1) @ (elu(key) + 1).repeat_interleave(2, 1).mT
    expected = by_weights(similarity, value, visible(rule, queries))
    torch.testing.assert_close(approximate.linear(query, key, value, rule), expected)


@pytest.mark.parametrize("queries", [LENGTH, 131, 1])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_performer_is_its_own_definition(rule, queries):
    """φ(q) · φ(k) over the same directions, with the exponentials as they are."""
    query, key, value = numbers(1.0, queries)
    some = approximate.directions(29, DIM, dtype=torch.float64)

    def phi(x: Tensor) -> Tensor:
        x = x / DIM**0.25
        return (x @ some.mT - x.square().sum(-1, keepdim=True) / 2).exp()

    expected = by_weights(phi(query) @ phi(key).repeat_interleave(2, 1).mT, value, visible(rule, queries))
    out = approximate.performer(query, key, value, rule, features=some)
    torch.testing.assert_close(out, expected)


def performer_errors(rule: object = None) -> list[float]:
    """The median relative error of five draws, for 16 times as many features each time."""
    query, key, value = numbers(0.5)
    made = []
    for count in (8, 128, 2048):
        outs = [approximate.performer(query, key, value, rule, features=count) for _ in range(5)]
        made.append(median(approximate.error(out, query, key, value, rule).relative for out in outs))
    return made


def converges(errors: list[float]) -> bool:
    """Whether 16 times the features halve the error, and more: the law is a quarter."""
    return all(after < before / 2 for before, after in pairwise(errors))


@pytest.mark.parametrize("rule", RULES[:3], ids=repr)
def test_performer_converges_to_the_exact_equation(rule):
    assert converges(performer_errors(rule))


def test_the_check_of_convergence_can_fail(monkeypatch):
    """Without −‖k‖²/2 the features average to another kernel."""

    def unbalanced(self: features.Positive, key: Tensor) -> tuple[Tensor, Tensor]:
        logs = key @ self.directions.mT
        return self._power(logs - logs.amax(-1, keepdim=True)), logs.amax(-1)

    monkeypatch.setattr(features.Positive, "of_key", unbalanced)
    assert not converges(performer_errors())


def test_directions_are_orthogonal_and_as_long_as_gaussians():
    some = approximate.directions(3 * 31, 31, dtype=torch.float64)
    for block in some.split(31):
        unit = block / block.norm(dim=-1, keepdim=True)
        torch.testing.assert_close(unit @ unit.mT, torch.eye(31, dtype=torch.float64))
    assert some.square().sum(-1).mean() == pytest.approx(31, rel=0.1)
    torch.manual_seed(5)
    first = approximate.directions(7, 5)
    torch.manual_seed(5)
    assert torch.equal(first, approximate.directions(7, 5))


@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.3, 1.0, 3.0]), padded=st.booleans())
def test_nystrom_with_every_position_a_landmark_is_exact(seed, scale, padded):
    torch.manual_seed(seed)
    query, key, value = (torch.randn(2, 3, 29, 11, dtype=torch.float64) for _ in range(3))
    rule = rg.Rule(rg.dot(scale / 11**0.5), rg.padding(torch.tensor([29, 29]))) if padded else rg.dot(scale / 11**0.5)
    out = approximate.nystrom(query, key, value, rule, landmarks=29, iterations=None)
    assert approximate.error(out, query, key, value, rule).relative < 1e-6


def test_nystrom_converges_with_landmarks_and_with_iterations():
    query, key, value = (t[..., :101, :] for t in numbers())
    errors = [
        approximate.error(approximate.nystrom(query, key, value, landmarks=n), query, key, value).relative
        for n in (2, 31, 61, 101)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 4
    settled = [
        approximate.error(
            approximate.nystrom(query, key, value, landmarks=101, iterations=n), query, key, value
        ).relative
        for n in (3, 6, 12, 24)
    ]
    assert settled == sorted(settled, reverse=True)
    assert settled[-1] < 1e-6 < 0.01 < settled[1]


def test_nystrom_of_a_padded_batch_is_that_of_each_text():
    query, key, value = numbers()
    query[0, :, 101:], key[0, :, 101:], value[0, :, 101:] = (math.nan,) * 3
    out = approximate.nystrom(query, key, value, RULES[2], landmarks=17)
    alone = [t[:1, :, :101] for t in (query, key, value)]
    torch.testing.assert_close(out[:1, :, :101], approximate.nystrom(*alone, landmarks=17))
    alone = [t[1:] for t in (query, key, value)]
    torch.testing.assert_close(out[1:], approximate.nystrom(*alone, landmarks=17))


def test_linformer_with_the_identity_is_exact():
    query, key, value = numbers(3.0)
    one = torch.eye(LENGTH, dtype=torch.float64)
    rule = rg.Rule(rg.cosine(5.0), normalize=rg.softmax(sink=0.5))
    for asked in (None, rule):
        out = approximate.linformer(query, key, value, asked, mix_keys=one)
        assert approximate.error(out, query, key, value, asked).relative < 1e-12
    other = approximate.linformer(query, key, value, mix_keys=one[:290])
    assert approximate.error(other, query, key, value).relative > 1e-3


def test_linformer_mixes_keys_and_values():
    query, key, value = numbers()
    mix = torch.randn(2, KV_HEADS, 17, LENGTH, dtype=torch.float64)
    out = approximate.linformer(query, key, value, mix_keys=mix[0], mix_values=mix[1])
    torch.testing.assert_close(out, rg.attend(query, mix[0] @ key, mix[1] @ value))


def of_performer(*given: object) -> Tensor:
    torch.manual_seed(1)
    return approximate.performer(*given, features=19)


@pytest.mark.parametrize("method", [approximate.linear, of_performer])
def test_a_causal_approximation_sees_no_future(method):
    """Neither a number nor its gradient, whatever comes later: huge, NaN."""
    query, key, value = (t.requires_grad_() for t in numbers())
    row = 150
    out = method(query, key, value, rg.causal())
    out[..., row, :].square().sum().backward()
    for tensor in (key, value):
        assert tensor.grad[..., row + 1 :, :].count_nonzero() == 0
        assert (tensor.grad[..., : row + 1, :] != 0).all()
    later = [t.detach().clone() for t in (key, value)]
    later[0][..., row + 1 : row + 3, :], later[0][..., row + 3 :, :], later[1][..., row + 1 :, :] = (
        1e3,
        math.nan,
        math.nan,
    )
    again = method(query, *later, rg.causal())
    assert torch.equal(again[..., : row + 1, :], out[..., : row + 1, :])


def test_the_check_of_the_future_can_fail():
    """Over everything, the gradient does reach later keys."""
    query, key, value = (t.requires_grad_() for t in numbers())
    approximate.linear(query, key, value)[..., 150, :].square().sum().backward()
    assert key.grad[..., 151:, :].count_nonzero() > 0


@pytest.mark.parametrize("method", [approximate.linear, of_performer, approximate.nystrom])
def test_padding_hides_what_it_holds(method):
    query, key, value = numbers()
    expected = method(query, key, value, RULES[2])
    key[0, :, 101:], value[0, :, 101:] = math.nan, math.inf
    key.requires_grad_(), value.requires_grad_()
    out = method(query, key, value, RULES[2])
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    for tensor in (key, value):
        assert tensor.grad.isfinite().all()
        assert tensor.grad[0, :, 101:].count_nonzero() == 0


@pytest.mark.parametrize("rule", [None, rg.causal()], ids=repr)
def test_scores_too_large_for_exponentials(rule):
    """exp(‖k‖²/2) and its inverse overflow float32 here; nothing is NaN, and the likeliest key has the weight."""
    key = torch.tensor([[50.0, 0, 0], [0, 50, 0], [0, 0, 50]]).repeat(100, 1)[None]
    query, value = key * 3, torch.eye(3).repeat(100, 1)[None]
    out = approximate.performer(query, key, value, rule, features=1021)
    assert out.isfinite().all()
    assert (out[:, 3:].argmax(-1) == value[:, 3:].argmax(-1)).all()


@pytest.mark.parametrize("method", [approximate.linear, of_performer, approximate.nystrom])
def test_derivatives(method):
    query, key, value = (torch.randn(1, 2, 5, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    rules = [None, rg.padding(4)] + [rg.causal()] * (method is not approximate.nystrom)
    for rule in rules:
        assert torch.autograd.gradcheck(lambda *given, rule=rule: method(*given, rule), (query, key, value))


def test_derivatives_across_chunks(monkeypatch):
    monkeypatch.setattr(sums, "CHUNK", 2)
    monkeypatch.setattr(sums, "BLOCK", 3)
    query, key, value = (torch.randn(1, 2, 5, 2, dtype=torch.float64, requires_grad=True) for _ in range(3))
    for rule in (None, rg.causal()):
        assert torch.autograd.gradcheck(lambda *given, rule=rule: of_performer(*given, rule), (query, key, value))


def test_a_learned_scale_has_its_gradient():
    query, key, value = numbers(0.5)
    scale = torch.full((HEADS,), DIM**-0.5, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(of_performer(query, key, value, rg.dot(scale)), of_performer(query, key, value))
    of_performer(query, key, value, rg.dot(scale)).square().sum().backward()
    assert (scale.grad != 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", [approximate.linear, of_performer, approximate.nystrom])
def test_low_precision_is_summed_in_float32(method, dtype):
    """Beside the rounding of the inputs, which both see, only the output is rounded."""
    low = numbers(0.5, dtype=dtype)
    out, exact = method(*low), method(*(t.double() for t in low))
    assert out.dtype == dtype
    assert (out.double() - exact).abs().max() <= 2 * torch.finfo(dtype).eps * exact.abs().max() + 1e-5


def test_shapes_of_attend():
    for shape in ([31, 5], [3, 31, 5], [2, 3, 31, 5], [2, 1, 3, 31, 5], [2, 3, 0, 5]):
        query, mix = torch.randn(shape), torch.randn(7, shape[-2])
        for out in (
            approximate.linear(query, query, query),
            approximate.performer(query, query, query, rg.causal()),
            approximate.nystrom(query, query, query),
            approximate.linformer(query, query, query, mix_keys=mix),
        ):
            assert out.shape == query.shape


def test_rows_that_see_nothing_are_zero():
    query, key = torch.randn(1, 2, 7, 3, requires_grad=True), torch.randn(1, 2, 5, 3)
    for method in (approximate.linear, of_performer):
        out = method(query, key, key, rg.causal())
        assert (out[:, :, :2] == 0).all() and (out[:, :, 2:] != 0).any(-1).all()
        assert (method(query, key, key, rg.padding(0)) == 0).all()
        (grad,) = torch.autograd.grad(out.sum(), query)
        assert (grad[:, :, :2] == 0).all() and grad.isfinite().all()


def of_linformer(*given: Tensor) -> Tensor:
    return approximate.linformer(*given, mix_keys=torch.eye(LENGTH))


@pytest.mark.parametrize(
    ("method", "rule", "said"),
    [
        (approximate.linear, rg.window(3), "window(3) differs by query or head"),
        (approximate.performer, rg.causal() | rg.prefix(3), "differs by query or head"),
        (approximate.performer, rg.alibi(), "a bias belongs to pairs"),
        (approximate.linear, rg.dot(0.5), "no exponential for a scale"),
        (approximate.linear, rg.cosine(2.0), "not for cosine·2"),
        (approximate.nystrom, rg.sigmoid(), "not for sigmoid"),
        (approximate.performer, rg.softmax(sink=0.0), "without a sink"),
        (approximate.nystrom, rg.causal(), "carries later ones to earlier queries"),
        (of_linformer, rg.causal(), "every mixture holds all positions"),
        (of_linformer, rg.padding(5), "every mixture holds all positions"),
    ],
)
def test_what_can_not_be_had_is_refused_with_the_reason(method, rule, said):
    with pytest.raises(rg.InputError) as refused:
        method(*numbers(dtype=torch.float32), rule)
    assert said in str(refused.value)
    assert repr(rg.Rule(pattern=rule) if hasattr(rule, "allows") else rule).split("(")[0] in str(refused.value)


def test_sizes_that_do_not_fit():
    query, key, value = numbers(dtype=torch.float32)
    for call, said in (
        (lambda: approximate.performer(query, key, value, features=torch.randn(5, 3)), "[features, 13], got [5, 3]"),
        (lambda: approximate.performer(query, key, value, features=0), "at least one feature"),
        (lambda: approximate.nystrom(query, key, value, landmarks=0), "at least one landmark"),
        (lambda: approximate.linformer(query, key, value, mix_keys=torch.eye(5)), "[mixtures, 307]"),
        (lambda: approximate.linear(query[..., :5], key, value), "one dim"),
        (lambda: approximate.error(value, query, key, value), "error needs the output"),
    ):
        with pytest.raises(rg.InputError) as refused:
            call()
        assert said in str(refused.value)


def test_error_by_hand():
    """One key: the exact output is its value, (3, 4), of length 5."""
    query, value = torch.ones(1, 1, 2), torch.tensor([[[3.0, 4.0]]])
    found = approximate.error(torch.tensor([[[3.0, 4.5]]]), query, query, value)
    assert found.relative == pytest.approx(0.1)
    assert found.largest == pytest.approx(0.5)
