"""One learned query looks at all rows: how a text or a picture becomes one vector; and what a layer looks at."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regard.attention import weights
from regard.nn import MultiHead
from regard.terms.pattern import Pattern

__all__ = ["Pooled", "looked"]


class Pooled(nn.Module):
    """`out = Σ_j softmax_j(u · W_k x_j / √d) · W_v x_j` for each head, u learned.

    Args:
        dim: components of a row.
        heads: how many.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.query, self.look = nn.Parameter(torch.zeros(1, 1, dim)), MultiHead(dim, heads)

    def forward(self, rows: Tensor, pattern: Pattern | None = None) -> Tensor:
        """`[batch, rows, dim]` → `[batch, dim]`."""
        return self.look(self.query.expand(len(rows), -1, -1), rows, pattern=pattern)[:, 0]  # type: ignore[no-any-return]

    def weights(self, rows: Tensor) -> Tensor:
        """How much of each row is in what came out, mean of the heads; `[batch, rows]`."""
        return looked(self.look, self.query.expand(len(rows), -1, -1), rows)[:, 0]


def looked(layer: MultiHead, query: Tensor, rows: Tensor) -> Tensor:
    """The weights of a layer without rule or rotary, mean of its heads; `[batch, queries, rows]`."""
    heads = (part.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for part in (layer.query(query), layer.key(rows)))
    return weights(*heads, query_start=0).mean(1)
