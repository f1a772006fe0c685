"""How scores become weights: w_i = normalize_j(scores_ij), a hidden pair having the score −∞.

Three kinds, by what can be said from a part of the keys: softmax parts merge through their log-sum-exp, pointwise
parts (sigmoid, relu) add up, and row-wise ones (sparsemax, entmax, top-k, hard) need the whole row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.tree import Term, number, term

__all__ = ["Normalize", "entmax15", "hard", "relu", "sigmoid", "softmax", "sparsemax", "top_k"]

Draw = Callable[[], Tensor]
"""Uniform numbers in (0, 1), one a pair, `[batch, heads, queries, keys]`, fixed by seed and absolute position."""

NOTHING = float("-inf")


class Normalize(Term):
    """w_i = normalize_j(scores_ij)."""

    whole_row: ClassVar[str | None] = None
    """Why parts of a row can't be merged, or None when they can."""
    random: ClassVar[bool] = False

    def weights(self, scores: Tensor, draw: Draw) -> Tensor:
        """`[..., heads, queries, keys]` scores, −∞ where hidden → weights, exactly 0 where hidden."""
        raise TypeError(f"{type(self).__name__} does not say how it weighs a row: define weights(scores, draw)")

    def part(self, scores: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        """Weights over the keys at hand alone and, where parts merge by it, their log-sum-exp `[..., heads, queries]`."""
        return self.weights(scores, draw), None

    def check(self, heads: int) -> None:
        """Raise InputError unless the normalizer fits this many query heads."""


@term
class Softmax(Normalize):
    """exp(s_ij) / (exp(sink) + Σ_j exp(s_ij))."""

    sink: float | Tensor | None = None
    roles = {"sink": ("head",)}  # noqa: RUF012

    def weights(self, scores: Tensor, draw: Draw) -> Tensor:
        weights, lse = self.part(scores, draw)
        return weights if self.sink is None else weights * visible_share(lse, self.sink)[..., None]

    def part(self, scores: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        if not scores.shape[-1]:
            return scores, scores.sum(-1) + NOTHING
        # A row of nothing but −∞ has no maximum to subtract; its sum stays 0.
        top = scores.detach().amax(-1, keepdim=True)
        top = torch.where(top == NOTHING, 0, top)
        powers = (scores - top).exp()
        total = powers.sum(-1, keepdim=True)
        empty = total == 0
        total = torch.where(empty, 1, total)
        return powers / total, torch.where(empty, NOTHING, total.log() + top).squeeze(-1)

    def check(self, heads: int) -> None:
        if isinstance(self.sink, Tensor) and self.sink.ndim and self.sink.shape[0] != heads:
            raise InputError(
                f"softmax(sink) holds {self.sink.shape[0]} logits for {heads} query heads; give one a head"
            )

    def __repr__(self) -> str:
        return "softmax" if self.sink is None else f"softmax[sink={number(self.sink)}]"


@term
class Sigmoid(Normalize):
    """σ(s_ij + shift)."""

    shift: float | Tensor = 0.0
    roles = {"shift": ("head",)}  # noqa: RUF012

    def weights(self, scores: Tensor, draw: Draw) -> Tensor:
        shift = self.shift[:, None, None] if isinstance(self.shift, Tensor) and self.shift.ndim else self.shift
        return (scores + shift).sigmoid()

    def check(self, heads: int) -> None:
        if isinstance(self.shift, Tensor) and self.shift.ndim and self.shift.shape[0] != heads:
            raise InputError(
                f"sigmoid(shift) holds {self.shift.shape[0]} numbers for {heads} query heads; give one a head"
            )

    def __repr__(self) -> str:
        plain = not isinstance(self.shift, Tensor) and self.shift == 0
        return "sigmoid" if plain else f"sigmoid[shift={number(self.shift)}]"


@term
class Relu(Normalize):
    """max(s_ij, 0)^power / divide."""

    power: float = 1.0
    divide: float = 1.0

    def weights(self, scores: Tensor, draw: Draw) -> Tensor:
        kept = scores.clamp(min=0)
        return (kept if self.power == 1 else kept**self.power) / self.divide

    def __repr__(self) -> str:
        said = [f"power={self.power:g}"] * (self.power != 1) + [f"divide={self.divide:g}"] * (self.divide != 1)
        return f"relu[{', '.join(said)}]" if said else "relu"


@term
class Sparsemax(Normalize):
    """The point of the simplex that is nearest to the scores."""

    whole_row: ClassVar[str | None] = "sparsemax finds one threshold for the whole row, which parts of it can't know"

    def weights(self, scores: Tensor, draw: Draw) -> Tensor:
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
        half = scores / 2
        with torch.no_grad():
            down = _descending(half)
            top = down[..., :1]
            down = down - torch.where(top == NOTHING, 0, top)
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
        noisy = scores - (-draw().to(scores.dtype).log()).log()
        soft = Softmax().weights(noisy / self.temperature, draw)
        chosen = _first(noisy.detach(), 1) & (noisy > NOTHING)
        return chosen.to(soft.dtype) + soft - soft.detach()

    def __repr__(self) -> str:
        return f"hard({self.temperature:g})"


def visible_share(lse: Tensor, sink: float | Tensor) -> Tensor:
    """exp(lse) / (exp(lse) + exp(sink)) = σ(lse − sink): what a sink leaves to the keys; 0 for a row of nothing.

    Args:
        lse: `[..., heads, queries]`.
        sink: a number, or logits `[heads]`.
    """
    sink = sink[:, None] if isinstance(sink, Tensor) and sink.ndim else sink
    empty = lse == NOTHING
    return torch.where(empty, 0, (torch.where(empty, 0, lse) - sink).sigmoid())


def softmax(sink: float | Tensor | None = None) -> Softmax:
    """Exponentials that sum to one, or to less where a sink takes its share.

    `w_ij = exp(s_ij) / (exp(sink) + Σ_j exp(s_ij))`

    Args:
        sink: None; 0.0 (softmax-plus-one); or logits, one number or a tensor `[heads]` (learned sinks).

    Source: Vaswani et al. 2017; Miller 2023, "Attention Is Off By One"; gpt-oss, 2025, for learned sinks.
    """
    if isinstance(sink, Tensor):
        if sink.ndim > 1:
            raise InputError(f"softmax(sink) needs a number or a tensor [heads], got {list(sink.shape)}")
        return Softmax(sink)
    return Softmax(sink if sink is None else float(sink))


def sigmoid(shift: float | Tensor = 0.0) -> Sigmoid:
    """Every pair for itself: weights in (0, 1) that need not sum to one.

    `w_ij = 1 / (1 + exp(−s_ij − shift))`

    Args:
        shift: a number (−log(keys) keeps the sum near one) or a tensor `[heads]`.

    Source: Ramapuram et al. 2024, "Theory, Analysis, and Best Practices for Sigmoid Self-Attention".
    """
    if isinstance(shift, Tensor):
        if shift.ndim > 1:
            raise InputError(f"sigmoid(shift) needs a number or a tensor [heads], got {list(shift.shape)}")
        return Sigmoid(shift)
    return Sigmoid(float(shift))


def relu(power: float = 1, divide: float = 1) -> Relu:
    """Rectified scores, as they are or squared, over a constant.

    `w_ij = max(s_ij, 0)^power / divide`

    Args:
        power: ≥ 1; 2 is the squared ReLU.
        divide: > 0, for instance the number of keys.

    Source: Wortsman et al. 2023, "Replacing softmax with ReLU in Vision Transformers".
    """
    if not (power >= 1 and math.isfinite(power)):
        raise InputError(f"relu(power) needs a power ≥ 1, got {power}")
    if not (divide > 0 and math.isfinite(divide)):
        raise InputError(f"relu(divide) needs a number > 0, got {divide}")
    return Relu(float(power), float(divide))


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
    if k < 1:
        raise InputError(f"top_k(k) needs k ≥ 1, got {k}")
    return TopK(int(k))


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
