"""Where a mask lies: how many queries and keys, and at which absolute positions; and closures evaluated there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex

from regard.huggingface.closures import MaskFunction
from regard.terms.pattern import Pattern

__all__ = ["Grid"]

_CELLS = 1 << 22
_SAMPLES = 6


@dataclass(frozen=True)
class Grid:
    """The pairs of a mask: `batch` rows of `queries` × `keys`, whose first ones stand at absolute positions."""

    batch: int
    queries: int
    keys: int
    query_start: int
    key_start: int
    device: torch.device

    @property
    def length(self) -> int:
        """How many positions there are up to the last query or key."""
        return max(self.query_start + self.queries, self.key_start + self.keys)

    def evaluated(self, function: MaskFunction, vectorised: bool) -> Tensor:
        """A mask function at every pair, bool `[batch, 1, queries, keys]`: O(queries · keys) time, in row blocks.

        Args:
            function: takes absolute batch, head, query and key indices.
            vectorised: the function takes whole index tensors that broadcast; else it is mapped over single pairs.
        """
        if not self.batch * self.queries * self.keys:
            return torch.ones(self.batch, 1, self.queries, self.keys, dtype=torch.bool, device=self.device)
        rows = torch.arange(self.queries, device=self.device).split(max(1, _CELLS // (self.batch * self.keys)))
        return torch.cat([self._rows(function, block, vectorised) for block in rows], 2)

    def agrees(self, pattern: Pattern, function: MaskFunction, vectorised: bool) -> bool:
        """Whether a pattern and a mask function show the same keys in a few rows: the first, the last, some between."""
        if not self.batch * self.queries * self.keys:
            return True
        rows = torch.linspace(0, self.queries - 1, min(self.queries, _SAMPLES), device=self.device).long()
        found = self._rows(function, rows, vectorised)
        return torch.equal(found, self._rows(_as_function(pattern), rows, vectorised=True))

    def shown(self, pattern: Pattern) -> Tensor:
        """A pattern at every pair, bool `[batch, 1, queries, keys]`."""
        return self.evaluated(_as_function(pattern), vectorised=True)

    def _rows(self, function: MaskFunction, rows: Tensor, vectorised: bool) -> Tensor:
        batch = torch.arange(self.batch, device=self.device)[:, None, None, None]
        head = torch.zeros(1, 1, 1, 1, dtype=torch.int64, device=self.device)
        query = (rows + self.query_start)[None, None, :, None]
        key = (torch.arange(self.keys, device=self.device) + self.key_start)[None, None, None, :]
        shape = (self.batch, 1, rows.numel(), self.keys)
        if vectorised:
            found: Tensor = function(batch, head, query, key)
            return found.expand(shape)
        flat = [index.expand(shape).reshape(-1) for index in (batch, head, query, key)]
        # Lets a mapped function index a tensor by one of its indices.
        with TransformGetItemToIndex():
            mapped: Tensor = torch.vmap(function)(*flat)
        return mapped.reshape(shape)


def _as_function(pattern: Pattern) -> MaskFunction:
    return lambda batch, head, query, key: pattern.allows(query, key, batch, head)
