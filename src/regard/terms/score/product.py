"""Scores that are a product of query and key."""

from __future__ import annotations

from torch import Tensor

from regard.terms.heads import check_heads, check_tensor, over_pairs, per_head
from regard.terms.score.base import Pairs, Score, check_matrix, times
from regard.terms.tree import number, term

__all__ = ["Dot", "General", "dot", "general"]


@term
class Dot(Score):
    """scale · q_i · k_j."""

    scale: float | Tensor | None = None
    roles = {"scale": ("head",)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor, over: Pairs) -> Tensor:
        scale = query.shape[-1] ** -0.5 if self.scale is None else over_pairs(self.scale)
        return over.dot(query, key) * scale

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        super().check(dim, key_dim, heads)
        check_heads("dot(scale)", self.scale, heads)

    def __repr__(self) -> str:
        return "dot/√d" if self.scale is None else times("dot", self.scale)


@term
class General(Score):
    """scale · q_iᵀ W k_j."""

    weight: Tensor
    scale: float | Tensor = 1.0
    roles = {"weight": ("head", None, None), "scale": ("head",)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor, over: Pairs) -> Tensor:
        return over.dot(query @ self.weight, key) * over_pairs(self.scale)

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        check_matrix("general(W)", self.weight, (dim, key_dim), heads)
        check_heads("general(scale)", self.scale, heads)

    def __repr__(self) -> str:
        return times(f"general({number(self.weight)})", self.scale)


def dot(scale: float | Tensor | None = None) -> Dot:
    """The scaled dot product.

    `score(q_i, k_j) = scale · q_i · k_j`

    Args:
        scale: a number, a tensor `[heads]` (it may be learned), or None for 1/√dim.

    Source: Vaswani et al. 2017, "Attention Is All You Need".
    """
    return Dot(scale if scale is None else per_head("dot(scale)", scale))


def general(weight: Tensor, scale: float | Tensor = 1.0) -> General:
    """Luong's *general* score.

    `score(q_i, k_j) = scale · q_iᵀ W k_j`

    Args:
        weight: W, `[dim, key_dim]`, or `[heads, dim, key_dim]`.
        scale: a number or a tensor `[heads]`.

    Source: Luong et al. 2015, "Effective Approaches to Attention-based Neural Machine Translation".
    """
    check_tensor("general(W)", weight, (2, 3))
    return General(weight, per_head("general(scale)", scale))
