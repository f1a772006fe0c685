"""The two forms in which the visible pairs of some query rows are kept: key ranges, or bits.

A row is the number of a query within the rows asked for; a key is its absolute position. `keys` are the absolute
start and stop of the keys that exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Bits", "Bools", "Bytes", "Form", "Ints", "Ranges", "chunks", "pieces", "sweep"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

_ONES: Ints = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.int64)
_CELLS = 1 << 16


def chunks(rows: int, width: int = 1, cells: int = _CELLS) -> list[tuple[int, int]]:
    """Row blocks (first, last) of at most `cells` entries, when a row has `width` of them."""
    step = max(1, cells // max(1, width))
    return [(first, min(first + step, rows)) for first in range(0, rows, step)]


def sweep(codes: Ints, steps: Ints, kept: Callable[[Ints], Bools]) -> Ints:
    """The codes, ascending, at which `kept(depth)` flips; depth is the sum of the steps at codes up to there."""
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    depth = np.cumsum(steps[order])
    settled = np.ones(codes.size, dtype=np.bool_)
    settled[:-1] = codes[1:] != codes[:-1]
    codes, visible = codes[settled], kept(depth[settled])
    flips = visible.copy()
    flips[1:] = visible[1:] != visible[:-1]
    found: Ints = codes[flips]
    return found


def pieces(begin: Ints, count: Ints) -> Ints:
    """The numbers begin[r] … begin[r] + count[r] − 1 of all rows, one row after the other."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if ends.size else 0
    numbers: Ints = np.repeat(begin - (ends - count), count) + np.arange(total, dtype=np.int64)
    return numbers


@dataclass(frozen=True, eq=False)
class Ranges:
    """Row r sees the half-open ranges [low[n], high[n]) for offsets[r] ≤ n < offsets[r + 1].

    Canonical: within a row the ranges are sorted, disjoint, not adjacent, not empty, and inside `keys`.
    offsets is int64 [rows + 1]; low and high are int64 [n].
    """

    offsets: Ints
    low: Ints
    high: Ints
    keys: tuple[int, int]

    @property
    def rows(self) -> int:
        """How many query rows."""
        return self.offsets.size - 1

    @property
    def pairs(self) -> int:
        """How many visible pairs."""
        return int(self.high.sum() - self.low.sum())

    @property
    def nbytes(self) -> int:
        """The bytes of the arrays."""
        return self.offsets.nbytes + self.low.nbytes + self.high.nbytes

    def pairs_in(self, first: int, last: int) -> int:
        """How many visible pairs in rows first … last − 1."""
        begin, end = self.offsets[first], self.offsets[last]
        return int(self.high[begin:end].sum() - self.low[begin:end].sum())

    def dense(self, first: int, last: int, columns: Ints) -> Bools:
        """Rows first … last − 1 at some keys (absolute, ascending), as bool [last − first, columns].

        Costs O(rows · columns) where the columns are neighbours, plus the ranges between them where they are not.
        """
        shown = np.zeros((last - first, columns.size + 1), dtype=np.int8)
        if columns.size:
            begin = _beyond(self.high, self.offsets[first:last], self.offsets[first + 1 : last + 1], int(columns[0]))
            end = _beyond(self.low, begin, self.offsets[first + 1 : last + 1], int(columns[-1]))
            taken = pieces(begin, end - begin)
            row = np.repeat(np.arange(last - first), end - begin)
            left, right = np.searchsorted(columns, self.low[taken]), np.searchsorted(columns, self.high[taken])
            some = left < right
            shown[row[some], left[some]] += 1
            shown[row[some], right[some]] -= 1
        return np.cumsum(shown[:, :-1], axis=1, dtype=np.int8).view(np.bool_)

    def spans(self, first: int, last: int) -> Ints:
        """The union of the key ranges of rows first … last − 1: int64 [n, 2], merged, sorted, absolute."""
        low = self.low[self.offsets[first] : self.offsets[last]]
        high = self.high[self.offsets[first] : self.offsets[last]]
        steps = np.repeat(np.array([1, -1], dtype=np.int64), low.size)
        return sweep(np.concatenate((low, high)), steps, lambda depth: depth > 0).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class Bits:
    """Row r sees key k where bit k − keys[0] of words[r] is set, the highest bit of a byte first.

    words is uint8 [rows, ⌈keys / 8⌉]; the bits after the last key are 0.
    """

    words: Bytes
    keys: tuple[int, int]

    @property
    def rows(self) -> int:
        """How many query rows."""
        return int(self.words.shape[0])

    @property
    def pairs(self) -> int:
        """How many visible pairs."""
        return self.pairs_in(0, self.rows)

    @property
    def nbytes(self) -> int:
        """The bytes of the array."""
        return self.words.nbytes

    def pairs_in(self, first: int, last: int) -> int:
        """How many visible pairs in rows first … last − 1."""
        blocks = chunks(last - first, self.words.shape[1])
        return sum(int(_ONES[self.words[first + start : first + stop]].sum()) for start, stop in blocks)

    def dense(self, first: int, last: int, columns: Ints) -> Bools:
        """Rows first … last − 1 at some keys (absolute, ascending), as bool [last − first, columns]."""
        start, stop = self.keys
        shown = np.zeros((last - first, columns.size), dtype=np.bool_)
        left, right = np.searchsorted(columns, (start, stop))
        bit = columns[left:right] - start
        words = self.words[first:last][:, bit >> 3]
        shown[:, left:right] = (words >> (7 - (bit & 7)).astype(np.uint8)) & 1
        return shown

    def spans(self, first: int, last: int) -> Ints:
        """The union of the key ranges of rows first … last − 1: int64 [n, 2], merged, sorted, absolute."""
        union: Bytes = np.bitwise_or.reduce(self.words[first:last], axis=0)
        seen = np.unpackbits(union, count=self.keys[1] - self.keys[0]).astype(np.int8)
        flips = np.flatnonzero(np.diff(seen, prepend=np.int8(0), append=np.int8(0)))
        return flips.reshape(-1, 2) + self.keys[0]


Form = Ranges | Bits


def _beyond(values: Ints, begin: Ints, end: Ints, bound: int) -> Ints:
    """For each row, the first n of its slice begin … end with values[n] > bound, by bisection in all rows at once."""
    while (searching := begin < end).any():
        middle = (begin + end) // 2
        after = searching & (values[np.minimum(middle, values.size - 1)] <= bound)
        begin, end = np.where(after, middle + 1, begin), np.where(searching & ~after, middle, end)
    return begin
