"""What the layers ask of their inputs, each in one sentence."""

from __future__ import annotations

from torch import Tensor

from regard.errors import InputError

__all__ = ["check_rows", "check_sizes"]


def check_rows(layer: str, name: str, value: object, dim: int) -> None:
    """InputError unless the value is a floating-point tensor `[..., positions, dim]` of 2 to 4 axes."""
    right = isinstance(value, Tensor) and value.is_floating_point() and 2 <= value.ndim <= 4
    if not right or value.shape[-1] != dim:  # type: ignore[attr-defined]
        got = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"{layer} needs {name} as floating-point [..., positions, {dim}] of 2 to 4 axes, got {got}")


def check_sizes(layer: str, **sizes: object) -> None:
    """InputError unless every size is a whole number of at least 1."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InputError(f"{layer}({name}) needs a whole number ≥ 1, got {size!r}")
