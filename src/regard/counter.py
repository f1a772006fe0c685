"""Random numbers by position: the same for any tiling, engine, thread or machine.

A number is a hash of (seed, stream, batch entry, query head, absolute query, absolute key), 32 bits wide. All words
are unsigned 32-bit; the arithmetic below keeps them in int64 tensors, whose products wrap without touching the low
32 bits.

    row = mix(mix(mix(mix(mix(mix(seed_low) ^ seed_high) + stream) + batch) + head) + query)
    number = mix(row ^ mix(key · 0x9E3779B9 + 1))

Source of `mix`: Wellons 2018, "Prospecting for Hash Functions" (lowbias32).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["DROPOUT", "GUMBEL", "keep", "uniform"]

DROPOUT, GUMBEL = 1, 2
WORD = 0xFFFFFFFF


def _mix(x: Tensor) -> Tensor:
    x = x & WORD
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & WORD
    x = ((x ^ (x >> 15)) * 0x846CA68B) & WORD
    return x ^ (x >> 16)


def _words(seed: int, stream: int, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    row = _mix(torch.tensor(seed & WORD, device=query.device))
    row = _mix(row ^ (seed >> 32 & WORD))
    for coordinate in (torch.tensor(stream, device=query.device), batch, head, query):
        row = _mix(row + coordinate)
    return _mix(row ^ _mix(key * 0x9E3779B9 + 1))


def uniform(seed: int, stream: int, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """Numbers in (0, 1), float64: integer tensors that broadcast together → their broadcast shape."""
    words = _words(seed, stream, batch, head, query, key)
    wide = torch.float32 if words.device.type == "mps" else torch.float64
    return (words.to(wide) + 0.5) / 2**32


def keep(probability: float, seed: int, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """True where a weight survives dropout: its word is at least ⌊dropout · 2³²⌋."""
    return _words(seed, DROPOUT, batch, head, query, key) >= int(probability * 2**32)
