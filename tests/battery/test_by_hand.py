"""Every score, bias and normalizer against the formula in its docstring, one pair at a time, in plain Python."""

from __future__ import annotations

import math

import entmax
import numpy as np
import pytest
import torch
from members import (
    BIASES,
    FIRST,
    HEADS,
    KEYS,
    KV_HEADS,
    NORMALIZERS,
    PATTERNS,
    QUERIES,
    SCORES,
    VALUE_DIM,
    numbers,
    positive,
    tensors,
)

import regard as rg

GROUP = HEADS // KV_HEADS


def bucket(distance: int, buckets: int, furthest: int) -> int:
    """T5's, bidirectional, as its paper's code has it."""
    half = buckets // 2
    after = half if distance > 0 else 0
    far = abs(distance)
    if far < half // 2:
        return after + far
    coarse = half // 2 + int(math.log(far / (half // 2)) / math.log(furthest / (half // 2)) * (half - half // 2))
    return after + min(coarse, half - 1)


def edge_value(rule_bias, h: int, i: int, j: int) -> float:
    for e, (source, target) in enumerate(rule_bias.index.T.tolist()):
        if (source, target) == (j, i):
            return rule_bias.values[h, e].item()
    return 0.0


SCORE = {
    "dot": lambda h, q, k: positive(HEADS, seed=1)[h] * (q @ k),
    "general": lambda h, q, k: q @ numbers(HEADS, 7, 7, seed=2)[h] @ k,
    "additive": lambda h, q, k: (
        numbers(11, seed=5) @ torch.tanh(numbers(11, 7, seed=3) @ q + numbers(HEADS, 11, 7, seed=4)[h] @ k)
    ),
    "cosine": lambda h, q, k: 4 * positive(HEADS, seed=6)[h] * (q @ k) / (q.norm() * k.norm()),
    "gaussian": lambda h, q, k: -((q - k) @ (q - k)) / (2 * positive(HEADS, seed=7)[h] ** 2),
    "softcap": lambda h, q, k: 2 * torch.tanh(q @ k / math.sqrt(7) / 2),
}
BIAS = {
    "alibi": lambda h, b, i, j: -positive(HEADS, seed=11)[h] * abs(i - j),
    "relative": lambda h, b, i, j: numbers(HEADS, 9, seed=12)[h, max(-4, min(4, j - i)) + 4],
    "t5": lambda h, b, i, j: numbers(HEADS, 8, seed=13)[h, bucket(j - i, 8, 11)],
    "keys": lambda h, b, i, j: numbers(2, HEADS, KEYS, seed=14)[b, h, j],
    "edges": lambda h, b, i, j: edge_value(BIASES["edges"](), h, i, j),
    "tensor": lambda h, b, i, j: numbers(HEADS, KEYS, KEYS, seed=16)[h, i, j],
}


def top3(s: torch.Tensor) -> torch.Tensor:
    kept = sorted(range(len(s)), key=lambda j: (-s[j].item(), j))[:3]
    weights = torch.zeros_like(s)
    weights[kept] = torch.softmax(s[kept], 0)
    return weights


NORMALIZE = {
    "softmax": lambda h, s: s.exp() / (s.exp().sum() + numbers(HEADS, seed=8)[h].exp()),
    "sigmoid": lambda h, s: 1 / (1 + torch.exp(-s - numbers(HEADS, seed=9)[h])),
    "relu": lambda h, s: torch.clamp(s, min=0) ** 2 / 3,
    "sparsemax": lambda h, s: entmax.sparsemax(s, dim=0),
    "entmax15": lambda h, s: entmax.entmax15(s, dim=0),
    "top_k": lambda h, s: top3(s),
}


def by_hand(score=None, bias=None, normalize=None, visible=lambda i, j: True) -> torch.Tensor:
    query, key, value = tensors()
    out = torch.zeros(2, HEADS, QUERIES, VALUE_DIM, dtype=torch.float64)
    for b, h, row in np.ndindex(2, HEADS, QUERIES):
        i, kv = row + FIRST, h // GROUP
        seen = [j for j in range(KEYS) if visible(i, j)]
        if not seen:
            continue
        scores = []
        for j in seen:
            q, k = query[b, h, row], key[b, kv, j]
            s = SCORE[score](h, q, k) if score else q @ k / math.sqrt(7)
            scores.append(s + (BIAS[bias](h, b, i, j) if bias else 0))
        s = torch.stack([torch.as_tensor(x, dtype=torch.float64) for x in scores])
        weights = NORMALIZE[normalize](h, s) if normalize else torch.softmax(s, 0)
        out[b, h, row] = weights @ value[b, kv, seen]
    return out


def close(rule: rg.Rule, expected: torch.Tensor, tolerance: float = 1e-12) -> None:
    for engine in ("reference", "tiled"):
        out = rg.attend(*tensors(), rule, engine=engine)
        assert (out - expected).abs().max() <= tolerance * max(1, expected.abs().max()), engine


@pytest.mark.parametrize("name", SCORES)
def test_score(name):
    close(rg.Rule(score=SCORES[name]()), by_hand(score=name))


@pytest.mark.parametrize("name", BIASES)
def test_bias(name):
    close(rg.Rule(bias=BIASES[name]()), by_hand(bias=name))


@pytest.mark.parametrize("name", [name for name in NORMALIZERS if name != "hard"])
def test_normalize(name):
    """`hard` is random; tests/test_dropout.py holds it against its distribution."""
    # entmax computes its roots in the precision that it is given, by another route
    close(rg.Rule(normalize=NORMALIZERS[name]()), by_hand(normalize=name), 1e-10 if name == "entmax15" else 1e-12)


def test_pattern_and_all_terms_in_their_order():
    """Score, cap, bias, pattern, normalize: a bias is not capped, a hidden pair has no part in the sum."""
    rule = rg.Rule(SCORES["softcap"](), rg.causal() & rg.window(3), BIASES["alibi"](), NORMALIZERS["softmax"]())
    close(rule, by_hand("softcap", "alibi", "softmax", lambda i, j: i - 3 < j <= i))


def test_a_pattern_of_every_kind_hides_what_allows_says():
    for name, make in PATTERNS.items():
        if name == "packed":
            continue
        pattern = make()
        if any(leaf.ndim and leaf.shape[0] == 2 and leaf.dtype != torch.bool for leaf in pattern.leaves()):
            continue
        rule = rg.Rule(pattern=pattern)
        weights = rg.weights(*tensors()[:2], rule)
        for b, h in np.ndindex(2, HEADS):
            query, key = torch.arange(FIRST, KEYS)[:, None], torch.arange(KEYS)[None, :]
            allowed = pattern.allows(query, key, torch.tensor(b), torch.tensor(h)).expand(QUERIES, KEYS)
            assert torch.equal(weights[b, h] > 0, allowed), name


def test_two_dims_that_differ():
    query, key, value = numbers(3, 5, 7), numbers(3, 11, 2, seed=1), numbers(3, 11, 13, seed=2)
    weight = numbers(7, 2, seed=3)
    expected = torch.softmax(query @ weight @ key.mT, -1) @ value
    torch.testing.assert_close(rg.attend(query, key, value, rg.general(weight)), expected, rtol=0, atol=1e-12)
    w, u, v = numbers(5, 7, seed=4), numbers(5, 2, seed=5), numbers(5, seed=6)
    met = (query @ w.T)[:, :, None] + (key @ u.T)[:, None]
    expected = torch.softmax(torch.nn.functional.leaky_relu(met, 0.2) @ v, -1) @ value
    found = rg.attend(query, key, value, rg.additive(w, u, v, negative_slope=0.2))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_alibi_slopes_are_the_papers():
    one = torch.zeros(1, 8, 1, 1, dtype=torch.float64)
    steps = rg.steps(one, one.expand(1, 8, 2, 1), one.expand(1, 8, 2, 1), rg.alibi())
    assert steps.bias is not None
    assert (-steps.bias[0, :, 0, 0]).tolist() == [2**-n for n in range(1, 9)]
    twelve = torch.zeros(1, 12, 1, 1, dtype=torch.float64)
    found = -rg.steps(twelve, twelve.expand(1, 12, 2, 1), twelve.expand(1, 12, 2, 1), rg.alibi(12)).bias[0, :, 0, 0]
    assert found.tolist() == pytest.approx([2**-n for n in range(1, 9)] + [2 ** -(n + 0.5) for n in range(4)])
