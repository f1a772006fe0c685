"""The set operations on forms: `&`, `|` and `~`, in one sweep over sorted range ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from regard.terms.pattern.build import compact, crop, decode, join, packed_words
from regard.terms.pattern.ranges import Bits, Bools, Bytes, Form, Ints, Ranges, chunks, sweep

__all__ = ["complement", "intersect", "unite"]

_ROWS = 1 << 16
_DENSE = 1 << 22


def intersect(left: Form, right: Form) -> Form:
    """The pairs in both."""
    if isinstance(left, Ranges) and isinstance(right, Ranges):
        return _by_rows(left, right, _intersect_rows)
    return _by_words(left, right, np.bitwise_and)


def unite(left: Form, right: Form) -> Form:
    """The pairs in at least one."""
    if isinstance(left, Ranges) and isinstance(right, Ranges):
        return _by_rows(left, right, lambda a, b, first, last: _sweep_rows(a, b, first, last, lambda depth: depth > 0))
    return _by_words(left, right, np.bitwise_or)


def complement(form: Form) -> Form:
    """The pairs of existing keys that are not in the form."""
    start, stop = form.keys
    if isinstance(form, Bits):
        all_keys = np.packbits(np.ones((1, stop - start), dtype=np.bool_), axis=1)
        everything = Bits(np.broadcast_to(all_keys, (form.rows, all_keys.shape[1])), form.keys)
        return _by_words(form, everything, lambda words, existing: ~words & existing)
    every = (np.arange(form.rows + 1, dtype=np.int64), *(np.full(form.rows, side) for side in form.keys))
    whole = crop(every[0], every[1], every[2], form.keys)
    return _by_rows(form, whole, lambda a, b, first, last: _sweep_rows(a, b, first, last, lambda depth: depth == 2))


def _by_rows(left: Ranges, right: Ranges, combined: Callable[[Ranges, Ranges, int, int], Ranges]) -> Form:
    parts: list[Form] = []
    first = 0
    while first < left.rows:
        last = min(_reach(left, first), _reach(right, first))
        parts.append(combined(left, right, first, last))
        first = last
    return join(parts, left.keys, small=False)


def _reach(form: Ranges, first: int) -> int:
    """The last row of a block from `first` on that has few enough ranges for small temporaries."""
    last = int(np.searchsorted(form.offsets, form.offsets[first] + _ROWS, side="right")) - 1
    return min(max(last, first + 1), first + _ROWS, form.rows)


def _by_words(left: Form, right: Form, combined: Callable[[Bytes, Bytes], Bytes]) -> Form:
    parts: list[Form] = []
    for first, last in chunks(left.rows, left.keys[1] - left.keys[0], _DENSE):
        words = combined(packed_words(left, first, last), packed_words(right, first, last))
        parts.append(compact(Bits(words, left.keys)))
    return join(parts, left.keys, small=True)


def _intersect_rows(left: Ranges, right: Ranges, first: int, last: int) -> Ranges:
    left_count, right_count = (np.diff(side.offsets[first : last + 1]) for side in (left, right))
    if max(left_count.max(), right_count.max()) > 1:
        return _sweep_rows(left, right, first, last, lambda depth: depth == 3)
    both = (left_count & right_count).astype(np.bool_)
    one, two = left.offsets[first:last][both], right.offsets[first:last][both]
    low, high = np.maximum(left.low[one], right.low[two]), np.minimum(left.high[one], right.high[two])
    offsets = np.zeros(last - first + 1, dtype=np.int64)
    np.cumsum(both, out=offsets[1:])
    return crop(offsets, low, high, left.keys)


def _sweep_rows(left: Ranges, right: Ranges, first: int, last: int, kept: Callable[[Ints], Bools]) -> Ranges:
    """Rows first … last − 1 where `kept` of the depth holds: the depth is 1 inside left, 2 inside right, 3 in both."""
    sides = [_ends(side, first, last) for side in (left, right)]
    steps = [np.resize(np.array([depth, -depth], dtype=np.int64), ends.size) for depth, ends in enumerate(sides, 1)]
    return decode(sweep(np.concatenate(sides), np.concatenate(steps), kept), last - first, left.keys)


def _ends(form: Ranges, first: int, last: int) -> Ints:
    """The codes row · (keys + 1) + place of all range ends, ascending."""
    offsets = form.offsets[first : last + 1]
    row = np.repeat(np.arange(last - first, dtype=np.int64), np.diff(offsets))
    base = row * (form.keys[1] - form.keys[0] + 1) - form.keys[0]
    taken = slice(offsets[0], offsets[-1])
    return np.stack((base + form.low[taken], base + form.high[taken]), axis=1).ravel()
