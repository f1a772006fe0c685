"""A rule's tensors, brought to the problem at hand: on its device, one batch axis, cut to its positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import InputError
from regard.problem.door import batched
from regard.terms.tree import Role, aligned

__all__ = ["Extent", "global_leaf", "local_leaf"]


@dataclass(frozen=True)
class Extent:
    """The sizes of a problem, where its queries and keys start (for all, or one a batch entry), and its device."""

    batch: tuple[int, ...]
    heads: int
    queries: int
    keys: int
    query_start: tuple[int, ...]
    key_start: tuple[int, ...]
    device: torch.device

    def span(self, role: Role) -> tuple[tuple[int, ...], int] | None:
        """Starts and length of the axis that has this role, or None where no position counts along it."""
        spans = {"query": (self.query_start, self.queries), "key": (self.key_start, self.keys)}
        return spans.get(role or "")


def global_leaf(leaf: Tensor, roles: tuple[Role, ...], extent: Extent) -> Tensor:
    """The tensor with exactly one batch axis (where it has any); its positions stay absolute."""
    if leaf.device != extent.device:
        if leaf.ndim and (leaf.is_floating_point() or leaf.is_meta):
            raise InputError(f"a tensor of the rule is on {leaf.device}, query on {extent.device}; move it there")
        leaf = leaf.to(extent.device)
    if "batch" in roles:
        leaf = _one_batch(leaf, roles, extent)
    for axis, role in enumerate(aligned(roles, leaf.ndim)):
        if role == "head" and leaf.shape[axis] not in (1, extent.heads):
            raise InputError(
                f"a tensor of the rule has {leaf.shape[axis]} heads, the query {extent.heads}; "
                "give it one entry a head, or a single one"
            )
    return leaf


def local_leaf(leaf: Tensor, roles: tuple[Role, ...], extent: Extent) -> Tensor:
    """The tensor with exactly one batch axis (where it has any), cut to the queries and keys that are there."""
    leaf = global_leaf(leaf, roles, extent)
    for axis, role in enumerate(aligned(roles, leaf.ndim)):
        span = extent.span(role)
        if span is not None and leaf.shape[axis] != 1:
            leaf = _cut(leaf, axis, span, str(role))
    return leaf


def _one_batch(leaf: Tensor, roles: tuple[Role, ...], extent: Extent) -> Tensor:
    last = len(roles) - 1
    lead = leaf.shape[: max(0, leaf.ndim - last)]
    missing = len(extent.batch) - len(lead)
    fits = missing >= 0 and all(a in (1, b) for a, b in zip(lead, extent.batch[missing:], strict=True))
    if not fits and any(size != 1 for size in lead):
        raise InputError(
            f"a tensor of the rule, {list(leaf.shape)}, has the leading dimensions {list(lead)}, which don't broadcast "
            f"to the batch {list(extent.batch)} of query, key and value"
        )
    return batched(leaf if fits else leaf.reshape(leaf.shape[len(lead) :]), extent.batch, last)


def _cut(leaf: Tensor, axis: int, span: tuple[tuple[int, ...], int], role: str) -> Tensor:
    starts, length = span
    first, last = min(starts), max(starts) + length
    if length and (first < 0 or last > leaf.shape[axis]):
        raise InputError(
            f"a tensor of the rule covers {role} positions 0…{leaf.shape[axis] - 1}, but there are {role} positions "
            f"{first}…{last - 1}; tensors are indexed at absolute positions: pass {role}_start to say where these begin"
        )
    if len(starts) == 1:
        return leaf.narrow(axis, starts[0] if length else 0, length)
    index = torch.tensor(starts, device=leaf.device)[:, None] + torch.arange(length, device=leaf.device)
    index = index.view(len(starts), *(length if a == axis else 1 for a in range(1, leaf.ndim)))
    leaf = leaf.expand(len(starts), *leaf.shape[1:])
    return leaf.gather(axis, index.expand(*(length if a == axis else size for a, size in enumerate(leaf.shape))))
