"""How far an approximation is from the exact equation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from regard.attention import attend
from regard.errors import InputError
from regard.rule import Rule
from regard.terms.tree import Term

__all__ = ["Error", "error"]


class Error(NamedTuple):
    """The distance from the exact output.

    Args:
        relative: ‖out − exact‖₂ / ‖exact‖₂, over all numbers.
        largest: max |out − exact|.
    """

    relative: float
    largest: float


@torch.no_grad()
def error(out: Tensor, query: Tensor, key: Tensor, value: Tensor, rule: Rule | Term | None = None) -> Error:
    """The error of an output against the exact equation in float64.

    `‖out − exact‖₂ / ‖exact‖₂` and `max |out − exact|`

    Args:
        out: what an approximation gave, `[..., heads, queries, value_dim]`.
        query: what it was given; so are key, value and rule.
        key: likewise.
        value: likewise.
        rule: likewise.

    Errors: InputError for an output of another shape.
    """
    exact = attend(query.double(), key.double(), value.double(), rule)
    if out.shape != exact.shape:
        raise InputError(f"error needs the output for these inputs, {list(exact.shape)}, got {list(out.shape)}")
    apart = out.double() - exact
    largest = float(apart.abs().max()) if apart.numel() else 0.0
    size = float(exact.norm())
    return Error(float(apart.norm()) / size if size else largest, largest)
