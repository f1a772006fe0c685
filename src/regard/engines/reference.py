"""The equation written out: every pair at once, every intermediate kept. O(N²) memory; for learning and for tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from regard.equation import Place, Weighed, attended, weigh, with_sink
from regard.parts import Partial
from regard.problem import Problem
from regard.rule import Rule

__all__ = ["Steps", "compute", "refusal", "steps", "whole"]


@dataclass(frozen=True)
class Steps:
    """Every intermediate of the equation, by name; `[..., heads, queries, keys]` unless told.

    Args:
        query: q, `[..., heads, queries, dim]`.
        key: k, `[..., kv_heads, keys, dim]`.
        value: v, `[..., kv_heads, keys, value_dim]`.
        score: score(q_i, k_j), its scale and cap inside; 0 where hidden.
        bias: bias_ij, or None.
        visible: True where query i may look at key j.
        masked: score + bias, −∞ where hidden.
        lse: log Σ_j exp(masked_ij), `[..., heads, queries]`, or None for normalizers that have none.
        weights: w_ij, the sink's share already taken, before dropout.
        out: Σ_j w_ij · v_j, `[..., heads, queries, value_dim]`.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    score: Tensor
    bias: Tensor | None
    visible: Tensor
    masked: Tensor
    lse: Tensor | None
    weights: Tensor
    out: Tensor


def refusal(problem: Problem) -> str | None:
    """Why the problem can't be computed here: for no reason at all."""
    return None


def compute(problem: Problem) -> Partial:
    """Attention over the keys at hand."""
    rule, place, weighed = _all_pairs(problem)
    weights = weighed.weights if problem.parts else with_sink(rule, weighed)
    values = attended(weights, problem.value.to(problem.accumulate), place)
    sink = problem.sink if problem.parts else None
    return Partial(values, weighed.lse, sink, problem.query.dtype, repr(problem.said))


def steps(problem: Problem) -> Steps:
    """Every intermediate, in the dtype of accumulation, in the leading dimensions of the inputs."""
    rule, place, weighed = _all_pairs(problem)
    weights = with_sink(rule, weighed)
    out = attended(weights, problem.value.to(problem.accumulate), place)
    shape = weights.shape
    visible = torch.ones(shape, dtype=torch.bool, device=weights.device) if place.visible is None else place.visible
    named = (
        problem.query,
        problem.key,
        problem.value,
        weighed.score,
        weighed.bias,
        visible,
        weighed.masked,
        weighed.lse,
    )
    wide = [t if t is None or n in (0, 1, 2, 7) else t.expand(shape) for n, t in enumerate(named)]
    return Steps(*(None if t is None else problem.shaped(t) for t in (*wide, weights, out)))  # type: ignore[arg-type]


def _all_pairs(problem: Problem) -> tuple[Rule, Place, Weighed]:
    dtype = problem.accumulate
    place = whole(problem)
    rule = problem.rule.map(lambda leaf, roles: leaf.to(dtype) if leaf.is_floating_point() else leaf)
    weighed = weigh(rule, problem.query.to(dtype), problem.key.to(dtype), place)
    return rule, replace(place, visible=weighed.visible), weighed


def whole(problem: Problem) -> Place:
    """The whole problem as one tile; what is visible is asked of the pattern pair by pair."""
    query = problem.positions("query")[:, None, :, None]
    key = problem.positions("key")[:, None, None, :]
    batch = torch.arange(problem.batch, device=query.device)[:, None, None, None]
    head = torch.arange(problem.heads, device=query.device)[:, None, None]
    pattern = problem.said.pattern
    visible = None if pattern is None else pattern.allows(query, key, batch, head)
    return Place(query, key, batch, head, visible, problem.seed, problem.dropout)
