"""The two products of attention, over visible pairs only, with all their derivatives.

    pairs:   s_ij = a_i · b_j        for visible pairs, 0 for hidden ones
    gather:  o_i  = Σ_{j visible} m_ij · b_j

Each is the other's derivative, so the two are closed under differentiation to any order. What a hidden pair holds,
NaN and ∞ included, reaches neither a result nor a gradient: `0 · NaN` is never formed for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

__all__ = ["finite", "gather", "is_transformed", "pairs"]

Product = Callable[[Tensor, Tensor, Tensor], Tensor]


def pairs(left: Tensor, right: Tensor, visible: Tensor | None) -> Tensor:
    """a_i · b_j: `[..., rows, dim]`, `[..., keys, dim]`, visible `[..., rows, keys]` → `[..., rows, keys]`."""
    if visible is None:
        return left @ right.mT
    return _Pairs.apply(left, right, visible)  # type: ignore[no-any-return, no-untyped-call]


def gather(weights: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Σ_j m_ij · b_j: `[..., rows, keys]`, `[..., keys, dim]`, visible `[..., rows, keys]` → `[..., rows, dim]`."""
    if visible is None:
        return weights @ values
    return _Gather.apply(weights, values, visible)  # type: ignore[no-any-return, no-untyped-call]


class _Bilinear(Function):
    """A product of `left` and `right` over visible pairs: linear in each, so that tangents are products as well."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)


def _tangent(product: Product, ctx: Any, to_left: Tensor | None, to_right: Tensor | None) -> Tensor:
    left, right, visible = ctx.saved_tensors
    if to_left is None:
        assert to_right is not None
        return product(left, to_right, visible)
    moved = product(to_left, right, visible)
    return moved if to_right is None else moved + product(left, to_right, visible)


class _Pairs(_Bilinear):
    @staticmethod
    def forward(left: Tensor, right: Tensor, visible: Tensor) -> Tensor:
        return torch.where(visible, left @ right.mT, 0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        left, right, visible = ctx.saved_tensors
        to_left = gather(grad, right, visible) if ctx.needs_input_grad[0] else None
        to_right = gather(grad.mT, left, visible.mT) if ctx.needs_input_grad[1] else None
        return to_left, to_right, None

    @staticmethod
    def jvp(ctx: Any, to_left: Tensor | None, to_right: Tensor | None, _: None) -> Tensor:
        return _tangent(pairs, ctx, to_left, to_right)


class _Gather(_Bilinear):
    @staticmethod
    def forward(weights: Tensor, values: Tensor, visible: Tensor) -> Tensor:
        weights = torch.where(visible, weights, 0)
        if is_transformed(values) or not finite(values):
            return _careful(weights, values, visible)
        return weights @ values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weights, values, visible = ctx.saved_tensors
        to_weights = pairs(grad, values, visible) if ctx.needs_input_grad[0] else None
        to_values = gather(weights.mT, grad, visible.mT) if ctx.needs_input_grad[1] else None
        return to_weights, to_values, None

    @staticmethod
    def jvp(ctx: Any, to_weights: Tensor | None, to_values: Tensor | None, _: None) -> Tensor:
        return _tangent(gather, ctx, to_weights, to_values)


def _careful(weights: Tensor, values: Tensor, visible: Tensor) -> Tensor:
    """Σ_j m_ij · b_j where b holds NaN or ∞: the finite part by a product, the rest by counting who sees what."""
    dtype = weights.dtype
    result = weights @ torch.where(values.isfinite(), values, 0)
    up, down = (values == float("inf")).to(dtype), (values == -float("inf")).to(dtype)
    plus, minus = (weights > 0).to(dtype), (weights < 0).to(dtype)
    rises, falls = plus @ up + minus @ down, plus @ down + minus @ up
    undefined = (visible & ((weights == 0) | weights.isnan())).to(dtype) @ (up + down)
    undefined = undefined + visible.to(dtype) @ values.isnan().to(dtype)
    result = torch.where(rises > 0, float("inf"), torch.where(falls > 0, -float("inf"), result))
    return torch.where((undefined > 0) | ((rises > 0) & (falls > 0)), float("nan"), result)


def finite(tensor: Tensor) -> bool:
    """Whether no element is NaN or ∞: a finite sum tells at once; another may have overflowed, and all are asked."""
    return math.isfinite(tensor.sum().item()) or bool(tensor.isfinite().all())


def is_transformed(tensor: Tensor) -> bool:
    """Whether a `torch.func` transform has wrapped the tensor, so that its values can't be branched on."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))
