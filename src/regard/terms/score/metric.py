"""Scores by angle and by distance."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.heads import check_heads, over_pairs, per_head
from regard.terms.score.base import Pairs, Score, times
from regard.terms.tree import number, term

__all__ = ["Cosine", "Gaussian", "cosine", "gaussian"]


@term
class Cosine(Score):
    """scale · q_i · k_j / (‖q_i‖ ‖k_j‖); a vector of length 0 scores 0."""

    scale: float | Tensor = 1.0
    roles = {"scale": ("head",)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor, over: Pairs) -> Tensor:
        return over.dot(_unit(query), _unit(key)) * over_pairs(self.scale)

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        super().check(dim, key_dim, heads)
        check_heads("cosine(scale)", self.scale, heads)

    def __repr__(self) -> str:
        return times("cosine", self.scale)


@term
class Gaussian(Score):
    """−‖q_i − k_j‖² / 2σ²."""

    sigma: float | Tensor
    roles = {"sigma": ("head",)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor, over: Pairs) -> Tensor:
        # Any common shift leaves the distance as it is; the middle of the keys keeps the squares small.
        if key.shape[2]:
            middle = torch.where(key.isfinite(), key, 0).detach().mean(2, keepdim=True)
            query, key = query - middle.repeat_interleave(query.shape[1] // key.shape[1], 1), key - middle
        squares = over.add((query * query).sum(-1, keepdim=True), (key * key).sum(-1, keepdim=True)).squeeze(-1)
        distance = squares - 2 * over.dot(query, key)
        return distance / (-2 * over_pairs(self.sigma) ** 2)

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        super().check(dim, key_dim, heads)
        check_heads("gaussian(sigma)", self.sigma, heads)

    def __repr__(self) -> str:
        return f"gaussian({number(self.sigma)})"


def cosine(scale: float | Tensor = 1.0) -> Cosine:
    """The cosine of the angle between query and key, times a scale (QK-norm's logit scale).

    `score(q_i, k_j) = scale · q_i · k_j / (‖q_i‖ ‖k_j‖)`

    Args:
        scale: a number or a tensor `[heads]`; a vector of length 0 scores 0.

    Source: Henry et al. 2020, "Query-Key Normalization for Transformers".
    """
    return Cosine(per_head("cosine(scale)", scale))


def gaussian(sigma: float | Tensor = 1.0) -> Gaussian:
    """A Gaussian kernel: with softmax, Nadaraya–Watson regression.

    `score(q_i, k_j) = −‖q_i − k_j‖² / 2σ²`

    Args:
        sigma: the bandwidth σ > 0 in the units of q and k, a number or a tensor `[heads]` (it may be learned).

    Source: Nadaraya 1964, "On Estimating Regression"; Watson 1964, "Smooth Regression Analysis".
    """
    if not isinstance(sigma, Tensor) and not sigma > 0:
        raise InputError(f"gaussian(sigma) needs a bandwidth > 0, got {sigma}")
    return Gaussian(per_head("gaussian(sigma)", sigma))


def _unit(vectors: Tensor) -> Tensor:
    square = (vectors * vectors).sum(-1, keepdim=True)
    return vectors / torch.where(square == 0, 1, square).sqrt()
