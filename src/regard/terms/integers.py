"""Whole numbers, however they are held."""

from __future__ import annotations

import operator
from typing import Any

__all__ = ["integer"]


def integer(value: Any) -> int | None:
    """A whole number as it is, or out of an array or a tensor of one; None for anything else, a bool included."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):  # `operator.index` would fix a number that a compiler keeps open
        return value
    try:
        return operator.index(value)
    except TypeError:  # a tensor has the method, whatever it holds
        return None
