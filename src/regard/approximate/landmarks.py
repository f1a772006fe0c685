"""Nyström attention: every weight by way of a few landmarks."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.approximate.asked import Asked, ask, plain, unable
from regard.attention import attend
from regard.errors import InputError
from regard.problem.door import settled
from regard.rule import Rule
from regard.terms.pattern import padding
from regard.terms.tree import Term

__all__ = ["nystrom"]


def nystrom(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rule: Rule | Term | None = None,
    *,
    landmarks: int = 64,
    iterations: int | None = 6,
) -> Tensor:
    """Softmax attention by landmarks, the means of stretches of the queries and of the keys.

    `out = softmax(q k̃ᵀ) · pinv(softmax(q̃ k̃ᵀ)) · softmax(q̃ kᵀ) · v`, scores scaled as the rule says

    Args:
        query: `[..., heads, queries, dim]`.
        key: `[..., kv_heads, keys, dim]`.
        value: `[..., kv_heads, keys, value_dim]`.
        rule: any score, `padding(…)`; not causal. As many queries as keys are taken for the same positions: those
            that are padding make no landmark.
        landmarks: how many; no more are made than there are queries, or keys.
        iterations: of the pseudo-inverse, as in the source; None is the pseudo-inverse itself, by singular values.

    Returns: `[..., heads, queries, value_dim]`.

    Errors: InputError for any other rule: a landmark is a mean over positions, later ones too.

    Source: Xiong et al. 2021, "Nyströmformer: A Nyström-based Algorithm for Approximating Self-Attention".
    """
    asked = ask("nystrom", query, key, value, rule)
    plain("nystrom", asked, score=False)
    if asked.causal:
        reason = "a landmark is a mean over a stretch of positions, and carries later ones to earlier queries"
        raise unable("nystrom", asked.problem.said, reason)
    if landmarks < 1:
        raise InputError(f"nystrom needs at least one landmark, got {landmarks}")
    with settled(query.device):
        return asked.shaped(_attended(asked, landmarks, iterations))


def _attended(asked: Asked, landmarks: int, iterations: int | None) -> Tensor:
    problem, real = asked.problem, asked.real
    query, key, value = asked.upcast()
    if not problem.queries or not problem.keys:
        return attend(query, key, value)
    rule = Rule(problem.said.score)
    few_queries = _means(query, landmarks, real if problem.queries == problem.keys else None)
    few_keys = _means(key, landmarks, real)
    gathered = attend(few_queries, key, value, rule if real is None else Rule(rule.score, padding(real)))
    few_keys = few_keys.repeat_interleave(problem.group, 1)
    one = torch.eye(few_keys.shape[-2], dtype=query.dtype, device=query.device).expand(*few_keys.shape[:2], -1, -1)
    between = attend(few_queries, few_keys, one, rule)
    return attend(query, few_keys, _inverse(between, iterations) @ gathered, rule)


def _means(vectors: Tensor, landmarks: int, real: Tensor | None) -> Tensor:
    """Means over stretches of positions, as even as can be.

    `[batch, heads, positions, dim]` → `[batch, heads, landmarks, dim]`
    """
    batch, heads, count, dim = vectors.shape
    landmarks, device = min(landmarks, count), vectors.device
    real = torch.ones(1, 1, dtype=torch.bool, device=device) if real is None else real
    real = real.expand(batch, count)
    place, total = (real.cumsum(-1) - 1).clamp(min=0), real.sum(-1, keepdim=True).clamp(min=1)
    stretch = place * landmarks // total + landmarks * torch.arange(batch, device=device)[:, None]
    stretch, members = stretch.flatten(), vectors.new_zeros(batch * landmarks)
    members = members.index_add(0, stretch, real.flatten().to(vectors.dtype)).reshape(batch, 1, landmarks, 1)
    lines = torch.where(real[:, None, :, None], vectors, 0).transpose(0, 1).reshape(heads, batch * count, dim)
    sums = vectors.new_zeros(heads, batch * landmarks, dim).index_add(1, stretch, lines)
    return sums.reshape(heads, batch, landmarks, dim).transpose(0, 1) / members.clamp(min=1)


def _inverse(matrix: Tensor, iterations: int | None) -> Tensor:
    """The pseudo-inverse of a matrix whose rows sum to 1.

    `Z ← Z (13 − A Z (15 − A Z (7 − A Z))) / 4`, from `Z = Aᵀ / (‖A‖₁ ‖A‖_∞)` (Razavi et al. 2014)
    """
    if iterations is None:
        inverse: Tensor = torch.linalg.pinv(matrix)
        return inverse
    one = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    columns, rows = matrix.abs().sum(-2).amax(-1), matrix.abs().sum(-1).amax(-1)
    found: Tensor = matrix.mT / (columns * rows)[..., None, None]
    for _ in range(iterations):
        both = matrix @ found
        found = found @ (13 * one - both @ (15 * one - both @ (7 * one - both))) / 4
    return found
