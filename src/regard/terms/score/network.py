"""A score by a small network over query and key together."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import leaky_relu

from regard.errors import InputError
from regard.terms.heads import check_heads, check_tensor, over_pairs, per_head
from regard.terms.score.base import Pairs, Score, check_matrix, times
from regard.terms.tree import term

__all__ = ["Additive", "additive"]


@term
class Additive(Score):
    """scale · v · f(W q_i + U k_j), f = tanh, or leaky ReLU when `negative_slope` is given."""

    query_weight: Tensor | None
    key_weight: Tensor | None
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
        group = query.shape[1] // key.shape[1]
        if self.key_weight is not None and self.key_weight.ndim == 3 and group > 1:
            key = key.repeat_interleave(group, 1)
        hidden = over.add(_times(query, self.query_weight), _times(key, self.key_weight))
        bent = hidden.tanh() if self.negative_slope is None else leaky_relu(hidden, self.negative_slope)
        score = bent.flatten(2, 3) @ self.vector[..., None]
        return score.reshape(bent.shape[:-1]) * over_pairs(self.scale)

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        for name, weight, size in (("W", self.query_weight, dim), ("U", self.key_weight, key_dim)):
            if weight is not None:
                check_matrix(f"additive's {name}", weight, (self.width, size), heads)
            elif size != self.width:
                raise InputError(f"additive without {name} needs vectors of {self.width} components, got {size}")
        shape = tuple(self.vector.shape)
        if shape not in ((self.width,), (heads, self.width)):
            raise InputError(f"additive's v must be [{self.width}] or [{heads}, {self.width}], got {list(shape)}")
        check_heads("additive(scale)", self.scale, heads)

    @property
    def width(self) -> int:
        given = [weight for weight in (self.query_weight, self.key_weight) if weight is not None]
        return given[0].shape[-2] if given else self.vector.shape[-1]

    def __repr__(self) -> str:
        bend = "" if self.negative_slope is None else f", negative_slope={self.negative_slope:g}"
        return times(f"additive({self.width}{bend})", self.scale)


def additive(
    query_weight: Tensor | None,
    key_weight: Tensor | None,
    vector: Tensor,
    *,
    negative_slope: float | None = None,
    scale: float | Tensor = 1.0,
) -> Additive:
    """Bahdanau's score; with a leaky ReLU in place of tanh it is GATv2's.

    `score(q_i, k_j) = scale · v · f(W q_i + U k_j)`

    Args:
        query_weight: W, `[hidden, dim]` or `[heads, hidden, dim]`; None where queries are projected already.
        key_weight: U, `[hidden, key_dim]` or `[heads, hidden, key_dim]`; None likewise.
        vector: v, `[hidden]` or `[heads, hidden]`.
        negative_slope: None for f = tanh, a number for a leaky ReLU with that slope below 0.
        scale: a number or a tensor `[heads]`.

    Source: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate";
    Brody et al. 2022, "How Attentive are Graph Attention Networks?".
    """
    for name, weight in (("W", query_weight), ("U", key_weight)):
        if weight is not None:
            check_tensor(f"additive's {name}", weight, (2, 3))
    check_tensor("additive's v", vector, (1, 2))
    if negative_slope is not None and not math.isfinite(negative_slope):
        raise InputError(f"additive(negative_slope) needs a finite number or None, got {negative_slope}")
    return Additive(query_weight, key_weight, vector, negative_slope, per_head("additive(scale)", scale))


def _times(vectors: Tensor, weight: Tensor | None) -> Tensor:
    return vectors if weight is None else vectors @ weight.mT
