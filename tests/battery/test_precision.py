"""float32, bfloat16, float16: how far from float64, measured against the same formula run wholly in that dtype.

The maximum error of the output is at most 2×, of gradients at most 3×, that of the low-precision formula on the same
input, plus the floor of the FlashAttention suite, 2·max|(ref + 0.3 − 0.3) − ref|.
"""

from __future__ import annotations

import math

import pytest
import torch
from covering import all_pairs
from members import BIASES, NORMALIZERS, PATTERNS, SCORES, tensors
from test_battery import first_query, rule_of
from torch import Tensor

import regard as rg
from regard.engines import native
from regard.engines.reference import whole
from regard.equation import attended, weigh, with_sink
from regard.planning import ENGINES
from regard.problem import pose

SMOOTH = [name for name in NORMALIZERS if name not in ("top_k", "hard")]
"""top_k and hard jump: a rounding of the scores may pick another key, in any implementation."""
ROWS = all_pairs((["", *SCORES], ["", *PATTERNS], ["", *BIASES], ["", *SMOOTH]))
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def rounded(rule: rg.Rule, dtype: torch.dtype) -> tuple[list[Tensor], rg.Rule]:
    """Inputs and rule rounded to the dtype once, so that all that is measured is the computation."""
    leaves = [leaf.to(dtype).detach() if leaf.is_floating_point() else leaf for leaf in rule.leaves()]
    return [t.to(dtype) for t in tensors()], rule.with_leaves(leaves)


def results(inputs: list[Tensor], run, upstream: Tensor) -> list[Tensor]:
    leaves = [t.detach().requires_grad_() for t in inputs]
    out = run(*leaves)
    return [out, *torch.autograd.grad(out, leaves, upstream.to(out.dtype), allow_unused=True)]


def plainly(rule: rg.Rule, start: int):
    """The formula in the dtype of its inputs, every intermediate rounded, as PyTorch's unfused attention does it."""

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        problem = pose(query, key, value, rule, query_start=start)
        settled = problem.rule.map(lambda t, roles: t.to(query.dtype) if t.is_floating_point() else t)
        place = whole(problem)
        return attended(with_sink(settled, weigh(settled, query, key, place)), value, place)

    return run


def engines_for(rule: rg.Rule, inputs: list[Tensor], start: int) -> list[str]:
    """Ours, the kernels where they take the rule."""
    refused = native.refusal(pose(*inputs, rule, query_start=start))
    return ["reference", "tiled"] + ["native"] * (refused is None)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("row", ROWS[::3], ids=lambda row: "-".join(part or "·" for part in row))
def test_error_against_float64(row, dtype):
    start = first_query(row[1])
    inputs, rule = rounded(rule_of(*row), dtype)
    upstream = torch.linspace(-1, 2, 2 * 6 * 13 * 5).reshape(2, 6, 13, 5)
    exact_rule = rule.with_leaves([t.double() if t.is_floating_point() else t for t in rule.leaves()])
    wide = [t.double() for t in inputs]
    exact = results(wide, lambda *x: rg.attend(*x, exact_rule, query_start=start, engine="reference"), upstream)
    eager = results(inputs, plainly(rule, start), upstream)
    for engine in engines_for(rule, inputs, start):
        found = results(inputs, lambda *x, e=engine: rg.attend(*x, rule, query_start=start, engine=e), upstream)
        for n, (got, theirs, want) in enumerate(zip(found, eager, exact, strict=True)):
            if want is None or got is None:
                continue
            want = want.double()
            floor = 2 * ((want.to(dtype) + 0.3 - 0.3) - want.to(dtype)).abs().max().double()
            theirs_off = (theirs.double() - want).abs().max()
            off = (got.double() - want).abs().max()
            assert off <= (2 if n == 0 else 3) * theirs_off + floor, (engine, n, off.item(), theirs_off.item())


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "flex"])
def test_root_mean_square_error_in_float32_at_length(engine):
    """At most 1.05 × that of fused SDPA, N = 1,024."""
    query, key, value = (torch.randn(2, 1024, 64, dtype=torch.float64) for _ in range(3))
    query = 3 * query
    exact = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    low = [t.float() for t in (query, key, value)]
    exact = torch.nn.functional.scaled_dot_product_attention(*(t.double() for t in low))
    theirs = (torch.nn.functional.scaled_dot_product_attention(*low) - exact).square().mean().sqrt()
    ours = (rg.attend(*low, engine=engine) - exact).square().mean().sqrt()
    assert ours <= 1.05 * theirs


@pytest.mark.parametrize("engine", ["tiled", "native"])
def test_distances_beyond_256_are_told_apart_in_halves(engine):
    """−slope · |i − j| is computed in float32: bfloat16 holds no 257."""
    query, key, value = (torch.zeros(1, 1, n, 3, dtype=torch.bfloat16) for n in (1, 307, 307))
    value[..., 0, 0] = value[..., 1, 1] = 1
    rule = rg.alibi(torch.tensor([1.0], dtype=torch.bfloat16))
    part = rg.partial(query, key[..., :2, :], value[..., :2, :], rule, query_start=306, engine=engine)
    assert part.lse.item() == pytest.approx(-305 + math.log1p(math.exp(-1)), abs=1e-4)
