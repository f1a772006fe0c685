"""A language model that only counts: n-grams, each order falling back to the one below."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Ngram"]

DISCOUNT, STEP, SHIFT = 0.75, np.uint64(6364136223846793005), np.uint64(1442695040888963407)


class Ngram:
    """`p_n(x | c) = (max(N(c x) − D, 0) + D · kinds(c) · p_{n−1}(x | c'))/N(c)`, c' is c without its first sign.

    Args:
        text: signs by number, `[signs]`.
        size: how many there are to tell apart.
        order: how many signs, the new one among them, are looked at.

    Source: Ney, Essen & Kneser 1994, "On Structuring Probabilistic Dependences in Stochastic Language Modelling":
    absolute discounting.
    """

    def __init__(self, text: Tensor, size: int, order: int) -> None:
        self.size, self.order = size, order
        signs, self._levels = _signs(text), []
        for count in range(order):
            before = _codes(signs[:-1] if count else signs, count)
            before = before[: len(signs) - count]
            both, first, often = np.unique(_next(before, signs[count:]), return_index=True, return_counts=True)
            known, seen = np.unique(before, return_counts=True)
            kinds = np.bincount(np.searchsorted(known, before[first]), minlength=len(known))
            self._levels.append((both, often, known, seen, kinds))

    def shares(self, text: Tensor) -> Tensor:
        """The probability of every sign after those before it, float64 `[signs]`."""
        signs = _signs(text)
        share = np.full(len(signs), 1 / self.size)
        for count in range(min(self.order, len(signs))):
            before = _codes(signs, count)[: len(signs) - count]
            share[count:] = self._refined(count, before, signs[count:], share[count:])
        return torch.from_numpy(share)

    def after(self, text: Tensor) -> Tensor:
        """The probability of every sign after a text, float64 `[size]`."""
        signs, new = _signs(text), np.arange(self.size, dtype=np.uint64)
        share = np.full(self.size, 1 / self.size)
        for count in range(min(self.order, len(signs) + 1)):
            before = _codes(signs[len(signs) - count :], count)[-1:]
            share = self._refined(count, before, new, share)
        return torch.from_numpy(share)

    def _refined(self, count: int, before: Any, new: Any, lower: Any) -> Any:
        """The shares by one sign more of what stands before."""
        both, often, known, seen, kinds = self._levels[count]
        here, total, different = (
            _found(both, often, _next(before, new)),
            _found(known, seen, before),
            _found(known, kinds, before),
        )
        share = (np.maximum(here - DISCOUNT, 0) + DISCOUNT * different * lower) / np.maximum(total, 1)
        return np.where(total > 0, share, lower)


def _signs(text: Tensor) -> Any:
    return text.numpy().astype(np.uint64)


def _next(before: Any, sign: Any) -> Any:
    """The code of signs and one more."""
    return before * STEP + sign + SHIFT


def _codes(signs: Any, count: int) -> Any:
    """The code of every `count` signs in a row; two different ones have the same with a chance of 2⁻⁶⁴."""
    rows = len(signs) - count + 1
    code = np.zeros(rows, dtype=np.uint64)
    for place in range(count):
        code = _next(code, signs[place : place + rows])
    return code


def _found(known: Any, value: Any, asked: Any) -> Any:
    """The values of codes, 0 where there is none."""
    at = np.searchsorted(known, asked).clip(max=len(known) - 1)
    return np.where(known[at] == asked, value[at], 0)
