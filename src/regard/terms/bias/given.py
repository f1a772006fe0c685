"""Biases that are given: a number per key, per edge, or per pair."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.bias.base import Bias, check_count, look_up
from regard.terms.later import later
from regard.terms.tree import number, term

__all__ = ["Edges", "Given", "Keys", "edges", "keys", "tensor"]


NODES = 2**31
"""A pair of positions below it is one number of 64 bits."""


@term
class Keys(Bias):
    """values[h, j]."""

    values: Tensor
    roles = {"values": ("batch", "head", "key")}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        return self.values[..., None, :]

    def __repr__(self) -> str:
        return f"keys({number(self.values)})"


@term
class Edges(Bias):
    """values[h, e] where (j → i) is edge e, 0 elsewhere."""

    index: Tensor
    values: Tensor
    roles = {"values": ("head", None)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        source, target = self.index
        if not source.numel():
            return self.values.new_zeros((1, 1, 1))
        # One integer a pair, so that an edge is found by bisection.
        stride = int(source.max()) + 1
        order = torch.argsort(target * stride + source)
        codes = (target * stride + source)[order]
        wanted = query.clamp(max=NODES) * stride + key
        place = torch.searchsorted(codes, wanted.expand(-1, 1, query.shape[2], key.shape[3]).contiguous()).clamp(
            max=codes.shape[0] - 1
        )
        found = (codes[place] == wanted) & (key < stride)
        return torch.where(found, look_up(self.values, order[place]), 0)

    def for_heads(self, heads: int, device: torch.device) -> Bias:
        if self.values.ndim == 2:
            check_count("edges(values)", self.values.shape[0], heads)
        return self

    def __repr__(self) -> str:
        return f"edges({self.index.shape[1]} edges)"


@term
class Given(Bias):
    """values[b, h, i, j]."""

    values: Tensor
    roles = {"values": ("batch", "head", "query", "key")}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        return self.values

    def __repr__(self) -> str:
        return f"tensor({number(self.values)})"


def keys(values: Tensor) -> Keys:
    """A number per key.

    `bias_ij = values[h, j]`, j absolute

    Args:
        values: broadcast to `[..., heads, keys]`; −∞ hides a key.
    """
    return Keys(_given("keys", values, 1))


@later(Bias)
def edges(index: Tensor, values: Tensor) -> Edges:
    """A number per edge of a graph; 0 where there is no edge.

    `bias_ij = values[h, e]`, e the edge j → i

    Args:
        index: integers `[2, edges]`: row 0 the keys j (sources), row 1 the queries i (targets); no edge twice.
        values: `[edges]` or `[heads, edges]`.
    """
    if not isinstance(index, Tensor) or index.ndim != 2 or index.shape[0] != 2 or index.is_floating_point():
        got = f"{list(index.shape)} of {index.dtype}" if isinstance(index, Tensor) else type(index).__name__
        raise InputError(f"bias.edges(index, values) needs integers [2, edges], got {got}")
    _given("edges", values, 1)
    if values.ndim > 2 or values.shape[-1] != index.shape[1]:
        raise InputError(f"bias.edges needs one value an edge: {index.shape[1]} edges, got values {list(values.shape)}")
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < NODES:
        raise InputError(f"bias.edges needs positions from 0 to 2³¹ − 1, got {int(index.min())}…{int(index.max())}")
    index = index.to(torch.int64)
    if torch.unique(index[1] * NODES + index[0]).numel() != index.shape[1]:
        raise InputError("bias.edges needs every edge once; sum the values of repeated edges first")
    return Edges(index, values)


def tensor(values: Tensor) -> Given:
    """Any additive bias or mask, as a tensor.

    `bias_ij = values[b, h, i, j]`, i and j absolute

    Args:
        values: broadcast to `[..., heads, queries, keys]`; −∞ hides a pair. Its gradient has its shape.
    """
    return Given(_given("tensor", values, 0))


def _given(name: str, values: Tensor, least: int) -> Tensor:
    if not isinstance(values, Tensor) or not values.is_floating_point() or values.ndim < least:
        got = f"{values.dtype} {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        hint = "; regard.mask(...) takes booleans" if isinstance(values, Tensor) and values.dtype == torch.bool else ""
        raise InputError(f"bias.{name} needs a floating-point tensor of at least {least} axes, got {got}{hint}")
    return values
