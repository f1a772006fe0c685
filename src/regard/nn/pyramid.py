"""Attention at several scales: near keys one by one, far ones as means of ever longer stretches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from regard.attention import partial
from regard.errors import InputError
from regard.nn.checks import check_rows, check_sizes
from regard.parts import Partial, merge
from regard.rule import Rule
from regard.terms.bias import keys
from regard.terms.pattern import Pattern, padding, per_head, window
from regard.terms.pattern.checks import wholes

__all__ = ["Pyramid"]


class Pyramid(nn.Module):
    """Every query sees a window of keys, and at each further scale a window of pooled ones: O(N · scales) memory.

    `out_i = Σ_s Σ_{c ∈ window_s(i)} w_isc · v̄_sc`, one softmax over all scales, `score = q_i · k̄_sc / √d + log n_sc`

    k̄_sc and v̄_sc are the means over the s positions of cell c, n_sc of which are no padding, so that a cell weighs as
    much as its positions would. Scale 1 is the keys themselves. A window of w is the w cells that end with the query's
    own and, where not causal, the w that begin with it. Causal: at scale 1 it ends with the query, at all others with
    the last cell before the query's own, so that no query sees a later position, in a mean neither.

    Args:
        dim: components of the input, and of the output.
        heads: a divisor of `dim`.
        windows: how many cells at every scale, one number for all heads or one each.
        scales: lengths of the cells, in any order, each once; usually with 1.
        causal: whether queries see only what came before, and themselves.

    Errors: InputError for sizes and shapes that don't fit.

    Source: Liu et al. 2022, "Pyraformer"; Zhu & Soricut 2021, "H-Transformer-1D", for means of stretches.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        windows: int | Sequence[int],
        scales: Sequence[int] = (1, 8, 64),
        *,
        causal: bool = False,
    ) -> None:
        super().__init__()
        check_sizes("Pyramid", dim=dim, heads=heads)
        self.dim, self.heads, self.causal = dim, heads, causal
        self.windows = wholes(windows, 1, "Pyramid's windows")
        self.scales = wholes(scales, 1, "Pyramid's scales")
        if dim % heads:
            raise InputError(f"Pyramid needs dim as a multiple of heads, got {dim} and {heads}")
        if len(self.windows) not in (1, heads):
            raise InputError(f"Pyramid needs one window for all heads or one for each of {heads}, got {self.windows}")
        if not self.scales or len(set(self.scales)) != len(self.scales):
            raise InputError(f"Pyramid needs scales, each once, got {self.scales}")
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, inputs: Tensor, present: Tensor | None = None) -> Tensor:
        """`[..., positions, dim]` → the same.

        Args:
            inputs: 2 to 4 axes.
            present: `[..., positions]`, True where a position is no padding; None: all are.
        """
        check_rows("Pyramid", "inputs", inputs, self.dim)
        if present is not None and (present.dtype != torch.bool or present.shape != inputs.shape[:-1]):
            got = f"{present.dtype} {list(present.shape)}"
            raise InputError(f"Pyramid needs present as booleans {list(inputs.shape[:-1])}, got {got}")
        rows = inputs.reshape(-1, *inputs.shape[-2:])
        there = None if present is None else present.reshape(rows.shape[:2])
        query, key, value = (self._split(layer(rows)) for layer in (self.query, self.key, self.value))
        parts = [self._scale(scale, query, key, value, there) for scale in self.scales]
        seen = merge(*[replace(part, rule=f"{self.scales}") for part in parts]).out.transpose(1, 2).flatten(2)
        return self.out(seen).reshape(inputs.shape)  # type: ignore[no-any-return]

    def _split(self, rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # type: ignore[no-any-return]

    def _scale(self, scale: int, query: Tensor, key: Tensor, value: Tensor, present: Tensor | None) -> Partial:
        """What the queries see of one scale; those that share a cell see the same, and are one batch entry each."""
        length = query.shape[2]
        if scale == 1:
            rule = Rule(pattern=self._pattern(present))
            return partial(query, key, value, rule, query_start=0)
        missing = -length % scale
        if present is None:
            present = query.new_ones((1, length), dtype=torch.bool)
        cells = pad(present, (0, missing)).unflatten(-1, (-1, scale))[:, None]
        count = cells.sum(-1)
        pooled = [_means(rows, cells, count, missing) for rows in (key, value)]
        queries = pad(query, (0, 0, 0, missing)).unflatten(2, (-1, scale)).movedim(3, 1)
        weight = keys(count.clamp(min=1).to(query).log()[:, None])
        rule = Rule(pattern=self._pattern(count > 0), bias=weight)
        part = partial(queries, pooled[0][:, None], pooled[1][:, None], rule, query_start=-1 if self.causal else 0)
        return _placed(part, length)

    def _pattern(self, present: Tensor | None) -> Pattern:
        each = [window(before=cells - 1, after=0 if self.causal else cells - 1) for cells in self.windows]
        near = each[0] if len(each) == 1 else per_head(*each)
        return near if present is None else near & padding(present)

    def extra_repr(self) -> str:
        """Its sizes, as modules print them."""
        windows = self.windows[0] if len(self.windows) == 1 else self.windows
        return f"{self.dim}, heads={self.heads}, windows={windows}, scales={self.scales}" + ", causal" * self.causal


def _means(rows: Tensor, cells: Tensor, count: Tensor, missing: int) -> Tensor:
    """The mean of every cell over what is there: `[batch, heads, positions, dim]` → `[batch, heads, cells, dim]`."""
    split = pad(rows, (0, 0, 0, missing)).unflatten(2, cells.shape[-2:])
    there = torch.where(cells[..., None], split, 0).sum(3)
    return there / count.clamp(min=1)[..., None]


def _placed(part: Partial, length: int) -> Partial:
    """`[batch, place in the cell, heads, cells, …]` → `[batch, heads, positions, …]`."""
    assert part.log_sum is not None
    moved = {"values": part.values, "log_sum": part.log_sum}
    rows = {name: tensor.movedim(1, 3).flatten(2, 3)[:, :, :length] for name, tensor in moved.items()}
    return part.with_children({**part.children(), **rows})
