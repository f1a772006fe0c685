"""What networks that write have in common: how large they are, what goes in, what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from regard.nn import sinusoidal
from regard.recipes.teaching import PAD

__all__ = ["Sizes", "Writer"]


@dataclass(frozen=True)
class Sizes:
    """How large.

    Args:
        tables: how many signs each part of a source sign has; its vector is their sum.
        written: how many signs there are to write.
        dim: components of every vector.
        dropout: probability with which a component is dropped in training.
    """

    tables: tuple[int, ...]
    written: int
    dim: int = 128
    dropout: float = 0.1


class Writer(nn.Module):
    """What both kinds share: signs become vectors; states become signs, `logits = E state + b`, E what is written."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.dim, self.drop = sizes.dim, nn.Dropout(sizes.dropout)
        self.source = nn.ModuleList(nn.Embedding(table, sizes.dim, padding_idx=PAD) for table in sizes.tables)
        self.target = nn.Embedding(sizes.written, sizes.dim, padding_idx=PAD)
        self.bias = nn.Parameter(torch.zeros(sizes.written))
        for table in (*self.source, self.target):
            nn.init.normal_(cast(nn.Embedding, table).weight, std=sizes.dim**-0.5)

    def logits(self, states: Tensor) -> Tensor:
        """`[..., dim]` → `[..., size]`."""
        return nn.functional.linear(self.drop(states), self.target.weight, self.bias)

    def embedded(self, source: Tensor) -> Tensor:
        """`[rows, keys, parts]` → `[rows, keys, dim]`."""
        parts = torch.stack([table(source[..., part]) for part, table in enumerate(self.source)]).sum(0)
        return self._placed(parts)

    def begun(self, target: Tensor) -> Tensor:
        """`[rows, signs]` → `[rows, signs, dim]`."""
        return self._placed(self.target(target))

    def _placed(self, vectors: Tensor) -> Tensor:
        return self.drop(vectors * self.dim**0.5 + sinusoidal(vectors.shape[1], self.dim))  # type: ignore[no-any-return]
