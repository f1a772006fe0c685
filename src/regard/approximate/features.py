"""Feature maps: vectors whose products are the weights, φ(q_i) · φ(k_j) ≈ or = similarity(q_i, k_j)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import elu

from regard.errors import InputError

__all__ = ["Elu", "Map", "Positive", "directions"]


class Map(Protocol):
    """φ for queries and for keys."""

    def of_query(self, query: Tensor) -> Tensor:
        """`[..., dim]` → `[..., features]`, times any number of the query's own: it cancels."""

    def of_key(self, key: Tensor) -> tuple[Tensor, Tensor | None]:
        """`[..., dim]` → `[..., features]` times exp(−scale), and this scale `[...]`; None where it is 0."""


@dataclass(frozen=True)
class Elu:
    """φ(x) = elu(x) + 1."""

    def of_query(self, query: Tensor) -> Tensor:
        return elu(query) + 1

    def of_key(self, key: Tensor) -> tuple[Tensor, None]:
        return elu(key) + 1, None


@dataclass(frozen=True)
class Positive:
    """φ_f(x) = exp(ω_f · x − ‖x‖²/2): the mean over random ω of φ(q) · φ(k) is exp(q · k).

    Args:
        directions: ω, `[features, dim]`.
    """

    directions: Tensor

    def of_query(self, query: Tensor) -> Tensor:
        logs = query @ self.directions.mT
        return self._power(logs - logs.detach().amax(-1, keepdim=True))

    def of_key(self, key: Tensor) -> tuple[Tensor, Tensor]:
        logs = key @ self.directions.mT - key.square().sum(-1, keepdim=True) / 2
        top = logs.detach().amax(-1, keepdim=True)
        return self._power(logs - top), top.squeeze(-1)

    def _power(self, logs: Tensor) -> Tensor:
        """exp, never so small that a product of two is 0: a row that sees keys always has weights."""
        return logs.clamp(min=0.45 * math.log(torch.finfo(logs.dtype).tiny)).exp()


def directions(features: int, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """Random directions for `performer`: orthogonal in blocks of dim, as long as Gaussian vectors are.

    `ω_f = ‖g_f‖ · u_f`, g_f Gaussian, u_f the rows of random rotations

    Args:
        features: how many, at least 1.
        dim: of query and key.
        dtype: torch's default where None.

    Returns: `[features, dim]`, drawn from torch's generator.

    Errors: InputError for fewer than one.

    Source: Choromanski et al. 2021, "Rethinking Attention with Performers".
    """
    if features < 1 or dim < 1:
        raise InputError(f"directions needs at least one feature and one dim, got {features} and {dim}")
    blocks = torch.randn(-(-features // dim), dim, dim, dtype=torch.float64)
    turned, upper = torch.linalg.qr(blocks)
    turned = turned * upper.diagonal(dim1=-2, dim2=-1).sign()[:, None]  # else the signs of QR would favour some
    lengths = torch.randn(features, dim, dtype=torch.float64).norm(dim=-1, keepdim=True)
    drawn: Tensor = turned.flatten(0, 1)[:features] * lengths
    return drawn.to(dtype or torch.get_default_dtype())
