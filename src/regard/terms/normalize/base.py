"""What every normalizer is."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from regard.terms.tree import Term

__all__ = ["NOTHING", "Normalize"]


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
        """Weights over the keys at hand and, where parts merge by it, their log-sum-exp `[..., heads, queries]`."""
        return self.weights(scores, draw), None

    def check(self, heads: int) -> None:
        """Raise InputError unless the normalizer fits this many query heads."""
