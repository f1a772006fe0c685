"""PyTorch's own fused attention, for the rules that it honours without an N×N mask."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.parts import Partial
from regard.problem import Problem
from regard.products import finite
from regard.terms.normalize import Softmax
from regard.terms.pattern.line import Causal
from regard.terms.score import Dot

__all__ = ["compute", "refusal"]


def refusal(problem: Problem) -> str | None:
    """Why PyTorch's fused attention can't honour the problem, or None."""
    rule = problem.rule
    if problem.transformed:
        return "torch.func transforms and forward-mode AD need plain operations"
    if problem.parts:
        return "it returns no log-sum-exp to merge parts by"
    if not isinstance(rule.score, Dot) or isinstance(rule.score.scale, Tensor):
        return f"its score is the dot product with a fixed scale, not {rule.score!r}"
    if not isinstance(rule.normalize, Softmax) or rule.normalize.sink is not None:
        return f"its normalizer is the plain softmax, not {rule.normalize!r}"
    if rule.bias is not None:
        return "a bias would become an N×N tensor"
    if problem.dropout:
        return "its dropout mask depends on the kernel, not on positions alone"
    if not (problem.queries and problem.keys and problem.batch and problem.heads):
        return "there is nothing to attend to"
    return _pattern_refusal(problem)


def _pattern_refusal(problem: Problem) -> str | None:
    if problem.said.pattern is None:
        return None
    if not _square_causal(problem):
        if problem.queries * problem.keys > problem.key.numel() + problem.value.numel():
            return f"{problem.said.pattern!r} would become an N×N mask"
        if not _visible(problem).any(-1).all():
            return "a row sees no key, which its kernels answer differently"
    if not all(map(finite, problem.tensors[:3])):
        return "an input holds NaN or ∞, which its kernels let leak from hidden pairs"
    return None


def compute(problem: Problem) -> Partial:
    """Attention over all keys."""
    masked = problem.said.pattern is not None and not _square_causal(problem)
    score = problem.rule.score
    assert isinstance(score, Dot) and not isinstance(score.scale, Tensor)
    out = torch.nn.functional.scaled_dot_product_attention(
        problem.query,
        problem.key,
        problem.value,
        attn_mask=_visible(problem) if masked else None,
        is_causal=_square_causal(problem),
        scale=score.scale,
        enable_gqa=problem.heads != problem.kv_heads,
    )
    return Partial(out, None, None, problem.query.dtype, repr(problem.said))


def _square_causal(problem: Problem) -> bool:
    """PyTorch's `is_causal` puts the first query at the first key."""
    extent = problem.extent
    together = extent.query_start == extent.key_start and problem.queries == problem.keys
    return isinstance(problem.said.pattern, Causal) and together


def _visible(problem: Problem) -> Tensor:
    """`[batch or 1, heads or 1, queries, keys]`."""
    lists = problem.ranges
    assert lists is not None
    columns = torch.arange(problem.keys).numpy()
    dense = torch.stack([torch.from_numpy(form.dense(0, problem.queries, columns)) for form in lists.forms])
    return dense[torch.from_numpy(lists.index)].to(problem.query.device)
