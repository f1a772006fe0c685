"""A rule as the kernels take it: products of vectors, one scale, one cap, a bias, softmax or sigmoid.

What a score does to queries and keys before they meet is done here by plain operations of PyTorch, so that autograd
carries the kernels' gradients on to what a user gave.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.engines.native.edgewise import along_edges, listable
from regard.engines.native.moves import Moves, moves_of
from regard.engines.native.moves import refusal as bias_refusal
from regard.problem import Problem
from regard.terms.heads import over_pairs
from regard.terms.normalize import Sigmoid, Softmax
from regard.terms.score import Cosine, Dot, Gaussian, General, Score, Softcap

__all__ = ["Lowered", "lower", "refusal"]


@dataclass(frozen=True)
class Lowered:
    """normalize_j(cap · tanh(scale · q_i · k_j / cap) + moves_ij), in the tensors that the kernels read."""

    query: Tensor
    key: Tensor
    value: Tensor
    scale: float
    cap: float
    normalize: int
    sink: Tensor | None
    moves: Moves

    @property
    def tensors(self) -> list[Tensor | None]:
        """All that gradients may flow to."""
        return [self.query, self.key, self.value, self.sink, *self.moves.tensors]


def refusal(problem: Problem) -> str | None:
    """Why the kernels can't take the rule, or None."""
    rule = problem.rule
    if not _product(rule.score) and not listable(problem):
        return f"its scores are products of vectors, but for a graph's edges alone, not {rule.score!r}"
    if not isinstance(rule.normalize, (Softmax, Sigmoid)):
        return f"its normalizers are softmax and sigmoid, not {rule.normalize!r}"
    return bias_refusal(problem)


def lower(problem: Problem) -> Lowered:
    """The problem in the kernels' terms."""
    score, normalize = problem.rule.score, problem.rule.normalize
    if _product(score):
        moves = moves_of(problem)
        query, key, scale = _vectors(_uncapped(score), problem)
        cap = score.cap if isinstance(score, Softcap) else 0.0
    else:
        query, key, scale, cap = *_absent(problem), 0.0, 0.0
        moves = along_edges(problem)
    return Lowered(
        query=query,
        key=key,
        value=problem.value,
        scale=scale,
        cap=cap,
        normalize=int(isinstance(normalize, Sigmoid)),
        sink=None if problem.parts else _sink(problem),
        moves=moves,
    )


def _product(score: Score) -> bool:
    return isinstance(_uncapped(score), (Dot, General, Cosine, Gaussian))


def _absent(problem: Problem) -> tuple[Tensor, Tensor]:
    """Queries and keys of one component, all 0: the numbers of the edges say all of the score."""
    zero = torch.zeros(1, 1, 1, 1, dtype=problem.query.dtype)
    query, key = problem.query.shape, problem.key.shape
    return zero.expand(*query[:3], 1), zero.expand(*key[:3], 1)


def _uncapped(score: Score) -> Score:
    return score.score if isinstance(score, Softcap) else score


def _vectors(score: Score, problem: Problem) -> tuple[Tensor, Tensor, float]:
    """Queries and keys whose product times the scale is the score."""
    query, key = problem.query, problem.key
    wide = problem.accumulate
    if isinstance(score, Dot):
        scale = query.shape[-1] ** -0.5 if score.scale is None else score.scale
        return _scaled(query, key, scale, wide)
    if isinstance(score, General):
        return _scaled(query.to(wide) @ score.weight.to(wide), key, score.scale, wide)
    if isinstance(score, Cosine):
        return _scaled(_unit(query.to(wide)), _unit(key.to(wide)), score.scale, wide)
    assert isinstance(score, Gaussian)
    return (*_nearness(query.to(wide), key.to(wide), score.sigma), 1.0)


def _scaled(query: Tensor, key: Tensor, scale: float | Tensor, wide: torch.dtype) -> tuple[Tensor, Tensor, float]:
    """A scale that may differ by head, or be learned, goes into the queries."""
    if isinstance(scale, Tensor):
        return query.to(wide) * over_pairs(scale.to(wide)), key, 1.0
    return query, key, scale


def _unit(vectors: Tensor) -> Tensor:
    square = (vectors * vectors).sum(-1, keepdim=True)
    return vectors / torch.where(square == 0, 1, square).sqrt()


def _nearness(query: Tensor, key: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor]:
    """−‖q − k‖² / 2σ² as one product, [q, −‖q‖²/2, −½] / σ² · [k, 1, ‖k‖²], the middle of the keys moved to 0."""
    middle = torch.where(key.isfinite(), key, 0).detach().mean(2, keepdim=True)
    query, key = query - middle.repeat_interleave(query.shape[1] // key.shape[1], 1), key - middle
    half = torch.full_like(query[..., :1], -0.5)
    square = (query * query).sum(-1, keepdim=True)
    left = torch.cat((query, square * -0.5, half), -1) / torch.as_tensor(over_pairs(sigma)).to(query) ** 2
    return left, torch.cat((key, torch.ones_like(key[..., :1]), (key * key).sum(-1, keepdim=True)), -1)


def _sink(problem: Problem) -> Tensor | None:
    """The logits of the sink, `[heads]`."""
    if problem.sink is None:
        return None
    sink = torch.as_tensor(problem.sink, dtype=problem.accumulate, device=problem.query.device)
    return sink.expand(problem.heads)
