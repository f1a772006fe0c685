"""A score by a small network over query and key together."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.heads import check_heads, check_tensor, over_pairs, per_head
from regard.terms.score.base import Pairs, Score, check_matrix, times
from regard.terms.tree import term

__all__ = ["Additive", "additive"]


@term
class Additive(Score):
    """scale · v · f(W q_i + U k_j), f = tanh, or leaky ReLU when `negative_slope` is given."""

    query_weight: Tensor
    key_weight: Tensor
    vector: Tensor
    negative_slope: float | None = None
    scale: float | Tensor = 1.0
    roles = {  # noqa: RUF012
        "query_weight": ("head", None, None),
        "key_weight": ("head", None, None),
        "vector": ("head", None),
        "scale": ("head",),
    }

    def pairs(self, query: Tensor, key: Tensor, over: Pairs) -> Tensor:
        if self.key_weight.ndim == 3:
            key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
        hidden = over.add(query @ self.query_weight.mT, key @ self.key_weight.mT)
        bent = (
            hidden.tanh()
            if self.negative_slope is None
            else torch.where(hidden > 0, hidden, hidden * self.negative_slope)
        )
        vector = self.vector if self.vector.ndim == 1 else self.vector[:, None, :]
        return (bent @ vector[..., None]).squeeze(-1) * over_pairs(self.scale)

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        check_matrix("additive's W", self.query_weight, (self.width, dim), heads)
        check_matrix("additive's U", self.key_weight, (self.width, key_dim), heads)
        shape = tuple(self.vector.shape)
        if shape not in ((self.width,), (heads, self.width)):
            raise InputError(f"additive's v must be [{self.width}] or [{heads}, {self.width}], got {list(shape)}")
        check_heads("additive(scale)", self.scale, heads)

    @property
    def width(self) -> int:
        return self.query_weight.shape[-2]

    def __repr__(self) -> str:
        bend = "" if self.negative_slope is None else f", negative_slope={self.negative_slope:g}"
        return times(f"additive({self.width}{bend})", self.scale)


def additive(
    query_weight: Tensor,
    key_weight: Tensor,
    vector: Tensor,
    *,
    negative_slope: float | None = None,
    scale: float | Tensor = 1.0,
) -> Additive:
    """Bahdanau's score; with a leaky ReLU in place of tanh it is GATv2's.

    `score(q_i, k_j) = scale · v · f(W q_i + U k_j)`

    Args:
        query_weight: W, `[hidden, dim]` or `[heads, hidden, dim]`.
        key_weight: U, `[hidden, key_dim]` or `[heads, hidden, key_dim]`.
        vector: v, `[hidden]` or `[heads, hidden]`.
        negative_slope: None for f = tanh, a number for a leaky ReLU with that slope below 0.
        scale: a number or a tensor `[heads]`.

    Source: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate";
    Brody et al. 2022, "How Attentive are Graph Attention Networks?".
    """
    check_tensor("additive's W", query_weight, (2, 3))
    check_tensor("additive's U", key_weight, (2, 3))
    check_tensor("additive's v", vector, (1, 2))
    if negative_slope is not None and not math.isfinite(negative_slope):
        raise InputError(f"additive(negative_slope) needs a finite number or None, got {negative_slope}")
    return Additive(query_weight, key_weight, vector, negative_slope, per_head("additive(scale)", scale))
