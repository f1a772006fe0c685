"""PyTorch's flex_attention: any pattern and the biases that are formulas, compiled for accelerators.

On a CPU it has no backward pass and, uncompiled, works on the whole square; there it runs only by name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, create_block_mask, flex_attention

from regard.parts import Partial
from regard.problem import Problem
from regard.products import finite
from regard.terms import bias as biases
from regard.terms.normalize import Softmax
from regard.terms.pattern.graph import Edges
from regard.terms.score import Dot, Score, Softcap

__all__ = ["compute", "refusal"]

ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def refusal(problem: Problem) -> str | None:
    """Why flex_attention can't honour the problem, or None."""
    rule = problem.rule
    score = rule.score.score if isinstance(rule.score, Softcap) else rule.score
    if problem.transformed:
        return "torch.func transforms and forward-mode AD need plain operations"
    if not isinstance(score, Dot) or isinstance(score.scale, Tensor):
        return f"its score is the dot product with a fixed scale, not {rule.score!r}"
    if not isinstance(rule.normalize, Softmax):
        return f"its normalizer is softmax, not {rule.normalize!r}"
    if any(isinstance(part, biases.Edges) for part in _parts(rule.bias)):
        return "it has no lookup of edges"
    if problem.said.pattern is not None and any(isinstance(part, Edges) for part in problem.said.pattern.within()):
        return "compiling a graph's lookup of edges takes it minutes"
    if problem.dropout:
        return "it has no dropout"
    if not (problem.queries and problem.keys and problem.batch and problem.heads):
        return "there is nothing to attend to"
    if problem.query.device.type == "cpu" and any(t.requires_grad for t in problem.tensors):
        return "it has no backward pass on a CPU"
    if problem.said.pattern is not None and not all(map(finite, problem.tensors[:3])):
        return "an input holds NaN or ∞, which it lets leak from hidden pairs"
    return None


def compute(problem: Problem) -> Partial:
    """Attention over the keys at hand, with log-sum-exp."""
    score = problem.rule.score
    inner = score.score if isinstance(score, Softcap) else score
    assert isinstance(inner, Dot) and not isinstance(inner.scale, Tensor)
    attention: Any = flex_attention if problem.query.device.type == "cpu" else _compiled()
    values, aux = attention(
        problem.query,
        problem.key,
        problem.value,
        score_mod=_score_mod(problem, score),
        block_mask=_block_mask(problem),
        scale=inner.scale,
        enable_gqa=problem.heads != problem.kv_heads,
        return_aux=AuxRequest(lse=True),
    )
    values, lse = values.to(problem.accumulate), aux.lse.to(problem.accumulate)
    return Partial(values, lse, problem.sink, problem.query.dtype, repr(problem.said))


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention)


def _block_mask(problem: Problem) -> Any:
    pattern = problem.said.pattern
    if pattern is None:
        return None
    query, key = problem.positions("query"), problem.positions("key")

    def mask_mod(batch: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
        return pattern.allows(_at(query, batch, row), _at(key, batch, column), batch, head)

    return create_block_mask(
        mask_mod, problem.batch, problem.heads, problem.queries, problem.keys, device=problem.query.device
    )


def _score_mod(problem: Problem, score: Score) -> ScoreMod | None:
    cap = score.cap if isinstance(score, Softcap) else None
    parts = [_formula(part, problem) for part in _parts(problem.rule.bias)]
    if cap is None and not parts:
        return None

    def score_mod(value: Tensor, batch: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
        value = value if cap is None else cap * (value / cap).tanh()
        for part in parts:
            value = value + part(batch, head, row, column)
        return value

    return score_mod


def _formula(bias: biases.Bias, problem: Problem) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The bias of one pair: (batch, head, local row, local column) → a number."""
    query, key = problem.positions("query"), problem.positions("key")
    leaves = [leaf.to(problem.accumulate) for leaf in bias.leaves()]

    def gap(batch: Tensor, row: Tensor, column: Tensor) -> Tensor:
        return _at(key, batch, column) - _at(query, batch, row)

    if isinstance(bias, biases.Alibi):
        return lambda b, h, i, j: -leaves[0][h] * gap(b, i, j).abs()
    if isinstance(bias, biases.Relative):
        reach = bias.table.shape[-1] // 2
        return lambda b, h, i, j: _entry(leaves[0], h, gap(b, i, j).clamp(-reach, reach) + reach)
    if isinstance(bias, biases.Bucketed):
        return lambda b, h, i, j: _entry(leaves[0], h, bias.bucket(gap(b, i, j)))
    if isinstance(bias, biases.Keys):
        return lambda b, h, i, j: _spread(leaves[0], b, h, j)
    assert isinstance(bias, biases.Given)
    return lambda b, h, i, j: _spread(leaves[0], b, h, i, j)


def _parts(bias: biases.Bias | None) -> tuple[biases.Bias, ...]:
    if bias is None:
        return ()
    return bias.parts if isinstance(bias, biases.Sum) else (bias,)


def _at(positions: Tensor, batch: Tensor, local: Tensor) -> Tensor:
    return positions[0, local] if positions.shape[0] == 1 else positions[batch, local]


def _entry(table: Tensor, head: Tensor, index: Tensor) -> Tensor:
    return table[index] if table.ndim == 1 else table[head, index]


def _spread(values: Tensor, *index: Tensor) -> Tensor:
    """values[index], an axis of size 1 standing for all."""
    return values[
        tuple(torch.zeros_like(at) if size == 1 else at for at, size in zip(index, values.shape, strict=True))
    ]
