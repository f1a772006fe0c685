"""Normalizers of every pair for itself, whose parts add up."""

from __future__ import annotations

import math

from torch import Tensor

from regard.errors import InputError
from regard.terms.heads import check_heads, over_pairs, per_head
from regard.terms.normalize.base import Draw, Normalize
from regard.terms.tree import number, term

__all__ = ["Relu", "Sigmoid", "relu", "sigmoid"]


@term
class Sigmoid(Normalize):
    """σ(s_ij + shift)."""

    shift: float | Tensor = 0.0
    roles = {"shift": ("head",)}  # noqa: RUF012

    def weights(self, scores: Tensor, draw: Draw) -> Tensor:
        return (scores + over_pairs(self.shift)).sigmoid()

    def check(self, heads: int) -> None:
        check_heads("sigmoid(shift)", self.shift, heads)

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


def sigmoid(shift: float | Tensor = 0.0) -> Sigmoid:
    """Every pair for itself: weights in (0, 1) that need not sum to one.

    `w_ij = 1 / (1 + exp(−s_ij − shift))`

    Args:
        shift: a number (−log(keys) keeps the sum near one) or a tensor `[heads]`.

    Source: Ramapuram et al. 2024, "Theory, Analysis, and Best Practices for Sigmoid Self-Attention".
    """
    return Sigmoid(per_head("sigmoid(shift)", shift))


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
