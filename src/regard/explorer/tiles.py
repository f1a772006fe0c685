"""Tiles of a map of weights: 256 × 256 cells each, from all pairs in one down to one pair a cell."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from regard.errors import InputError
from regard.looking.told import Sight

__all__ = ["SIZE", "Place", "Tiles", "zooms"]

SIZE = 256
WHOLE = 4
"""Zooms 0, 1 and 2 are made at once, from one pass over all pairs: 4 tiles a side."""
STATISTICS = ("mean", "max")


def zooms(length: int) -> int:
    """The last zoom, where a cell is one pair."""
    return max(0, (max(length, SIZE) - 1).bit_length() - 8)


@dataclass(frozen=True)
class Place:
    """Which tile: x along keys, y along queries."""

    layer: int
    head: int
    statistic: str
    zoom: int
    x: int
    y: int

    def check(self, sight: Sight) -> None:
        """InputError unless there is such a tile."""
        last = zooms(max(sight.problem.queries, sight.problem.keys))
        if self.statistic not in STATISTICS:
            raise InputError(f"a tile's statistic must be mean or max, got {self.statistic}")
        if not 0 <= self.head < sight.heads:
            raise InputError(f"head must be 0 to {sight.heads - 1} in layer {self.layer}, got {self.head}")
        if not 0 <= self.zoom <= last:
            raise InputError(f"zoom must be 0 to {last} for this text, got {self.zoom}")
        if not (0 <= self.x < 1 << self.zoom and 0 <= self.y < 1 << self.zoom):
            raise InputError(f"x and y must be 0 to {(1 << self.zoom) - 1} at zoom {self.zoom}, got {self.x}, {self.y}")


class Tiles:
    """Makes tiles, and keeps the latest within a bound of bytes; both statistics come of one pass.

    Args:
        most: bytes.
    """

    def __init__(self, most: int = 256 << 20) -> None:
        self._most, self.bytes = most, 0
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()

    def tile(self, run: str, sight: Sight, place: Place) -> bytes:
        """256 × 256 float32, little-endian, rows are queries; NaN outside of the text.

        Args:
            run: what tells one text from another.
            sight: the layer.
            place: which tile.
        """
        place.check(sight)
        last = zooms(max(sight.problem.queries, sight.problem.keys))
        if place.zoom <= 2 <= last:
            whole = self._whole(run, sight, place, last)
            cells = _level(whole, place.zoom)
            down, across = place.y * SIZE, place.x * SIZE
            return _bytes(cells[down : down + SIZE, across : across + SIZE])
        return _bytes(self._direct(run, sight, place, last))

    def forget(self, run: str) -> None:
        """Drop all tiles of a run."""
        for name in [name for name in self._kept if isinstance(name, tuple) and name[0] == run]:
            self.bytes -= self._kept.pop(name).nbytes

    def _whole(self, run: str, sight: Sight, place: Place, last: int) -> Tensor:
        """Zooms 2, 1 and 0 one after another, flat."""
        name = (run, place.layer, place.head, place.statistic, "whole")
        if name not in self._kept:
            side = 1 << (last - 2)
            found = sight.look.cells(side, heads=place.head)
            for statistic, cells in (("mean", found.mean), ("max", found.maximum)):
                levels = _pyramid(cells[0, 0], found.area, statistic)
                self._keep((*name[:3], statistic, "whole"), levels)
        return self._found(name)

    def _direct(self, run: str, sight: Sight, place: Place, last: int) -> Tensor:
        name = (run, place.layer, place.head, place.statistic, place.zoom, place.x, place.y)
        if name not in self._kept:
            side = 1 << (last - place.zoom)
            rows, columns = (
                (min(length, at * SIZE * side), min(length, (at + 1) * SIZE * side))
                for at, length in ((place.y, sight.problem.queries), (place.x, sight.problem.keys))
            )
            if rows[0] == rows[1] or columns[0] == columns[1]:
                return torch.full((SIZE, SIZE), torch.nan)
            found = sight.look.cells(side, rows, columns, heads=place.head)
            for statistic, cells in (("mean", found.mean), ("max", found.maximum)):
                self._keep((*name[:3], statistic, *name[4:]), _square(cells[0, 0], SIZE, torch.nan))
        return self._found(name)

    def _found(self, name: Hashable) -> Tensor:
        self._kept.move_to_end(name)
        return self._kept[name]

    def _keep(self, name: Hashable, cells: Tensor) -> None:
        old = self._kept.pop(name, None)
        self.bytes += cells.nbytes - (0 if old is None else old.nbytes)
        self._kept[name] = cells
        while self.bytes > self._most and len(self._kept) > 2:
            self.bytes -= self._kept.popitem(last=False)[1].nbytes


def _pyramid(cells: Tensor, area: Tensor, statistic: str) -> Tensor:
    """1024 × 1024 cells, half as many a side, and 256 × 256, one after another; NaN outside of the text."""
    size = WHOLE * SIZE
    pairs = _square(area.to(cells), size, 0.0)
    level = _square(cells, size, 0.0) * (pairs if statistic == "mean" else 1)
    made = []
    while size >= SIZE:
        shown = level / pairs if statistic == "mean" else level
        made.append(torch.where(pairs > 0, shown, torch.nan).flatten())
        size //= 2
        pairs = pairs.reshape(size, 2, size, 2).sum((1, 3))
        parts = level.reshape(size, 2, size, 2)
        level = parts.sum((1, 3)) if statistic == "mean" else parts.amax((1, 3))
    return torch.cat(made)


def _level(whole: Tensor, zoom: int) -> Tensor:
    """Zoom 2, 1 or 0 of a flat pyramid."""
    begin = 0
    for at in range(2, zoom, -1):
        begin += (SIZE << at) ** 2
    side = SIZE << zoom
    return whole[begin : begin + side * side].reshape(side, side)


def _square(cells: Tensor, size: int, outside: float) -> Tensor:
    down, across = cells.shape
    return functional.pad(cells.float(), (0, size - across, 0, size - down), value=outside)


def _bytes(cells: Tensor) -> bytes:
    return cells.contiguous().numpy().astype("<f4", copy=False).tobytes()
