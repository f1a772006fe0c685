"""A text in parts, some of which judge, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.recipes.splits import place

__all__ = ["Book", "judging", "numbered"]

HELD = 0.1


@dataclass(frozen=True)
class Book:
    """A text as numbers: what is learned, what judges, 0 for any letter that is not known; and the letters."""

    train: Tensor
    test: Tensor
    letters: list[str]


def judging(parts: Mapping[str, str], name: str) -> list[str]:
    """The names of the parts that judge."""
    return [part for part in parts if place(part, name) < HELD]


def numbered(parts: Mapping[str, str], name: str, most: int | None) -> Book:
    """A book in two, as numbers."""
    held = judging(parts, name)
    train = "".join(text for part, text in parts.items() if part not in held)[:most]
    letters = ["�", *sorted(set(train))]
    known = {letter: number for number, letter in enumerate(letters)}
    test = "".join(parts[part] for part in held)
    learned, judging_ = (torch.tensor([known.get(letter, 0) for letter in text]) for text in (train, test))
    return Book(learned, judging_, letters)
