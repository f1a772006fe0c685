"""What is asked about the weights, as the bytes that native/request.hpp reads, in the order of its fields."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from torch import Tensor

__all__ = ["Asked", "Pass", "asked", "grouping"]

_GROUPING = struct.Struct("10q")
_ROWS = ("entropy", "square", "distance", "local", "reach", "top", "top_weight", "top_key")
_SPANS = ("heads", "head_count", "first_query", "end_query", "first_key", "end_key")
_SUMS = ("received", "visible", "distances", "groupings", "grouping_count")
_FIELDS = (*_ROWS, *_SPANS, *_SUMS, "chosen", "chosen_count", "chosen_step", "weights")
_REQUEST = struct.Struct(f"{1 + len(_FIELDS)}q")


class Pass(IntEnum):
    """Which of the passes."""

    ROWS, SUMS, WEIGHTS, ENTRIES = range(4)


@dataclass(frozen=True)
class Asked:
    """The bytes of the request and of its groupings; what their addresses point into is held by the caller."""

    request: bytes
    groupings: bytes


def asked(kind: Pass, fields: Mapping[str, Tensor | int | None], groupings: Sequence[bytes] = ()) -> Asked:
    """The request: tensors, numbers and None by the names of the struct's fields; those that are missing are null."""
    assert fields.keys() <= set(_FIELDS), fields.keys()
    return Asked(_REQUEST.pack(kind, *(_word(fields.get(name)) for name in _FIELDS)), b"".join(groupings))


def grouping(
    queries: Tensor | None,
    keys: Tensor,
    classes: tuple[int, int],
    rows: Tensor | None,
    cells: Sequence[Tensor | None],
) -> bytes:
    """One grouping.

    Args:
        queries: the class of each query, `[batch or 1, queries]`.
        keys: the class of each key, `[batch or 1, keys]`.
        classes: how many classes of queries and of keys there are.
        rows: `[batch, heads, queries, key classes]`.
        cells: sum, greatest and pairs, `[batch, heads, query classes, key classes]`.
    """
    steps = (0 if t is None or t.shape[0] == 1 else t.shape[1] for t in (queries, keys))
    return _GROUPING.pack(_word(queries), _word(keys), *steps, *classes, _word(rows), *map(_word, cells))


def _word(field: Tensor | int | None) -> int:
    """An address, a number, or null."""
    if isinstance(field, Tensor):
        assert field.is_contiguous()
        return field.data_ptr()
    return field or 0
