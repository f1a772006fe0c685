"""What was worked out lately, kept within a bound, and tensors as keys to find it by."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Contents", "Recent", "contents"]

V = TypeVar("V")
SAMPLE = 64
"""How many numbers of a tensor its hash is made of; equality asks them all."""


class Recent(Generic[V]):
    """Values by key, at most `count` of them and `nbytes` bytes; those not asked for the longest go first.

    Each step is one operation of a dict, so that threads need no lock, and a fork finds none taken.
    """

    def __init__(self, count: int, nbytes: int) -> None:
        self.count, self.nbytes = count, nbytes
        self._kept: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def held(self) -> int:
        """How many bytes are kept."""
        return sum(size for _, size in list(self._kept.values()))

    def clear(self) -> None:
        """Let all of it go."""
        self._kept.clear()

    def get(self, key: Hashable) -> V | None:
        """The value, now the latest; or None."""
        found = self._kept.get(key)
        if found is None:
            return None
        try:  # noqa: SIM105 (a context costs more than the rest)
            self._kept.move_to_end(key)
        except KeyError:  # another thread has let it go
            pass
        return found[0]

    def put(self, key: Hashable, value: V, nbytes: int) -> None:
        """Keep the value, unless it alone is beyond the bound."""
        if nbytes > self.nbytes:
            return
        self._kept[key] = value, nbytes
        while self._kept and (len(self._kept) > self.count or self.held > self.nbytes):
            with suppress(KeyError):  # another thread has emptied it
                self._kept.popitem(last=False)


class Contents:
    """Tensors as a key: equal where types, shapes and all numbers are, whichever tensors hold them.

    It looks at the tensors' own memory until `keep` makes it a copy.
    """

    __slots__ = ("_hash", "arrays")

    def __init__(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        self.arrays = tuple(arrays)
        self._hash = hash(tuple((a.dtype, a.shape, a.flat[:: a.size // SAMPLE + 1].tobytes()) for a in self.arrays))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Contents) or self._hash != other._hash or len(self.arrays) != len(other.arrays):
            return False
        pairs = zip(self.arrays, other.arrays, strict=True)
        return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)

    @property
    def nbytes(self) -> int:
        """The bytes of a copy."""
        return sum(array.nbytes for array in self.arrays)

    def keep(self) -> None:
        """From here on hold a copy, which later changes of the tensors don't reach."""
        self.arrays = tuple(array.copy() for array in self.arrays)


NOTHING = Contents(())


def contents(tensors: Sequence[Tensor]) -> Contents | None:
    """The tensors as a key; None where one has no numbers to read at once (on a device, followed by autograd, …)."""
    if not tensors:
        return NOTHING
    if any(type(t) is not Tensor or t.device.type != "cpu" or t.layout != torch.strided for t in tensors):
        return None
    try:
        return Contents([tensor.numpy() for tensor in tensors])
    except (RuntimeError, TypeError):
        return None
