"""Attention on grids: along one axis after the other, and in neighbourhoods."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from regard.errors import InputError
from regard.nn.checks import check_sizes
from regard.nn.multihead import MultiHead
from regard.rule import Rule
from regard.terms.pattern import neighborhood
from regard.terms.pattern.checks import wholes
from regard.terms.tree import Term

__all__ = ["Axial", "Neighborhood"]


class Axial(nn.Module):
    """Attention along one axis of a grid after the other, rows, then columns: O(N · √N) pairs for a square.

    `y = MultiHead_1(x along axis 1)`, `out = MultiHead_2(y along axis 2)`; each is `MultiHead` over all places with the
    pattern `axial(shape, axis)`

    Args:
        dim: components of a place.
        heads: of each axis.
        axes: how many axes the grid has.
        rule: along every axis, a `Rule` or one term of it; `causal()` is causal along each.
        options: those of `MultiHead`, for every axis.

    Errors: InputError for inputs that are not `[..., *grid, dim]`, and those of `MultiHead`.

    Source: Ho et al. 2019, "Axial Attention in Multidimensional Transformers".
    """

    def __init__(self, dim: int, heads: int, axes: int = 2, *, rule: Rule | Term | None = None, **options: Any) -> None:
        super().__init__()
        check_sizes("Axial", dim=dim, heads=heads, axes=axes)
        each = [rule, *(copy.deepcopy(rule) for _ in range(axes - 1))]  # what is learned in it, every axis has its own
        self.along = nn.ModuleList(MultiHead(dim, heads, rule=one, **options) for one in each)
        self.dim = dim

    def forward(self, inputs: Tensor) -> Tensor:
        """`[..., *grid, dim]` → the same."""
        axes = len(self.along)
        _check("Axial", inputs, axes, self.dim)
        for axis, layer in enumerate(self.along):
            line = inputs.movedim(axis - axes - 1, -2)
            out = layer(line.flatten(0, -3)) if line.ndim > 3 else layer(line)
            inputs = out.reshape(line.shape).movedim(-2, axis - axes - 1)
        return inputs

    def extra_repr(self) -> str:
        """Its sizes, as modules print them."""
        return f"{self.dim}, axes={len(self.along)}"


class Neighborhood(nn.Module):
    """Every place of a grid looks at the window around it.

    `out = MultiHead(x)` with the pattern `neighborhood(window, grid, edge=edge)`, the grid as the input has it

    Args:
        dim: components of a place.
        heads: how many.
        window: one size for each axis of the grid; an int for a grid of one axis.
        edge: "shift" keeps the window whole and inside the grid, as NATTEN does; "clip" cuts it off.
        options: those of `MultiHead`; a `rule` must have no pattern of its own.

    Errors: InputError for inputs that are not `[..., *grid, dim]`, for a grid smaller than the window, and those of
    `MultiHead`.

    Source: Hassani et al. 2023, "Neighborhood Attention Transformer".
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int | Sequence[int],
        *,
        edge: Literal["shift", "clip"] = "shift",
        **options: Any,
    ) -> None:
        super().__init__()
        self.window = wholes(window, 1, "Neighborhood's window")
        neighborhood(self.window, self.window, edge=edge)  # what is wrong with them is said here
        self.dim, self.edge = dim, edge
        self.attention = MultiHead(dim, heads, **options)
        if self.attention.rule().pattern is not None:
            raise InputError(
                f"Neighborhood has its own pattern; give it a rule without {self.attention.rule().pattern}"
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """`[..., *grid, dim]` → the same."""
        axes = len(self.window)
        _check("Neighborhood", inputs, axes, self.dim)
        grid, lead = inputs.shape[-axes - 1 : -1], inputs.shape[: -axes - 1]
        rows = inputs.reshape(math.prod(lead), math.prod(grid), self.dim)
        out: Tensor = self.attention(rows, pattern=neighborhood(self.window, tuple(grid), edge=self.edge))
        return out.reshape(inputs.shape)

    def extra_repr(self) -> str:
        """Its sizes, as modules print them."""
        window = self.window[0] if len(self.window) == 1 else self.window
        return f"{self.dim}, window={window}" + ("" if self.edge == "shift" else f", edge={self.edge!r}")


def _check(layer: str, inputs: object, axes: int, dim: int) -> None:
    right = isinstance(inputs, Tensor) and inputs.is_floating_point() and inputs.ndim > axes
    if not right or inputs.shape[-1] != dim:  # type: ignore[attr-defined]
        got = f"{inputs.dtype} {list(inputs.shape)}" if isinstance(inputs, Tensor) else type(inputs).__name__
        grid = ", ".join(["·"] * axes)
        raise InputError(
            f"{layer} needs floating-point inputs [..., {grid}, {dim}] on a grid of {axes} axes, got {got}"
        )
