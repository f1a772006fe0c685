"""A score that stays within bounds."""

from __future__ import annotations

import math

from torch import Tensor

from regard.errors import InputError
from regard.terms.score.base import Pairs, Score
from regard.terms.tree import term

__all__ = ["Softcap", "softcap"]


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
