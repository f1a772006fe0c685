"""What a ring asks of the machines around it, and keys and values as one message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from regard.engines.ring.sharding import Run

__all__ = ["Exchange", "Held", "Pending", "joined", "packed", "unpacked"]


class Pending(Protocol):
    """A message on its way."""

    def wait(self) -> Tensor:
        """What has come, one axis; the sent message has left, too."""


class Exchange(Protocol):
    """Messages between ranks, point to point, which travel while the processor computes."""

    @property
    def rank(self) -> int:
        """This one."""

    @property
    def size(self) -> int:
        """How many ranks."""

    def swap(self, to: int, message: Tensor | None, source: int, count: int) -> Pending:
        """Send a message, one axis, if there is one, and receive `count` numbers of the dtype in use, if any."""


@dataclass(frozen=True)
class Held:
    """Keys and values of some runs of positions, ascending, at hand for a while.

    Args:
        runs: absolute positions.
        keys: `[..., kv_heads, positions, dim]`, one for each run.
        values: `[..., kv_heads, positions, value_dim]`.
    """

    runs: tuple[Run, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    def at(self, run: Run) -> tuple[Tensor, Tensor]:
        """Key and value of a run, which may reach over several that touch."""
        cuts = [
            (n, max(run[0], a) - a, min(run[1], b) - max(run[0], a))
            for n, (a, b) in enumerate(self.runs)
            if a < run[1] and b > run[0]
        ]
        key, value = (
            [whole[n].narrow(-2, first, length) for n, first, length in cuts] for whole in (self.keys, self.values)
        )
        return (key[0], value[0]) if len(cuts) == 1 else (torch.cat(key, -2), torch.cat(value, -2))

    def add(self, run: Run, key: Tensor | None, value: Tensor | None) -> None:
        """Add to key and value of a run, in place."""
        for whole, part in ((self.keys, key), (self.values, value)):
            if part is None:
                continue
            for (a, b), piece in zip(self.runs, whole, strict=True):
                first, end = max(run[0], a), min(run[1], b)
                if first < end:
                    piece.narrow(-2, first - a, end - first).add_(part.narrow(-2, first - run[0], end - first))

    def zeros(self, dtype: torch.dtype) -> Held:
        """Zeros of the same shapes, for sums."""
        keys, values = (
            tuple(torch.zeros(t.shape, dtype=dtype, device=t.device) for t in some) for some in (self.keys, self.values)
        )
        return Held(self.runs, keys, values)

    def of(self, runs: Sequence[Run]) -> Held:
        """Some of its runs."""
        places = [self.runs.index(run) for run in runs]
        return Held(tuple(runs), tuple(self.keys[n] for n in places), tuple(self.values[n] for n in places))


def joined(some: Sequence[Held]) -> Held:
    """Several as one, ascending."""
    rows = sorted(
        (row for held in some for row in zip(held.runs, held.keys, held.values, strict=True)), key=lambda row: row[0]
    )
    return Held(*(tuple(column) for column in zip(*rows, strict=True))) if rows else Held((), (), ())


def packed(held: Held, dtype: torch.dtype) -> Tensor | None:
    """All of it as one message of one axis, or None where there is no number in it, for which nobody waits."""
    parts = [part.to(dtype).reshape(-1) for part in (*held.keys, *held.values)]
    return torch.cat(parts) if any(part.numel() for part in parts) else None


def unpacked(message: Tensor, runs: Sequence[Run], key: Tensor, value: Tensor) -> Held:
    """A message as keys and values: views of it, in the shapes of `key` and `value` but for the positions."""
    lengths = [end - first for first, end in runs]
    shapes = [(*like.shape[:-2], n, like.shape[-1]) for like in (key, value) for n in lengths]
    parts = message.split([torch.Size(shape).numel() for shape in shapes])
    made = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    return Held(tuple(runs), tuple(made[: len(runs)]), tuple(made[len(runs) :]))
