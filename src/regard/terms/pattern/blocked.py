"""Patterns of blocks: the same block, a layout of blocks, random blocks."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.pattern.algebra import Pattern
from regard.terms.pattern.build import crop, encode, tabulate, take, triples
from regard.terms.pattern.checks import covered, dims, numbers, whole
from regard.terms.pattern.lists import Lists
from regard.terms.pattern.ranges import Form, Ints
from regard.terms.pattern.reading import lookup, nowhere
from regard.terms.tree import number, term

__all__ = ["BlockLayout", "RandomBlocks", "SameBlock", "blocks", "random_blocks"]

_Hash = npt.NDArray[np.uint64]


@term
class SameBlock(Pattern):
    """⌊i / size⌋ = ⌊j / size⌋."""

    size: int

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        return query // self.size == key // self.size

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        def block(at: Ints) -> tuple[Ints, Ints]:
            low = at // self.size * self.size
            return low, low + self.size

        return Lists.one(tabulate(rows, keys, block))

    def notation(self) -> str:
        return f"blocks({self.size})"


@term
class BlockLayout(Pattern):
    """layout[h, ⌊i / size⌋, ⌊j / size⌋]."""

    size: int
    layout: Tensor
    roles: ClassVar = {"layout": ("head", None, None)}

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        if not self.layout.numel():
            return nowhere(query, key)
        row, column = query // self.size, key // self.size
        inside = (row >= 0) & (row < self.layout.shape[-2]) & (column >= 0) & (column < self.layout.shape[-1])
        return lookup(self.layout, head, row, column) & inside

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        layout = dims(self.layout[None], 4, "blocks' layout", batch, heads)
        covered("blocks' layout", layout.shape[2] * self.size, rows)
        covered("blocks' layout", layout.shape[3] * self.size, rows[:0], keys)

        def spread(page: npt.NDArray[Any]) -> Form:
            block = encode(page, (0, page.shape[1]))
            return take(crop(block.offsets, block.low * self.size, block.high * self.size, keys), rows // self.size)

        return Lists.each(layout, spread)

    def notation(self) -> str:
        return f"blocks({self.size}, {number(self.layout)})"


@term
class RandomBlocks(Pattern):
    """⌊j / size⌋ is among chosen[⌊i / size⌋]."""

    size: int
    keys: int
    seed: int
    chosen: Tensor
    """The key blocks that each query block sees: int64 [blocks, count]."""

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        shown = nowhere(query, key)
        for place in range(self.chosen.shape[1] if self.keys else 0):
            shown = shown | (lookup(self.chosen, query // self.size, place) == key // self.size)
        return shown & (query >= 0) & (query < self.keys) & (key < self.keys)

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        covered("random_blocks", self.keys, rows, keys, "give it keys=, the length of the sequence")
        chosen = numbers(self.chosen)
        low = chosen.ravel() * self.size
        block = triples(np.repeat(np.arange(len(chosen)), chosen.shape[1]), low, low + self.size, len(chosen), keys)
        return Lists.one(take(block, rows // self.size))

    def notation(self) -> str:
        seed = f", seed={self.seed}" if self.seed else ""
        return f"random_blocks({self.size}, {self.chosen.shape[1]}, {self.keys}{seed})"


def blocks(size: int, layout: Tensor | None = None) -> Pattern:
    """⌊i / size⌋ = ⌊j / size⌋, or layout[h, ⌊i / size⌋, ⌊j / size⌋] (Child et al. 2019, block-sparse attention).

    size: positions in a block, at least 1. layout: bool [query blocks, key blocks], with heads first where they differ.
    """
    size = whole(size, 1, "the size of blocks")
    if layout is None:
        return SameBlock(size)
    if not isinstance(layout, Tensor) or layout.dtype != torch.bool or layout.ndim not in (2, 3):
        is_tensor = isinstance(layout, Tensor)
        came = f"{layout.dtype} {tuple(layout.shape)}" if is_tensor else type(layout).__name__
        raise InputError(f"blocks' layout must be bool, [query blocks, key blocks] or with heads first; it got {came}.")
    return BlockLayout(size, layout)


def random_blocks(size: int, count: int, keys: int, seed: int = 0) -> Pattern:
    """⌊j / size⌋ ∈ chosen(seed, ⌊i / size⌋): `count` distinct key blocks for each query block (Zaheer et al. 2020).

    size: positions in a block; keys: how long the sequence is; count: at most ⌈keys / size⌉. What a query block sees
    depends on seed, size, count, keys and its own number only.
    """
    size, keys = whole(size, 1, "the size of random_blocks"), whole(keys, 0, "random_blocks' keys")
    count, seed = whole(count, 1, "random_blocks' count"), whole(seed, 0, "random_blocks' seed")
    total = -(-keys // size)
    if count > total:
        raise InputError(f"random_blocks can't choose {count} of {total} key blocks: lower count or size.")
    return RandomBlocks(size, keys, seed, _chosen(total, count, seed))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _chosen(total: int, count: int, seed: int) -> Tensor:
    return torch.from_numpy(_sampled(total, count, seed))


def _sampled(total: int, count: int, seed: int) -> Ints:
    """For each of `total` blocks, `count` distinct numbers below `total` (Floyd's sampling, all blocks at once)."""
    block: _Hash = np.arange(total, dtype=np.uint64)
    state = _mixed(block + _mixed(np.array([seed % 2**64], dtype=np.uint64)))
    chosen = np.empty((total, count), dtype=np.int64)
    for place in range(count):
        top = total - count + place
        drawn = (_mixed(state + np.uint64(place)) % np.uint64(top + 1)).astype(np.int64)
        repeated = (chosen[:, :place] == drawn[:, None]).any(axis=1)
        chosen[:, place] = np.where(repeated, top, drawn)
    return np.sort(chosen, axis=1)


def _mixed(state: _Hash) -> _Hash:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014): the same numbers in any version of numpy."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    mixed: _Hash = state ^ (state >> np.uint64(31))
    return mixed
