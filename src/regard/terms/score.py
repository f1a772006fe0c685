"""How well does key j fit query i: score(q_i, k_j), its scale inside.

A score is written once, for any set of pairs: an engine hands it the queries and keys of a tile and the two ways in
which a pair of vectors can meet (`Pairs`), so that hidden pairs never mix into visible ones.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.tree import Term, number, term

__all__ = ["Score", "additive", "cosine", "dot", "gaussian", "general", "softcap"]


class Pairs(Protocol):
    """The pairs of a tile, each hidden one giving 0 and gradient 0 whatever its vectors hold."""

    def dot(self, query: Tensor, key: Tensor) -> Tensor:
        """q_i · k_j: `[batch, heads, queries, dim]`, `[batch, kv_heads, keys, dim]` → `[batch, heads, queries, keys]`."""

    def add(self, query: Tensor, key: Tensor) -> Tensor:
        """q_i + k_j, component by component: → `[batch, heads, queries, keys, dim]`."""


class Score(Term):
    """score(q_i, k_j) for every pair of a tile."""

    def pairs(self, query: Tensor, key: Tensor, over: Pairs) -> Tensor:
        """`[batch, heads, queries, dim]`, `[batch, kv_heads, keys, key_dim]` → `[batch, heads, queries, keys]`."""
        raise TypeError(f"{type(self).__name__} does not say how it scores a pair: define pairs(query, key, over)")

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        """Raise InputError unless the score can take these dims."""
        if dim != key_dim:
            raise InputError(
                f"{self!r} needs query and key of one dim, got {dim} and {key_dim}; "
                "general(W) or additive(W, U, v) can join two dims"
            )

    @property
    def width(self) -> int:
        """How many numbers a pair needs while it is scored."""
        return 1


@term
class Dot(Score):
    """scale · q_i · k_j."""

    scale: float | Tensor | None = None
    roles = {"scale": ("head",)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor, over: Pairs) -> Tensor:
        scale = query.shape[-1] ** -0.5 if self.scale is None else _per_head(self.scale)
        return over.dot(query, key) * scale

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        super().check(dim, key_dim, heads)
        _check_heads("dot(scale)", self.scale, heads)

    def __repr__(self) -> str:
        return "dot/√d" if self.scale is None else _times("dot", self.scale)


@term
class General(Score):
    """scale · q_iᵀ W k_j."""

    weight: Tensor
    scale: float | Tensor = 1.0
    roles = {"weight": ("head", None, None), "scale": ("head",)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor, over: Pairs) -> Tensor:
        return over.dot(query @ self.weight, key) * _per_head(self.scale)

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        _check_matrix("general(W)", self.weight, (dim, key_dim), heads)
        _check_heads("general(scale)", self.scale, heads)

    def __repr__(self) -> str:
        return _times(f"general({number(self.weight)})", self.scale)


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
        return (bent @ vector[..., None]).squeeze(-1) * _per_head(self.scale)

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        _check_matrix("additive's W", self.query_weight, (self.width, dim), heads)
        _check_matrix("additive's U", self.key_weight, (self.width, key_dim), heads)
        shape = tuple(self.vector.shape)
        if shape not in ((self.width,), (heads, self.width)):
            raise InputError(f"additive's v must be [{self.width}] or [{heads}, {self.width}], got {list(shape)}")
        _check_heads("additive(scale)", self.scale, heads)

    @property
    def width(self) -> int:
        return self.query_weight.shape[-2]

    def __repr__(self) -> str:
        bend = "" if self.negative_slope is None else f", negative_slope={self.negative_slope:g}"
        return _times(f"additive({self.width}{bend})", self.scale)


@term
class Cosine(Score):
    """scale · q_i · k_j / (‖q_i‖ ‖k_j‖); a vector of length 0 scores 0."""

    scale: float | Tensor = 1.0
    roles = {"scale": ("head",)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor, over: Pairs) -> Tensor:
        return over.dot(_unit(query), _unit(key)) * _per_head(self.scale)

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        super().check(dim, key_dim, heads)
        _check_heads("cosine(scale)", self.scale, heads)

    def __repr__(self) -> str:
        return _times("cosine", self.scale)


@term
class Gaussian(Score):
    """−‖q_i − k_j‖² / 2σ²."""

    sigma: float | Tensor
    roles = {"sigma": ("head",)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor, over: Pairs) -> Tensor:
        # Any common shift leaves the distance as it is; the middle of the keys keeps the squares small.
        middle = torch.where(key.isfinite(), key, 0).detach().mean((1, 2), keepdim=True) if key.numel() else 0
        query, key = query - middle, key - middle
        far = (key * key).sum(-1).repeat_interleave(query.shape[1] // key.shape[1], 1)[..., None, :]
        distance = (query * query).sum(-1, keepdim=True) + far - 2 * over.dot(query, key)
        return distance / (-2 * _per_head(self.sigma) ** 2)

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        super().check(dim, key_dim, heads)
        _check_heads("gaussian(sigma)", self.sigma, heads)

    def __repr__(self) -> str:
        return f"gaussian({number(self.sigma)})"


@term
class Softcap(Score):
    """c · tanh(score / c)."""

    score: Score
    cap: float

    def pairs(self, query: Tensor, key: Tensor, over: Pairs) -> Tensor:
        return self.cap * (self.score.pairs(query, key, over) / self.cap).tanh()

    def check(self, dim: int, key_dim: int, heads: int) -> None:
        self.score.check(dim, key_dim, heads)

    @property
    def width(self) -> int:
        return self.score.width

    def __repr__(self) -> str:
        return f"softcap({self.score!r}, {self.cap:g})"


def dot(scale: float | Tensor | None = None) -> Dot:
    """The scaled dot product.

    `score(q_i, k_j) = scale · q_i · k_j`

    Args:
        scale: a number, a tensor `[heads]` (it may be learned), or None for 1/√dim.

    Source: Vaswani et al. 2017, "Attention Is All You Need".
    """
    return Dot(scale if scale is None else _scale("dot", scale))


def general(weight: Tensor, scale: float | Tensor = 1.0) -> General:
    """Luong's *general* score.

    `score(q_i, k_j) = scale · q_iᵀ W k_j`

    Args:
        weight: W, `[dim, key_dim]`, or `[heads, dim, key_dim]`.
        scale: a number or a tensor `[heads]`.

    Source: Luong et al. 2015, "Effective Approaches to Attention-based Neural Machine Translation".
    """
    _check_tensor("general(W)", weight, (2, 3))
    return General(weight, _scale("general", scale))


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
    _check_tensor("additive's W", query_weight, (2, 3))
    _check_tensor("additive's U", key_weight, (2, 3))
    _check_tensor("additive's v", vector, (1, 2))
    return Additive(query_weight, key_weight, vector, negative_slope, _scale("additive", scale))


def cosine(scale: float | Tensor = 1.0) -> Cosine:
    """The cosine of the angle between query and key, times a scale (QK-norm's logit scale).

    `score(q_i, k_j) = scale · q_i · k_j / (‖q_i‖ ‖k_j‖)`

    Args:
        scale: a number or a tensor `[heads]`; a vector of length 0 scores 0.

    Source: Henry et al. 2020, "Query-Key Normalization for Transformers".
    """
    return Cosine(_scale("cosine", scale))


def gaussian(sigma: float | Tensor = 1.0) -> Gaussian:
    """A Gaussian kernel: with softmax, Nadaraya–Watson regression.

    `score(q_i, k_j) = −‖q_i − k_j‖² / 2σ²`

    Args:
        sigma: the bandwidth σ > 0 in the units of q and k, a number or a tensor `[heads]` (it may be learned).

    Source: Nadaraya 1964, "On Estimating Regression"; Watson 1964, "Smooth Regression Analysis".
    """
    if not isinstance(sigma, Tensor) and not sigma > 0:
        raise InputError(f"gaussian(sigma) needs a bandwidth > 0, got {sigma}")
    return Gaussian(_scale("gaussian", sigma))


def softcap(score: Score, cap: float) -> Softcap:
    """A score that can't pass ±c.

    `c · tanh(score / c)`, after the scale and before bias and pattern

    Args:
        score: the score to cap.
        cap: c > 0, in the units of the score.

    Source: Bello et al. 2017, "Neural Combinatorial Optimization with Reinforcement Learning"; Gemma 2, 2024.
    """
    if not isinstance(score, Score):
        raise InputError(f"softcap(score, c) caps a score such as dot(), got {type(score).__name__}")
    if not (cap > 0 and math.isfinite(cap)):
        raise InputError(f"softcap(score, c) needs a finite c > 0, got {cap}")
    return Softcap(score, float(cap))


def _scale(name: str, scale: float | Tensor) -> float | Tensor:
    if isinstance(scale, Tensor):
        _check_tensor(f"{name}'s scale", scale, (0, 1))
        return scale
    return float(scale)


def _per_head(scale: float | Tensor) -> float | Tensor:
    return scale[:, None, None] if isinstance(scale, Tensor) and scale.ndim else scale


def _unit(vectors: Tensor) -> Tensor:
    square = (vectors * vectors).sum(-1, keepdim=True)
    return vectors / torch.where(square == 0, 1, square).sqrt()


def _times(name: str, scale: float | Tensor) -> str:
    return name if not isinstance(scale, Tensor) and scale == 1 else f"{name}·{number(scale)}"


def _check_tensor(name: str, value: object, ndims: tuple[int, ...]) -> None:
    if not isinstance(value, Tensor) or value.ndim not in ndims:
        got = f"{value.ndim} axes" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"{name} must be a tensor of {' or '.join(map(str, ndims))} axes, got {got}")


def _check_matrix(name: str, weight: Tensor, shape: tuple[int, int], heads: int) -> None:
    if tuple(weight.shape) not in (shape, (heads, *shape)):
        rows, columns = shape
        raise InputError(
            f"{name} must be [{rows}, {columns}] or [{heads}, {rows}, {columns}] for these inputs, got {list(weight.shape)}"
        )


def _check_heads(name: str, value: float | Tensor | None, heads: int) -> None:
    if isinstance(value, Tensor) and value.ndim and value.shape[0] != heads:
        raise InputError(
            f"{name} holds {value.shape[0]} numbers for {heads} query heads; give one a head, or a single number"
        )
