"""Bahdanau's and Luong's attention against their papers' formulas, pair by pair."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import regard as rg

BATCH, QUERIES, KEYS, QUERY_DIM, KEY_DIM, HIDDEN, REACH = 2, 5, 13, 7, 11, 3, 2
LENGTHS = torch.tensor([8, 13])
F64 = torch.float64


def states() -> tuple[Tensor, Tensor]:
    """A decoder's and an encoder's."""
    return 2 * torch.randn(BATCH, QUERIES, QUERY_DIM, dtype=F64), 2 * torch.randn(BATCH, KEYS, KEY_DIM, dtype=F64)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_additive_is_bahdanaus() -> None:
    layer, (query, memory) = rg.nn.Additive(QUERY_DIM, KEY_DIM, HIDDEN).double(), states()
    score = layer.rule.score
    assert list(layer.state_dict()) == ["rule.score.query_weight", "rule.score.key_weight", "rule.score.vector"]
    energy = (query @ score.query_weight.T)[:, :, None] + (memory @ score.key_weight.T)[:, None]
    scores = energy.tanh() @ score.vector
    close(layer(query, memory), scores.softmax(-1) @ memory)
    hidden = scores.masked_fill(torch.arange(KEYS) >= LENGTHS[:, None, None], -math.inf)
    close(layer(query, memory, lengths=LENGTHS), hidden.softmax(-1) @ memory)
    assert (hidden.softmax(-1) @ memory - scores.softmax(-1) @ memory).abs().max() > 1e-3


def general() -> rg.nn.Luong:
    return rg.nn.Luong(QUERY_DIM, KEY_DIM)


SCORES: dict[str, Any] = {
    "dot": (lambda: rg.dot(1.0), lambda s, h, m: h @ m),
    "general": (lambda: None, lambda s, h, m: h @ s.weight @ m),
    "concat": (
        lambda: rg.nn.Luong.concat(KEY_DIM, KEY_DIM, HIDDEN),
        lambda s, h, m: s.vector @ torch.tanh(torch.cat((s.query_weight, s.key_weight), 1) @ torch.cat((h, m))),
    ),
}
REACHES: dict[str, dict[str, Any]] = {
    "global": {},
    "local-m": {"reach": REACH},
    "local-p": {"reach": REACH, "predict": True},
}


def by_hand(layer: rg.nn.Luong, score: Any, query: Tensor, memory: Tensor, lengths: Tensor, start: int) -> Tensor:
    """Luong et al. 2015, equations 7 to 10, one state at a time."""
    out = torch.zeros(BATCH, QUERIES, KEY_DIM, dtype=F64)
    for b in range(BATCH):
        for t in range(QUERIES):
            h, size = query[b, t], int(lengths[b])
            centre = float(t + start)
            if layer.place is not None:
                inner, outer = layer.place.inner.weight, layer.place.outer.weight[0]
                centre = size * torch.sigmoid(outer @ torch.tanh(inner @ h)).item()
            near = [s for s in range(size) if layer.reach is None or abs(s - centre) <= layer.reach]
            if not near:
                continue
            scores = torch.stack([score(layer.rule().score, h, memory[b, s]) for s in near])
            weights = scores.softmax(0)
            if layer.place is not None:
                gaussian = [math.exp(-((s - centre) ** 2) / (2 * (REACH / 2) ** 2)) for s in near]
                weights = weights * torch.tensor(gaussian, dtype=F64)
            out[b, t] = weights @ memory[b, near]
    return out


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("reach", REACHES)
@pytest.mark.parametrize("score", SCORES)
def test_luong(score: str, reach: str, padded: bool) -> None:
    make, formula = SCORES[score]
    layer = rg.nn.Luong(KEY_DIM, score=make(), **REACHES[reach]).double()
    query, memory = torch.randn(BATCH, QUERIES, KEY_DIM, dtype=F64), states()[1]
    lengths = LENGTHS if padded else torch.tensor([KEYS, KEYS])
    got = layer(query, memory, lengths=LENGTHS if padded else None, query_start=5)
    with torch.no_grad():
        close(got, by_hand(layer, formula, query, memory, lengths, 5))


def test_reaches_differ() -> None:
    """One set of weights, three results: none of the tests above compares a thing with itself."""
    query, memory = torch.randn(BATCH, QUERIES, KEY_DIM, dtype=F64), states()[1]
    layers = [rg.nn.Luong(KEY_DIM, **options).double() for options in REACHES.values()]
    for layer in layers[1:]:
        layer.rule.load_state_dict(layers[0].rule.state_dict())
    results = [layer(query, memory, query_start=5) for layer in layers]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (results[a] - results[b]).abs().max() > 1e-2


def test_local_m_past_the_source_sees_nothing() -> None:
    layer, (query, memory) = rg.nn.Luong(QUERY_DIM, KEY_DIM, reach=REACH).double(), states()
    out = layer(query, memory, lengths=LENGTHS, query_start=8)
    # Entry 0 has 8 states: its queries stand at 8…12, and those from 10 on reach no further back than 8.
    assert (out[0, :2] != 0).all() and torch.equal(out[0, 2:], torch.zeros(3, KEY_DIM, dtype=F64))
    assert (out[1] != 0).all()


def test_an_empty_source_gives_zero_and_no_gradient() -> None:
    for options in REACHES.values():
        layer, (query, memory) = rg.nn.Luong(QUERY_DIM, KEY_DIM, **options).double(), states()
        query.requires_grad_()
        out = layer(query, memory, lengths=torch.tensor([0, 13]))
        assert torch.equal(out[0], torch.zeros(QUERIES, KEY_DIM, dtype=F64))
        out.sum().backward()
        assert query.grad is not None and query.grad.isfinite().all() and not query.grad[0].any()
        assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_the_predicted_place_is_learned() -> None:
    layer, (query, memory) = rg.nn.Luong(QUERY_DIM, KEY_DIM, reach=REACH, predict=True).double(), states()
    names = [name for name, _ in layer.named_parameters()]
    assert names == ["rule.score.weight", "place.inner.weight", "place.outer.weight"]
    parameters = list(layer.parameters())

    def out(*values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (query, memory))

    found = torch.autograd.grad(out(*parameters).square().sum(), parameters)
    for number, (parameter, grad) in enumerate(zip(parameters, found, strict=True)):
        step = torch.zeros_like(parameter)
        step.view(-1)[0] = 1e-6  # the window has edges, which so small a step does not cross
        values = [[p + sign * step if n == number else p for n, p in enumerate(parameters)] for sign in (1, -1)]
        rise, fall = (out(*some).square().sum() for some in values)
        assert grad.view(-1)[0].item() == pytest.approx(((rise - fall) / 2e-6).item(), rel=1e-5, abs=1e-7)


def test_the_attentional_vector() -> None:
    layer, (query, memory) = rg.nn.Luong(QUERY_DIM, KEY_DIM, out_dim=17).double(), states()
    plain = rg.nn.Luong(QUERY_DIM, KEY_DIM).double()
    plain.load_state_dict(layer.state_dict(), strict=False)
    context = plain(query, memory, lengths=LENGTHS)
    wanted = torch.tanh(torch.cat((context, query), -1) @ layer.combine.weight.T + layer.combine.bias)
    close(layer(query, memory, lengths=LENGTHS), wanted)


def test_one_source_for_a_beam_of_states() -> None:
    layer, (query, memory) = rg.nn.Luong(QUERY_DIM, KEY_DIM, out_dim=17).double(), states()
    close(layer(query, memory[:1]), layer(query, memory[:1].expand(BATCH, -1, -1)))


@pytest.mark.parametrize("reach", REACHES)
def test_without_a_batch(reach: str) -> None:
    layer, (query, memory) = rg.nn.Luong(QUERY_DIM, KEY_DIM, **REACHES[reach]).double(), states()
    close(layer(query[0], memory[0], lengths=LENGTHS[0]), layer(query, memory, lengths=LENGTHS)[0])
    additive = rg.nn.Additive(QUERY_DIM, KEY_DIM, HIDDEN).double()
    close(additive(query[0], memory[0], lengths=LENGTHS[0]), additive(query, memory, lengths=LENGTHS)[0])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: rg.nn.Luong(7, 11, score=rg.dot(1.0)), "query and key of one dim, got 7 and 11"),
        (lambda: rg.nn.Luong(7, predict=True), "say its reach"),
        (lambda: rg.nn.Luong(7, reach=0), "(reach) needs a whole number ≥ 1, got 0"),
        (lambda: rg.nn.Luong(7, score=rg.causal()), "Rule(score=…) needs a score"),
        (lambda: rg.nn.Luong(7, out_dim=0), "(out_dim) needs"),
        (lambda: rg.nn.Additive(7, 11, 0), "(hidden) needs a whole number ≥ 1, got 0"),
        (lambda: general()(*states(), lengths=torch.tensor([3, 5, 7])), "3"),
    ],
)
def test_bad_input(make: Any, says: str) -> None:
    with pytest.raises(rg.InputError) as caught:
        make()
    assert says in str(caught.value), caught.value
