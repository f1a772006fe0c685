"""Patterns on a grid, whose positions are numbered row by row: neighbourhoods and axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
from torch import Tensor

from regard.errors import InputError
from regard.terms.pattern.algebra import Pattern
from regard.terms.pattern.build import tabulate
from regard.terms.pattern.checks import covered, whole, wholes
from regard.terms.pattern.lists import Lists
from regard.terms.pattern.ranges import Bools, Ints
from regard.terms.pattern.reading import nowhere
from regard.terms.tree import term

__all__ = ["Axial", "Neighborhood", "axial", "neighborhood"]

Positions = TypeVar("Positions", Ints, Tensor)


@term
class Neighborhood(Pattern):
    """On every axis, begin ≤ coordinate(j) < begin + window, where begin follows coordinate(i)."""

    window: tuple[int, ...]
    shape: tuple[int, ...]
    edge: Literal["shift", "clip"]

    def _begin(self, axis: int, coordinate: Positions) -> Positions:
        begin = coordinate - self.window[axis] // 2
        return begin.clip(0, self.shape[axis] - self.window[axis]) if self.edge == "shift" else begin

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        shown = ~nowhere(query, key)
        for axis, window in enumerate(self.window):
            begin, place = self._begin(axis, _along(query, self.shape, axis)), _along(key, self.shape, axis)
            shown = shown & (place >= begin) & (place < begin + window)
        return shown

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        covered("neighborhood's grid", math.prod(self.shape), rows, keys, "give it the shape of the whole grid")

        def lines(at: Ints) -> tuple[Ints, Ints]:
            """One range on each line of the grid that the window touches, line by line."""
            base: Ints = np.zeros_like(at)
            exists: Bools = np.ones(at.shape, dtype=np.bool_)
            for axis, window in enumerate(self.window[:-1]):
                place = self._begin(axis, _along(at, self.shape, axis)) + np.arange(window)
                inside = (place >= 0) & (place < self.shape[axis])
                exists = (exists[:, :, None] & inside[:, None]).reshape(len(at), -1)
                base = (base[:, :, None] + (place * _stride(self.shape, axis))[:, None]).reshape(len(at), -1)
            begin = self._begin(len(self.shape) - 1, at % self.shape[-1])
            low, high = begin.clip(0), (begin + self.window[-1]).clip(max=self.shape[-1])
            return base + low, base + np.where(exists, high, low)

        return Lists.one(tabulate(rows, keys, lines, width=math.prod(self.window[:-1])))

    def notation(self) -> str:
        edge = "" if self.edge == "shift" else f', edge="{self.edge}"'
        return f"neighborhood({_plain(self.window)}, {_plain(self.shape)}{edge})"


@term
class Axial(Pattern):
    """coordinate(i) = coordinate(j) on every other axis than `axis`, or than some one axis."""

    shape: tuple[int, ...]
    axis: int | None

    def allows(self, query: Tensor, key: Tensor, batch: Tensor | int = 0, head: Tensor | int = 0) -> Tensor:
        others = [axis for axis in range(len(self.shape)) if axis != self.axis]
        differing = nowhere(query, key).long()
        for axis in others:
            differing = differing + (_along(query, self.shape, axis) != _along(key, self.shape, axis)).long()
        return differing <= (1 if self.axis is None else 0)

    def lower(self, rows: Ints, keys: tuple[int, int], batch: int, heads: int) -> Lists:
        covered("axial's grid", math.prod(self.shape), rows, keys, "give it the shape of the whole grid")
        axes = range(len(self.shape)) if self.axis is None else (self.axis,)
        # Along an axis of stride 1 the keys are neighbours: one range instead of one a key.
        counts = {axis: self.shape[axis] if _stride(self.shape, axis) > 1 else 1 for axis in axes}

        def lines(at: Ints) -> tuple[Ints, Ints]:
            lows, highs = [], []
            for axis, count in counts.items():
                stride = _stride(self.shape, axis)
                low = at - _along(at, self.shape, axis) * stride + stride * np.arange(count)
                lows.append(low)
                highs.append(low + self.shape[axis] // count)
            return np.concatenate(lows, axis=1), np.concatenate(highs, axis=1)

        return Lists.one(tabulate(rows, keys, lines, width=sum(counts.values())))

    def notation(self) -> str:
        return f"axial({_plain(self.shape)}{'' if self.axis is None else f', axis={self.axis}'})"


def neighborhood(
    window: int | Sequence[int], shape: int | Sequence[int], *, edge: Literal["shift", "clip"] = "shift"
) -> Pattern:
    """begin ≤ j < begin + window on every axis of a grid, where begin = i − ⌊window / 2⌋ (Hassani et al. 2023, NATTEN).

    window, shape: a number, or one for each axis; positions number the grid row by row. edge: "shift" moves a window
    that would leave the grid back into it, so that every query sees as many keys; "clip" cuts it off.
    """
    sizes, extent = wholes(window, 1, "neighborhood's window"), wholes(shape, 1, "neighborhood's shape")
    if len(sizes) != len(extent) or not extent:
        raise InputError(f"neighborhood needs one window size for each axis; it got {sizes} for the shape {extent}.")
    if any(size > length for size, length in zip(sizes, extent, strict=True)):
        raise InputError(f"neighborhood's window {sizes} is larger than the grid {extent}: make it fit on every axis.")
    if edge not in ("shift", "clip"):
        raise InputError(f'neighborhood\'s edge must be "shift" or "clip"; it got {edge!r}.')
    return Neighborhood(sizes, extent, edge)


def axial(shape: Sequence[int], axis: int | None = None) -> Pattern:
    """j differs from i on one axis of a grid at most (Ho et al. 2019, axial transformers).

    shape: the grid, whose positions are numbered row by row. axis: the one that may differ, −1 is the last; None: any.
    """
    extent = wholes(shape, 1, "axial's shape")
    if not extent:
        raise InputError("axial needs a grid of at least one axis; it got an empty shape.")
    if axis is None:
        return Axial(extent, None)
    place = whole(axis, -len(extent), "axial's axis")
    if place >= len(extent):
        raise InputError(f"axial's axis must be below {len(extent)} for the grid {extent}; it got {axis}.")
    return Axial(extent, place % len(extent))


def _stride(shape: tuple[int, ...], axis: int) -> int:
    return math.prod(shape[axis + 1 :])


def _along(position: Positions, shape: tuple[int, ...], axis: int) -> Positions:
    """The coordinate of positions on one axis."""
    return position // _stride(shape, axis) % shape[axis]


def _plain(values: tuple[int, ...]) -> str:
    return str(values[0]) if len(values) == 1 else str(values)
