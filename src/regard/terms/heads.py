"""One number for all query heads, or one a head."""

from __future__ import annotations

import math

from torch import Tensor

from regard.errors import InputError

__all__ = ["check_heads", "check_tensor", "over_pairs", "per_head"]


def per_head(name: str, value: float | Tensor) -> float | Tensor:
    """A number as a float, a tensor `[]` or `[heads]` as it is; InputError for any other."""
    if isinstance(value, Tensor):
        check_tensor(name, value, (0, 1))
        return value
    if not isinstance(value, (int, float)) or math.isnan(value):
        raise InputError(f"{name} needs a number or a tensor [heads], got {value}")
    return float(value)


def over_pairs(value: float | Tensor) -> float | Tensor:
    """`[heads]` → `[heads, 1, 1]`, so that it broadcasts over queries and keys."""
    return value[:, None, None] if isinstance(value, Tensor) and value.ndim else value


def check_heads(name: str, value: object, heads: int) -> None:
    """InputError unless the value is for all heads or holds one entry for each."""
    if isinstance(value, Tensor) and value.ndim and value.shape[0] != heads:
        raise InputError(
            f"{name} is for {value.shape[0]} query heads, but there are {heads}; "
            "give it one entry a head, or a single number"
        )


def check_tensor(name: str, value: object, ndims: tuple[int, ...]) -> None:
    """InputError unless the value is a tensor with one of these numbers of axes."""
    if not isinstance(value, Tensor) or value.ndim not in ndims or not value.is_floating_point():
        got = f"{value.ndim} axes of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"{name} must be a floating-point tensor of {' or '.join(map(str, ndims))} axes, got {got}")
