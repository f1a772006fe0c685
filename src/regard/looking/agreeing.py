"""How alike the weights of heads are, without ever holding them all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regard.errors import InputError
from regard.looking import asking
from regard.looking.layers import Layer

__all__ = ["agreed"]

_BYTES = 1 << 26
"""Of weights that are held at a time."""


def agreed(layers: Sequence[Layer], rows: Sequence[int] | None) -> Tensor:
    """`mean_i Σ_j √(w_ij w'_ij)` of every head with every other, `[batch, heads, heads]`.

    Args:
        layers: of one sequence, their queries kept; their heads one after another.
        rows: which rows; None is all. Those that count in no mean are left out.
    """
    count = {layer.live.shape[2] for layer in layers}
    if len(count) != 1 or len({layer.measured.sums.received.shape[-1] for layer in layers}) != 1:
        raise InputError("agreement needs layers of the same queries and keys; choose them by layers=…")
    keys, total = layers[0].measured.sums.received.shape[-1], count.pop()
    chosen = torch.arange(total) if rows is None else asking.indices("rows", rows, total)
    live = torch.cat([layer.live for layer in layers], 1).all(1)
    batch, heads = live.shape[0], sum(layer.live.shape[1] for layer in layers)
    block = max(1, _BYTES // max(1, 4 * batch * heads * keys))
    found = torch.zeros(batch, heads, heads, dtype=torch.float64)
    counted = torch.zeros(batch, dtype=torch.float64)
    for part in chosen.split(block):
        roots = torch.cat([layer.rows(part) for layer in layers], 1).clamp(min=0).sqrt()
        roots = roots * live[:, part][:, None, :, None].to(roots)
        flat = roots.flatten(2)
        found += (flat @ flat.mT).double().cpu()
        counted += live[:, part].sum(-1).cpu()
    return found / counted.clamp(min=1)[:, None, None]
