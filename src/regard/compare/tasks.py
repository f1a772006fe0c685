"""Work on which architectures differ: what is asked for stands far away, and where depends on the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from regard.errors import InputError

__all__ = ["SYMBOLS", "TASKS", "Sample", "Task", "task"]

SYMBOLS = 16
"""From which sources, values and answers are drawn; token 16 is the blank, keys follow."""

BLANK = SYMBOLS


class Sample(NamedTuple):
    """A batch: source and prompt `[batch, length / 2, parts]`, target `[batch, length / 2]`; parts share a position."""

    source: Tensor
    prompt: Tensor
    target: Tensor


Draw = Callable[[int, int, Generator], Sample]


@dataclass(frozen=True)
class Task:
    """Half of the positions are read, the other half answer.

    Args:
        name: as it is asked for.
        said: what is to be done.
        draw: makes a batch: (count, length, generator).
        keyed: whether there are keys, one for each position, besides the symbols.
    """

    name: str
    said: str
    draw: Draw
    keyed: bool = False

    def tokens(self, length: int) -> int:
        """How many different tokens there are in sequences of this length."""
        return BLANK + 1 + length * self.keyed


def _copy(count: int, length: int, generator: Generator) -> Sample:
    source = torch.randint(SYMBOLS, (count, length // 2), generator=generator)
    return Sample(source[..., None], torch.full_like(source, BLANK)[..., None], source)


def _reverse(count: int, length: int, generator: Generator) -> Sample:
    source, prompt, target = _copy(count, length, generator)
    return Sample(source, prompt, target.flip(-1))


def _recall(count: int, length: int, generator: Generator) -> Sample:
    """Half of the keys there are occur, each once; the prompt asks for some of them, in any order."""
    pairs = length // 2
    keys = torch.rand(count, length, generator=generator).argsort(-1)[:, :pairs] + BLANK + 1
    values = torch.randint(SYMBOLS, (count, pairs), generator=generator)
    asked = torch.randint(pairs, (count, pairs), generator=generator)
    prompt = torch.stack((keys.gather(1, asked), torch.full_like(keys, BLANK)), -1)
    return Sample(torch.stack((keys, values), -1), prompt, values.gather(1, asked))


TASKS = (
    Task("copy", "the answer is the source: each symbol stands half the length away", _copy),
    Task(
        "recall", "the source pairs keys with values; the prompt names keys, the answer is their values", _recall, True
    ),
    Task(
        "reverse", "the answer is the source backwards: symbols stand from next door to a whole length away", _reverse
    ),
)


def task(name: str) -> Task:
    """The task of this name.

    Errors: InputError for any other.
    """
    for each in TASKS:
        if each.name == name:
            return each
    raise InputError(f"--task must be one of {', '.join(each.name for each in TASKS)}, got {name!r}")
