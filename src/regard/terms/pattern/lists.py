"""The lowered pattern: a few distinct forms, and which of them each batch entry and head uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regard.terms.pattern.build import as_ranges, crop, join
from regard.terms.pattern.ranges import Bits, Form, Ints, Ranges

__all__ = ["Lists", "shifted"]


@dataclass(frozen=True, eq=False)
class Lists:
    """forms[index[b, h]] is what batch entry b, head h sees; index is int64 [batch or 1, heads or 1]."""

    forms: tuple[Form, ...]
    index: Ints

    @classmethod
    def one(cls, form: Form) -> Lists:
        """The same form for every batch entry and head."""
        return cls((form,), np.zeros((1, 1), dtype=np.int64))

    @classmethod
    def each(cls, values: npt.NDArray[Any], make: Callable[[npt.NDArray[Any]], Form]) -> Lists:
        """`make(values[b, h])` for values [batch or 1, heads or 1, …], made once for equal values."""
        flat = values.reshape(values.shape[0] * values.shape[1], int(np.prod(values.shape[2:])))
        place: dict[bytes, int] = {}
        which = np.array([place.setdefault(row.tobytes(), len(place)) for row in flat], dtype=np.int64)
        _, first = np.unique(which, return_index=True)
        forms = tuple(make(values[divmod(int(at), values.shape[1])]) for at in first)
        return cls(forms, which.reshape(values.shape[:2]))

    @classmethod
    def chosen(cls, options: Sequence[Lists], which: Ints) -> Lists:
        """Entry (b, h) of options[which[b, h]]; which broadcasts to [batch, heads]."""
        shape = np.broadcast_shapes(which.shape, *(option.index.shape for option in options))
        starts = np.cumsum([0, *(len(option.forms) for option in options)])
        places = [option.index + start for option, start in zip(options, starts[:-1], strict=True)]
        every = np.stack([np.broadcast_to(place, shape) for place in places])
        index = np.take_along_axis(every, np.broadcast_to(which, shape)[None], axis=0)[0]
        forms = [form for option in options for form in option.forms]
        used, index = np.unique(index, return_inverse=True)
        return cls(tuple(forms[at] for at in used), index.reshape(shape).astype(np.int64))

    @classmethod
    def stacked(cls, blocks: Sequence[Lists], keys: tuple[int, int]) -> Lists:
        """Row blocks one under the other."""
        shape = np.broadcast_shapes((1, 1), *(block.index.shape for block in blocks))
        index = np.array([np.broadcast_to(block.index, shape).ravel() for block in blocks], dtype=np.int64)
        used, which = np.unique(index.reshape(len(blocks), -1), axis=1, return_inverse=True)
        forms = []
        for picks in used.T:
            parts = [block.forms[at] for block, at in zip(blocks, picks, strict=True)]
            forms.append(join(parts, keys, small=any(isinstance(part, Bits) for part in parts)))
        return cls(tuple(forms), which.reshape(shape).astype(np.int64))

    @property
    def nbytes(self) -> int:
        """The bytes of all forms and of the index."""
        return self.index.nbytes + sum(form.nbytes for form in self.forms)

    def pairs(self, batch: int, heads: int) -> int:
        """How many visible pairs in all, over `batch` entries of `heads` heads."""
        uses = np.bincount(np.broadcast_to(self.index, (batch, heads)).ravel(), minlength=len(self.forms))
        return sum(int(count) * form.pairs for count, form in zip(uses, self.forms, strict=True) if count)

    def form(self, batch: int, head: int) -> Form:
        """What one batch entry and head sees."""
        return self.forms[int(self.index[batch % self.index.shape[0], head % self.index.shape[1]])]

    def map(self, change: Callable[[Form], Form]) -> Lists:
        """`change` of every form."""
        return Lists(tuple(change(form) for form in self.forms), self.index)

    def combine(self, other: Lists, combined: Callable[[Form, Form], Form]) -> Lists:
        """`combined` of the two forms of every batch entry and head, computed once for equal pairs of forms."""
        codes = self.index * len(other.forms) + other.index
        used, which = np.unique(codes, return_inverse=True)
        pairs = [divmod(int(code), len(other.forms)) for code in used]
        forms = tuple(combined(self.forms[left], other.forms[right]) for left, right in pairs)
        return Lists(forms, which.reshape(codes.shape).astype(np.int64))


def shifted(form: Form, by: int, keys: tuple[int, int]) -> Form:
    """The form with every key moved by `by`, cut down to other existing keys."""
    ranges: Ranges = as_ranges(form)
    return crop(ranges.offsets, ranges.low + by, ranges.high + by, keys)
