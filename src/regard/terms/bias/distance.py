"""Biases by the distance j − i: one number a head and distance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.bias.base import Bias, check_count, look_up
from regard.terms.tree import number, term, widest

__all__ = ["Alibi", "Bucketed", "Relative", "alibi", "relative", "t5"]


@term
class Alibi(Bias):
    """−slope_h · |i − j|."""

    slopes: Tensor | int | None = None
    roles = {"slopes": ("head",)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        assert isinstance(self.slopes, Tensor)
        return -self.slopes[:, None, None] * (query - key).abs().to(self.slopes.dtype)

    def for_heads(self, heads: int, device: torch.device) -> Bias:
        if isinstance(self.slopes, Tensor):
            check_count("alibi(slopes)", self.slopes.shape[0], heads)
            return self
        if self.slopes is not None:
            check_count("alibi(heads)", self.slopes, heads)
        return Alibi(torch.tensor(_slopes(heads), dtype=widest(device), device=device))

    def __repr__(self) -> str:
        return f"alibi({'' if self.slopes is None else number(self.slopes)})"


@term
class Relative(Bias):
    """table[h, clip(j − i, −r, r) + r]."""

    table: Tensor
    roles = {"table": ("head", None)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        reach = self.table.shape[-1] // 2
        return look_up(self.table, (key - query).clamp(-reach, reach) + reach)

    def for_heads(self, heads: int, device: torch.device) -> Bias:
        _check_table("relative(table)", self.table, heads)
        return self

    def __repr__(self) -> str:
        return f"relative({number(self.table)})"


@term
class Bucketed(Bias):
    """table[h, bucket(j − i)], T5's buckets: exact when near, logarithmic when far."""

    table: Tensor
    bidirectional: bool = True
    max_distance: int = 128
    roles = {"table": ("head", None)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        return look_up(self.table, self.bucket(key - query))

    def bucket(self, distance: Tensor) -> Tensor:
        """j − i → the index of its bucket, both integer tensors of one shape."""
        count = self.table.shape[-1] // (2 if self.bidirectional else 1)
        after = torch.where(distance > 0, count, 0) if self.bidirectional else 0
        far = distance.abs() if self.bidirectional else (-distance).clamp(min=0)
        exact = count // 2
        # float32, as the published models were trained: the rounding decides the bucket at exact powers.
        ratio = (far.clamp(min=1).to(torch.float32) / exact).log() / math.log(self.max_distance / exact)
        coarse = (exact + (ratio * (count - exact)).to(torch.int64)).clamp(max=count - 1)
        return after + torch.where(far < exact, far, coarse)

    def for_heads(self, heads: int, device: torch.device) -> Bias:
        _check_table("t5(table)", self.table, heads)
        return self

    def __repr__(self) -> str:
        return f"t5({number(self.table)}{'' if self.bidirectional else ', bidirectional=False'})"


def alibi(slopes: Tensor | int | None = None) -> Alibi:
    """A penalty that grows with distance, at a slope of its own for every head.

    `bias_ij = −slope_h · |i − j|`

    Args:
        slopes: None (the paper's slopes for as many query heads as there are), the number of query heads, or a tensor
            `[heads]` (it may be learned), in units of score per position.

    Source: Press et al. 2022, "Train Short, Test Long: Attention with Linear Biases".
    """
    if isinstance(slopes, Tensor) and slopes.ndim != 1:
        raise InputError(f"alibi(slopes) needs a tensor [heads], got {list(slopes.shape)}")
    if slopes is not None and not isinstance(slopes, Tensor):
        if isinstance(slopes, bool) or not isinstance(slopes, int):
            raise InputError(f"alibi(slopes) needs a tensor [heads] or the number of heads, got {slopes}")
        if slopes < 1:
            raise InputError(f"alibi(heads) needs at least one head, got {slopes}")
    return Alibi(slopes)


def relative(table: Tensor) -> Relative:
    """A learned table by distance, clipped at its ends.

    `bias_ij = table[h, clip(j − i, −r, r) + r]`

    Args:
        table: `[2r + 1]` or `[heads, 2r + 1]`, entry r is distance 0, entries above it are later keys.

    Source: Shaw et al. 2018, "Self-Attention with Relative Position Representations" (its scalar form).
    """
    right = isinstance(table, Tensor) and table.is_floating_point() and table.ndim in (1, 2)
    if not right or table.shape[-1] % 2 == 0:
        got = f"{table.dtype} {list(table.shape)}" if isinstance(table, Tensor) else type(table).__name__
        raise InputError(f"relative(table) needs [2r + 1] or [heads, 2r + 1], an odd number of distances, got {got}")
    return Relative(table)


def t5(table: Tensor, *, bidirectional: bool = True, max_distance: int = 128) -> Bucketed:
    """A learned table by bucketed distance: exact when near, logarithmic when far.

    `bias_ij = table[h, bucket(j − i)]`

    Args:
        table: `[buckets]` or `[heads, buckets]`.
        bidirectional: half of the buckets for later keys (encoders); else later keys share bucket 0 (decoders).
        max_distance: from here on all distances share the last bucket, in positions.

    Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer".
    """
    least = 4 if bidirectional else 2
    right = isinstance(table, Tensor) and table.is_floating_point() and table.ndim in (1, 2)
    if not right or table.shape[-1] < least or table.shape[-1] % 2:
        got = f"{table.dtype} {list(table.shape)}" if isinstance(table, Tensor) else type(table).__name__
        raise InputError(
            f"t5(table) needs [buckets] or [heads, buckets], an even number ≥ {least} of buckets, got {got}"
        )
    if not max_distance > table.shape[-1] // (4 if bidirectional else 2):
        raise InputError(f"t5(max_distance) must lie beyond the exact buckets, got {max_distance}")
    return Bucketed(table, bidirectional, max_distance)


def _slopes(heads: int) -> list[float]:
    """The paper's: 2^(−8h/n) for a power of two n; else those of the power below, then every second of the next."""
    power = 2 ** math.floor(math.log2(max(1, heads)))
    first = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    return (first + [2 ** (-4 * (2 * h + 1) / power) for h in range(heads - power)])[:heads]


def _check_table(name: str, table: Tensor, heads: int) -> None:
    if table.ndim == 2:
        check_count(name, table.shape[0], heads)
