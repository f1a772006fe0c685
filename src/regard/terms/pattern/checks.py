"""The checks that several patterns share; each says what was expected, what came, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.integers import integer
from regard.terms.pattern.ranges import Ints

__all__ = ["covered", "dims", "integers", "lengths", "numbers", "whole", "wholes"]


FARTHEST = 2**62
"""Sums of two positions fit into 64 bits."""


def whole(value: Any, least: int, what: str) -> int:
    """A whole number of at least `least`; InputError otherwise."""
    number = integer(value)
    if number is None or number < least:
        raise InputError(f"{what} must be a whole number of at least {least}; it got {value!r}.")
    if number >= FARTHEST:
        raise InputError(f"{what} must be below 2⁶²; it got {value!r}.")
    return number


def wholes(values: Any, least: int, what: str) -> tuple[int, ...]:
    """One whole number or several, in a list, a tuple or a tensor, as a tuple."""
    if isinstance(values, Tensor):
        values = integers(values, what).reshape(-1).tolist()
    if not isinstance(values, Iterable):
        values = (values,)
    return tuple(whole(value, least, what) for value in values)


def integers(tensor: Tensor, what: str) -> Tensor:
    """A tensor of whole numbers as int64; InputError for any other dtype."""
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise InputError(f"{what} must be whole numbers; it got a tensor of {tensor.dtype}: convert it with .long().")
    return tensor.to(torch.int64)


def lengths(values: Any, what: str) -> Tensor:
    """Whole numbers of at least 0 as an int64 tensor; InputError otherwise."""
    if not isinstance(values, Tensor):
        return torch.tensor(wholes(values, 0, what), dtype=torch.int64)
    found = integers(values, what)
    if bool((found < 0).any()):
        raise InputError(f"{what} must be at least 0; it got {int(found.min())}.")
    return found


def covered(what: str, size: int, rows: Ints, keys: tuple[int, int] | None = None, advice: str = "") -> None:
    """Whether positions 0 … size − 1 hold every query row (and every key); InputError otherwise."""
    if rows.size and not 0 <= rows[0] <= rows[-1] < size:
        came = f"query positions {rows[0]}…{rows[-1]}"
    elif keys is not None and keys[0] < keys[1] and not 0 <= keys[0] <= keys[1] <= size:
        came = f"key positions {keys[0]}…{keys[1] - 1}"
    else:
        return
    held = f"positions 0…{size - 1}" if size else "no position"
    raise InputError(f"{what} holds {held}, but there are {came}: {advice or 'make it as long as the sequence'}.")


def numbers(tensor: Tensor) -> np.ndarray[Any, Any]:
    """A pattern's own tensor as an array, also inside of `torch.func`, which would wrap the result of `detach`."""
    with torch._C._DisableFuncTorch():
        return np.asarray(tensor.detach().cpu().numpy())


def dims(tensor: Tensor, count: int, what: str, batch: int, heads: int | None = None) -> np.ndarray[Any, Any]:
    """A tensor as an array of `count` axes, the first batch and, where `heads` is given, the second heads.

    Missing leading axes have size 1. InputError if there are more axes, or a size is neither 1 nor the full one.
    """
    if tensor.ndim > count:
        raise InputError(f"{what} must have at most {count} axes here; it has shape {tuple(tensor.shape)}.")
    found = numbers(tensor)
    array: np.ndarray[Any, Any] = found.reshape((1,) * (count - found.ndim) + found.shape)
    counts = {"batch entries": batch} if heads is None else {"batch entries": batch, "heads": heads}
    for axis, (name, full) in enumerate(counts.items()):
        size = int(array.shape[axis])
        if size not in (1, full):
            raise InputError(f"{what} has {size} {name}, but there are {full}: give it 1 or {full}.")
    return array
