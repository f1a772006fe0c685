"""How forms are made: from a formula for one row, from triples, from a table of booleans; and how they are joined."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from regard.terms.pattern.ranges import Bits, Bools, Bytes, Form, Ints, Ranges, chunks, pieces, sweep

__all__ = [
    "as_bits",
    "as_ranges",
    "compact",
    "crop",
    "decode",
    "encode",
    "join",
    "packed_words",
    "single",
    "table",
    "tabulate",
    "take",
    "triples",
]

_DENSE = 1 << 22


def crop(offsets: Ints, low: Ints, high: Ints, keys: tuple[int, int]) -> Ranges:
    """Ragged ranges, sorted and apart within each row, cut down to the keys that exist; empty ones are dropped."""
    low, high = np.clip(low, *keys), np.clip(high, *keys)
    kept = low < high
    if kept.all():
        return Ranges(offsets, low, high, keys)
    count = np.zeros(kept.size + 1, dtype=np.int64)
    np.cumsum(kept, out=count[1:])
    return Ranges(count[offsets], low[kept], high[kept], keys)


def single(low: Ints, high: Ints, keys: tuple[int, int]) -> Ranges:
    """One range a row: low and high are int64 [rows]; what lies outside `keys` is cut off, empty ranges are dropped."""
    return crop(np.arange(low.size + 1, dtype=np.int64), low, high, keys)


def triples(row: Ints, low: Ints, high: Ints, rows: int, keys: tuple[int, int]) -> Ranges:
    """Any ranges, each with its row, in any order, overlapping or empty: int64 [n] each."""
    start, width = keys[0], keys[1] - keys[0] + 1
    low, high = np.clip(low, *keys) - start, np.clip(high, *keys) - start
    kept = low < high
    row, low, high = row[kept] * width, low[kept], high[kept]
    codes = np.stack((row + low, row + high), axis=1).ravel()
    steps = np.tile(np.array([1, -1], dtype=np.int64), row.size)
    return decode(sweep(codes, steps, lambda depth: depth > 0), rows, keys)


def decode(flips: Ints, rows: int, keys: tuple[int, int]) -> Ranges:
    """Ranges from the ascending codes row · (keys + 1) + place at which visibility flips."""
    row, place = np.divmod(flips, keys[1] - keys[0] + 1)
    offsets = np.zeros(rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(row[::2], minlength=rows), out=offsets[1:])
    return Ranges(offsets, place[::2] + keys[0], place[1::2] + keys[0], keys)


def encode(table: Bools, keys: tuple[int, int]) -> Ranges:
    """The runs of True in a table, bool [rows, keys]."""
    flat = np.zeros((table.shape[0], table.shape[1] + 1), dtype=np.bool_)
    flat[:, :-1] = table
    line = flat.reshape(-1)
    flips = np.flatnonzero(line[1:] != line[:-1]) + 1
    first = np.zeros(int(bool(line[:1].any())), dtype=np.int64)
    return decode(np.concatenate((first, flips)), table.shape[0], keys)


def tabulate(
    rows: Ints,
    keys: tuple[int, int],
    formula: Callable[[Ints], tuple[Ints | int, Ints | int]],
    width: int = 1,
    small: bool = False,
) -> Form:
    """The form of a formula that takes query positions [n, 1] to range starts and stops, which broadcast to [n, width].

    The ranges of a row may overlap, be empty, or leave `keys`. small: take bits where they need fewer bytes.
    """
    parts: list[Form] = []
    for first, last in chunks(rows.size, width):
        sides = formula(rows[first:last, None])
        low, high = (np.broadcast_to(side, (last - first, width)).ravel() for side in sides)
        if width == 1:
            part = single(low, high, keys)
        else:
            part = triples(np.repeat(np.arange(last - first), width), low, high, last - first, keys)
        parts.append(compact(part) if small else part)
    return join(parts, keys, small)


def table(values: Bools, rows: Ints, keys: tuple[int, int]) -> Form:
    """The form of a given table, bool [queries or 1, keys or 1], read at absolute positions."""
    start, stop = keys
    if values.shape[1] == 1:
        place = rows if values.shape[0] > 1 else np.zeros_like(rows)
        return tabulate(place, keys, lambda at: (start, np.where(values[at, 0], stop, start)))
    if values.shape[0] == 1:
        return take(compact(encode(values[:, start:stop], keys)), np.zeros_like(rows))
    parts: list[Form] = []
    for first, last in chunks(rows.size, stop - start, _DENSE):
        parts.append(compact(encode(values[rows[first:last], start:stop], keys)))
    return join(parts, keys, small=True)


def take(form: Form, index: Ints) -> Form:
    """The form whose row r is row index[r] of another."""
    if isinstance(form, Bits):
        return Bits(form.words[index], form.keys)
    begin, count = form.offsets[index], np.diff(form.offsets)[index]
    taken = pieces(begin, count)
    offsets = np.zeros(index.size + 1, dtype=np.int64)
    np.cumsum(count, out=offsets[1:])
    return Ranges(offsets, form.low[taken], form.high[taken], form.keys)


def packed_words(form: Form, first: int, last: int) -> Bytes:
    """Rows first … last − 1 as the bytes of `Bits`."""
    if isinstance(form, Bits):
        return form.words[first:last]
    return np.packbits(form.dense(first, last, np.arange(*form.keys)), axis=1)


def as_bits(form: Form) -> Bits:
    """The same pairs as bits."""
    if isinstance(form, Bits):
        return form
    span = form.keys[1] - form.keys[0]
    words: Bytes = np.zeros((form.rows, (span + 7) // 8), dtype=np.uint8)
    for first, last in chunks(form.rows, span, _DENSE):
        words[first:last] = packed_words(form, first, last)
    return Bits(words, form.keys)


def as_ranges(form: Form) -> Ranges:
    """The same pairs as ranges."""
    if isinstance(form, Ranges):
        return form
    span = form.keys[1] - form.keys[0]
    blocks = chunks(form.rows, span, _DENSE)
    return _joined([encode(_unpacked(form.words[first:last], span), form.keys) for first, last in blocks], form.keys)


def compact(form: Form) -> Form:
    """The smaller of ranges and bits, in bytes."""
    return join([form], form.keys, small=True)


def join(parts: list[Form], keys: tuple[int, int], small: bool) -> Form:
    """Row blocks one under the other; the list is emptied. small: as ranges or bits, whichever needs fewer bytes."""
    rows = sum(part.rows for part in parts)
    if (
        small
        and parts
        and rows * ((keys[1] - keys[0] + 7) // 8) < 8 + sum(_bytes_as_ranges(part) - 8 for part in parts)
    ):
        words = [as_bits(part).words for part in parts]
        return Bits(words[0] if len(words) == 1 else np.concatenate(words), keys)
    ranges = [as_ranges(part) for part in parts]
    parts.clear()
    return _joined(ranges, keys)


def _joined(parts: list[Ranges], keys: tuple[int, int]) -> Ranges:
    if len(parts) == 1:
        return parts[0]
    offsets = np.zeros(1 + sum(part.rows for part in parts), dtype=np.int64)
    row = 0
    for part in parts:
        offsets[row + 1 : row + 1 + part.rows] = part.offsets[1:] + offsets[row]
        row += part.rows
    lows, highs = [part.low for part in parts], [part.high for part in parts]
    # The parts are let go one array at a time: at a million rows this saves a third of the peak.
    parts.clear()
    none = np.zeros(0, dtype=np.int64)
    low = np.concatenate((none, *lows))
    lows.clear()
    return Ranges(offsets, low, np.concatenate((none, *highs)), keys)


def _bytes_as_ranges(form: Form) -> int:
    if isinstance(form, Ranges):
        return form.nbytes
    starts = 0
    for first, last in chunks(form.rows, 8 * form.words.shape[1], _DENSE):
        seen = np.unpackbits(form.words[first:last], axis=1)
        starts += int(seen[:, :1].sum()) + int(np.count_nonzero(seen[:, 1:] > seen[:, :-1]))
    return 8 * (form.rows + 1) + 16 * starts


def _unpacked(words: Bytes, span: int) -> Bools:
    return np.unpackbits(words, axis=1, count=span).view(np.bool_)
