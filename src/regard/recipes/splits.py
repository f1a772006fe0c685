"""Splits that are the same on every machine: by the hash of a name, never by a random generator or an order."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

__all__ = ["chosen", "folds", "place"]


def place(key: str, salt: str) -> float:
    """Where a name falls in [0, 1)."""
    hashed = blake2b(f"{salt}/{key}".encode(), digest_size=8).digest()
    return (int.from_bytes(hashed, "big") >> 11) / (1 << 53)


def folds(keys: Sequence[str], count: int, salt: str) -> Tensor:
    """The part, 0 to count − 1, of every key, `[keys]`; equal keys are in the same one."""
    return torch.tensor([int(count * place(key, salt)) for key in keys])


def chosen(labels: Tensor, each: int, salt: str) -> Tensor:
    """True for so many of every label, `[labels]`; each item's name is its number."""
    order = torch.tensor([place(str(item), salt) for item in range(len(labels))], dtype=torch.float64)
    picked = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        picked[members[order[members].argsort()[:each]]] = True
    return picked
