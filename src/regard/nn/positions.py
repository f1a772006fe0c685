"""Where a token stands, told before the equation: rotary turns q and k, the other two are added to the input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from regard.errors import InputError
from regard.terms.tree import Term, term, widest

__all__ = ["LearnedPositions", "Rotary", "rotary", "sinusoidal"]


@term
class Rotary(Term):
    """A turn of each pair of components by position · frequency; calls as `turned = rotary(64)(query, start=0)`."""

    dim: int
    base: float = 10000.0
    interleaved: bool = False

    def __call__(self, vectors: Tensor, start: int | Tensor = 0) -> Tensor:
        """`[..., heads, positions, dim]` → the same, turned; components past `dim` stay.

        Args:
            vectors: queries or keys.
            start: absolute position of the first vector, an int or integers per batch entry (the dimensions before
                heads).
        """
        if not isinstance(vectors, Tensor) or not vectors.is_floating_point() or vectors.ndim < 2:
            got = f"{vectors.dtype} {list(vectors.shape)}" if isinstance(vectors, Tensor) else type(vectors).__name__
            raise InputError(f"{self!r} needs floating-point vectors [..., heads, positions, dim], got {got}")
        if vectors.shape[-1] < self.dim:
            raise InputError(f"{self!r} needs vectors of at least {self.dim} components, got {vectors.shape[-1]}")
        accumulate = torch.float64 if vectors.dtype == torch.float64 else torch.float32
        angle = self._angles(vectors, start)
        cosine, sine = angle.cos().to(accumulate), angle.sin().to(accumulate)
        turning = vectors[..., : self.dim].to(accumulate)
        first, second = self._halves(turning)
        turned = self._joined(first * cosine - second * sine, second * cosine + first * sine)
        return torch.cat((turned.to(vectors.dtype), vectors[..., self.dim :]), -1)

    def _angles(self, vectors: Tensor, start: int | Tensor) -> Tensor:
        """position · base^(−2m/dim), `[positions, dim/2]` or `[..., 1, positions, dim/2]`, in the widest floats."""
        step = torch.arange(0, self.dim, 2, device=vectors.device, dtype=widest(vectors.device)) / self.dim
        place = torch.arange(vectors.shape[-2], device=vectors.device)
        if isinstance(start, Tensor) and start.ndim:
            if start.is_floating_point() or start.dtype == torch.bool:
                raise InputError(f"{self!r} needs start as integers, got {start.dtype}")
            if not _spreads(start.shape, vectors.shape[:-3]):
                raise InputError(
                    f"{self!r} needs start as an int or integers of shape {list(vectors.shape[:-3])}, one a batch "
                    f"entry, got {list(start.shape)}"
                )
            place = start.to(vectors.device)[..., None, None] + place
        else:
            place = place + start
        return place[..., None] * self.base**-step

    def _halves(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        if self.interleaved:
            return vectors[..., 0::2], vectors[..., 1::2]
        return vectors[..., : self.dim // 2], vectors[..., self.dim // 2 :]

    def _joined(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.stack((first, second), -1).flatten(-2) if self.interleaved else torch.cat((first, second), -1)

    def __repr__(self) -> str:
        base = "" if self.base == 10000 else f", base={self.base:g}"
        return f"rotary({self.dim}{base}{', interleaved=True' if self.interleaved else ''})"


def rotary(dim: int, base: float = 10000.0, *, interleaved: bool = False) -> Rotary:
    """Rotary position embedding: scores come to depend on the distance j − i alone.

    `(x_a, x_b) → (x_a cos pθ_m − x_b sin pθ_m, x_b cos pθ_m + x_a sin pθ_m)`, `θ_m = base^(−2m/dim)`, p the position

    Args:
        dim: how many leading components turn, even.
        base: of the frequencies.
        interleaved: pairs are neighbours (2m, 2m + 1); else the two halves (m, m + dim/2), as in Llama.

    Source: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding".
    """
    if dim < 2 or dim % 2:
        raise InputError(f"rotary(dim) needs an even dim ≥ 2, got {dim}")
    _check_base("rotary", base)
    return Rotary(int(dim), float(base), interleaved)


def sinusoidal(positions: int, dim: int, base: float = 10000.0, *, start: int = 0) -> Tensor:
    """The fixed table of sines and cosines that is added to the input.

    `table[p, 2m] = sin(p · base^(−2m/dim))`, `table[p, 2m + 1] = cos(p · base^(−2m/dim))`

    Args:
        positions: how many rows.
        dim: how many columns, even.
        base: of the frequencies.
        start: position of the first row.

    Returns: `[positions, dim]`, float32.

    Source: Vaswani et al. 2017, "Attention Is All You Need".
    """
    if dim < 2 or dim % 2 or positions < 0:
        raise InputError(
            f"sinusoidal(positions, dim) needs positions ≥ 0 and an even dim ≥ 2, got {positions} and {dim}"
        )
    _check_base("sinusoidal", base)
    step = base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = (torch.arange(positions, dtype=torch.float64) + start)[:, None] * step
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(-2).to(torch.float32)


def _check_base(name: str, base: float) -> None:
    if not (base > 0 and math.isfinite(base)):
        raise InputError(f"{name}(base) needs a finite base > 0, got {base}")


def _spreads(shape: Sequence[int], batch: Sequence[int]) -> bool:
    """Whether a shape broadcasts to the batch as it is, adding no axis and no entry to it."""
    last = batch[len(batch) - len(shape) :] if len(shape) <= len(batch) else ()
    return len(last) == len(shape) and all(size in (1, whole) for size, whole in zip(shape, last, strict=True))


class LearnedPositions(nn.Module):
    """A learned vector for every position, added to the input.

    `out_p = x_p + table[p]`

    Args:
        positions: how many positions there are.
        dim: components of the input.

    Source: Gehring et al. 2017, "Convolutional Sequence to Sequence Learning".
    """

    def __init__(self, positions: int, dim: int) -> None:
        if positions < 1 or dim < 1:
            raise InputError(f"LearnedPositions(positions, dim) needs both ≥ 1, got {positions} and {dim}")
        super().__init__()
        self.table = nn.Parameter(torch.empty(positions, dim))
        nn.init.normal_(self.table, std=0.02)

    def forward(self, inputs: Tensor, start: int = 0) -> Tensor:
        """`[..., positions, dim]` → the same; `start` is the position of the first row."""
        positions, dim = self.table.shape
        if inputs.ndim < 2 or inputs.shape[-1] != dim:
            raise InputError(f"LearnedPositions needs inputs [..., positions, {dim}], got {list(inputs.shape)}")
        last = start + inputs.shape[-2]
        if start < 0 or last > positions:
            raise InputError(
                f"inputs stand at positions {start}…{last - 1}, but the table holds 0…{positions - 1}; "
                "make LearnedPositions(positions, dim) as long as the longest sequence"
            )
        return inputs + self.table[start:last]

    def extra_repr(self) -> str:
        """Its size, as modules print it."""
        return f"{self.table.shape[0]}, {self.table.shape[1]}"
