"""Regression by attention: the answer at a point is the mean of the answers nearby."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from regard.attention import attend, weights
from regard.errors import InputError
from regard.nn.checks import check_rows, check_sizes
from regard.rule import Rule
from regard.terms.normalize import softmax, top_k
from regard.terms.pattern import Pattern, window
from regard.terms.score import gaussian

__all__ = ["NadarayaWatson"]

ROOM = 1 << 22
"""How many weights `quantiles` holds at once."""


class NadarayaWatson(nn.Module):
    """Kernel regression with a learned bandwidth.

    `out_i = Σ_j w_ij · v_j`, `w_i = softmax_j(−‖(q_i − k_j) / h‖² / 2)`, over all points or the k nearest

    Args:
        dim: components of a point; each has its own bandwidth h, so that they may be of different units.
        bandwidth: h at first, a number > 0 for all components.
        neighbors: None, or how many of the nearest points count.

    Errors: InputError for points, values and levels that don't fit.

    Source: Nadaraya 1964, "On Estimating Regression"; Watson 1964, "Smooth Regression Analysis".
    """

    def __init__(self, dim: int = 1, bandwidth: float = 1.0, *, neighbors: int | None = None) -> None:
        super().__init__()
        check_sizes("NadarayaWatson", dim=dim, neighbors=1 if neighbors is None else neighbors)
        if not (bandwidth > 0 and math.isfinite(bandwidth)):
            raise InputError(f"NadarayaWatson(bandwidth) needs a number > 0, got {bandwidth}")
        self.dim, self.neighbors = dim, neighbors
        self.log_bandwidth = nn.Parameter(torch.full((dim,), math.log(bandwidth)))

    @property
    def bandwidth(self) -> Tensor:
        """h, `[dim]`."""
        return self.log_bandwidth.exp()

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *, pattern: Pattern | None = None) -> Tensor:
        """The answers at new points, `[..., queries, value_dim]`.

        Args:
            query: the new points, `[..., queries, dim]`.
            key: the known points, `[..., keys, dim]`.
            value: their answers, `[..., keys, value_dim]`.
            pattern: which known points count for which new one.
        """
        query, key = self._measured(query, key)
        check_rows("NadarayaWatson", "value", value, value.shape[-1] if isinstance(value, Tensor) and value.ndim else 0)
        seen = attend(query[..., None, :, :], key[..., None, :, :], value[..., None, :, :], self._rule(pattern))
        return seen.squeeze(-3)

    def leave_one_out(self, key: Tensor, value: Tensor) -> Tensor:
        """The mean squared error of every known answer from what the others say: what to fit the bandwidth by."""
        return (self(key, key, value, pattern=~window(1)) - value).square().mean()  # type: ignore[no-any-return]

    def variance(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The spread of the answers around a point's own, `Σ_j w_ij · v_j² − out_i²`, `[..., queries, value_dim]`."""
        # Around the mean of all answers the two squares are small, and little is lost in their difference.
        apart = value - value.mean(-2, keepdim=True)
        first, second = self(query, key, torch.cat((apart, apart.square()), -1)).chunk(2, -1)
        return (second - first.square()).clamp(min=0)  # type: ignore[no-any-return]

    def quantiles(self, query: Tensor, key: Tensor, value: Tensor, levels: list[float]) -> Tensor:
        """The answers below which given shares of a point's weights lie, `[queries, levels]`; no gradient.

        `min {v : Σ_{j: v_j ≤ v} w_ij ≥ level}`; levels 0.05 and 0.95 bound nine tenths of the weight.

        Args:
            query: `[queries, dim]`.
            key: `[keys, dim]`.
            value: one number a key, `[keys, 1]`.
            levels: shares between 0 and 1.
        """
        if query.ndim != 2 or key.ndim != 2 or tuple(value.shape) != (key.shape[0], 1) or not key.shape[0]:
            shapes = [list(t.shape) for t in (query, key, value)]
            raise InputError(f"quantiles needs query [queries, dim], key [keys, dim], value [keys, 1], got {shapes}")
        if not levels or not all(0 < level < 1 for level in levels):
            raise InputError(f"quantiles needs levels between 0 and 1, got {levels}")
        with torch.no_grad():
            values, order = value[:, 0].sort()
            query, key = self._measured(query, key[order])
            wanted = torch.tensor(levels, dtype=torch.float64, device=query.device)
            found = [values.new_empty((0, len(levels)))]
            for rows in query.split(max(1, ROOM // key.shape[0])):
                below = weights(rows, key, self._rule(None)).double().cumsum(-1)
                place = torch.searchsorted(below, wanted.expand(rows.shape[0], -1).contiguous() * below[:, -1:])
                found.append(values[place.clamp(max=key.shape[0] - 1)])
            return torch.cat(found)

    def _measured(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Points in units of the bandwidth."""
        check_rows("NadarayaWatson", "query", query, self.dim)
        check_rows("NadarayaWatson", "key", key, self.dim)
        return query / self.bandwidth, key / self.bandwidth

    def _rule(self, pattern: Pattern | None) -> Rule:
        normalize = softmax() if self.neighbors is None else top_k(self.neighbors)
        return Rule(score=gaussian(1.0), pattern=pattern, normalize=normalize)

    def extra_repr(self) -> str:
        """Its sizes, as modules print them."""
        return f"{self.dim}" + ("" if self.neighbors is None else f", neighbors={self.neighbors}")
