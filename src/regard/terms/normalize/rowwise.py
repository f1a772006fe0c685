"""Normalizers that need the whole row."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.integers import integer
from regard.terms.normalize.base import NOTHING, Draw, Normalize
from regard.terms.normalize.exponential import Softmax
from regard.terms.tree import term

__all__ = ["Entmax15", "Hard", "Sparsemax", "TopK", "entmax15", "hard", "sparsemax", "top_k"]


@term
class Sparsemax(Normalize):
    """The point of the simplex that is nearest to the scores."""

    whole_row: ClassVar[str | None] = "sparsemax finds one threshold for the whole row, which parts of it can't know"

    def weights(self, scores: Tensor, draw: Draw) -> Tensor:
        scores = _from_top(scores)
        with torch.no_grad():
            down = _descending(scores)
            held = down.cumsum(-1)
            size = _counting(down)
            count = (1 + size * down > held).sum(-1, keepdim=True)
            lowest = down.gather(-1, (count - 1).clamp(min=0)) if scores.shape[-1] else count
            support = (scores >= lowest) & (scores > NOTHING)
        inside = torch.where(support, scores, 0)
        threshold = (inside.sum(-1, keepdim=True) - 1) / support.sum(-1, keepdim=True).clamp(min=1)
        return _keep_nan(torch.where(support, inside - threshold, 0), scores)

    def __repr__(self) -> str:
        return "sparsemax"


@term
class Entmax15(Normalize):
    """max(s_ij/2 − τ_i, 0)², τ_i such that the row sums to 1."""

    whole_row: ClassVar[str | None] = "entmax15 finds one threshold for the whole row, which parts of it can't know"

    def weights(self, scores: Tensor, draw: Draw) -> Tensor:
        half = _from_top(scores) / 2
        with torch.no_grad():
            down = _descending(half)
            size = _counting(down)
            mean = down.cumsum(-1) / size
            spread = (down.square().cumsum(-1) / size - mean.square()) * size
            threshold = mean - ((1 - spread) / size).clamp(min=0).sqrt()
            count = (threshold <= down).sum(-1, keepdim=True)
            support = _first(half, count) & (half > NOTHING)
        inside = torch.where(support, half, 0)
        number_in = support.sum(-1, keepdim=True).clamp(min=1)
        mean = inside.sum(-1, keepdim=True) / number_in
        away = torch.where(support, inside - mean, 0)
        threshold = -((1 - away.square().sum(-1, keepdim=True)) / number_in).clamp(min=0).sqrt()
        return _keep_nan(torch.where(support, away - threshold, 0).clamp(min=0).square(), scores)

    def __repr__(self) -> str:
        return "entmax15"


@term
class TopK(Normalize):
    """Softmax over the k greatest scores of the row; ties go to the lower index."""

    k: int
    whole_row: ClassVar[str | None] = "top_k ranks the whole row, which parts of it can't know"

    def weights(self, scores: Tensor, draw: Draw) -> Tensor:
        kept = torch.where(_first(scores, self.k), scores, NOTHING)
        return Softmax().weights(kept, draw)

    def __repr__(self) -> str:
        return f"top_k({self.k})"


@term
class Hard(Normalize):
    """One key a row, drawn with probability softmax(s_i); gradients of softmax((s_i + g_i)/temperature)."""

    temperature: float = 1.0
    whole_row: ClassVar[str | None] = "hard picks one key of the whole row, which parts of it can't know"
    random: ClassVar[bool] = True

    def weights(self, scores: Tensor, draw: Draw) -> Tensor:
        noisy = scores - (-draw().log()).log().to(scores.dtype)
        soft = Softmax().weights(noisy / self.temperature, draw)
        chosen = _first(noisy.detach(), 1) & (noisy > NOTHING)
        return chosen.to(soft.dtype) + (soft - soft.detach())

    def __repr__(self) -> str:
        return f"hard({self.temperature:g})"


def sparsemax() -> Sparsemax:
    """The point of the simplex nearest to the scores: many weights are exactly 0.

    `w_i = argmin_{p ≥ 0, Σp = 1} ‖p − s_i‖²`

    Source: Martins & Astudillo 2016, "From Softmax to Sparsemax".
    """
    return Sparsemax()


def entmax15() -> Entmax15:
    """Halfway between softmax and sparsemax.

    `w_ij = max(s_ij/2 − τ_i, 0)²`, τ_i such that the row sums to 1

    Source: Peters et al. 2019, "Sparse Sequence-to-Sequence Models".
    """
    return Entmax15()


def top_k(k: int) -> TopK:
    """Softmax over the k greatest scores of each row; all else is exactly 0; ties go to the lower index.

    `w_i = softmax_j(s_ij : s_ij among the k greatest of row i)`

    Args:
        k: ≥ 1; rows that see fewer keys keep them all.

    Source: Gupta et al. 2021, "Memory-efficient Transformers via Top-k Attention".
    """
    number = integer(k)
    if number is None or number < 1:
        raise InputError(f"top_k(k) needs a whole number k ≥ 1, got {k!r}")
    return TopK(number)


def hard(temperature: float = 1.0) -> Hard:
    """One key a row, drawn with probability softmax(s_i); straight-through gradients.

    `w_i = onehot(argmax_j(s_ij + g_ij))`, g Gumbel noise; backward as `softmax((s_i + g_i)/temperature)`

    Args:
        temperature: > 0, of the soft weights that carry the gradient; the draw itself does not depend on it.

    Source: Jang et al. 2017, "Categorical Reparameterization with Gumbel-Softmax"; Xu et al. 2015 for hard attention.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise InputError(f"hard(temperature) needs a temperature > 0, got {temperature}")
    return Hard(float(temperature))


def _from_top(scores: Tensor) -> Tensor:
    """The scores less the greatest of their row: what a shift leaves as it is must not round, nor overflow."""
    if not scores.shape[-1]:
        return scores
    top = scores.detach().amax(-1, keepdim=True)
    return scores - torch.where(top == NOTHING, 0, top)


def _descending(scores: Tensor) -> Tensor:
    return scores.sort(-1, descending=True).values


def _counting(scores: Tensor) -> Tensor:
    return torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype)


def _first(scores: Tensor, count: int | Tensor) -> Tensor:
    """True for the `count` greatest of every row; among equals the lower index comes first."""
    order = scores.detach().sort(dim=-1, descending=True, stable=True).indices
    rank = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    return torch.zeros_like(order).scatter(-1, order, rank) < count


def _keep_nan(weights: Tensor, scores: Tensor) -> Tensor:
    """NaN in a visible score makes its whole row NaN, as it does in softmax."""
    return torch.where(scores.isnan().any(-1, keepdim=True), float("nan"), weights)
