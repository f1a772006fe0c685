"""Which word of one text is which of the other: links found, and how far they are from those made by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence

from torch import Tensor

from regard import data

__all__ = ["diagonal", "drawn", "error", "most"]

Links = set[tuple[int, int]]


def most(seen: Sequence[Tensor], verses: Sequence[data.Verse]) -> list[Links]:
    """Every word of the second text, with the one of the first that it looks at most."""
    cut = (one[: len(verse.english), : len(verse.greek)] for one, verse in zip(seen, verses, strict=True))
    return [{(key, word) for word, key in enumerate(one.argmax(-1).tolist())} for one in cut]


def diagonal(verse: data.Verse) -> Links:
    """Words at the same share of both texts."""
    scale = len(verse.greek) / len(verse.english)
    return {(int((word + 0.5) * scale), word) for word in range(len(verse.english))}


def drawn(verse: data.Verse, draws: random.Random) -> Links:
    """Each with one drawn evenly."""
    return {(draws.randrange(len(verse.greek)), word) for word in range(len(verse.english))}


def error(found: Sequence[Links], verses: Sequence[data.Verse]) -> float:
    """Alignment error, in percent; all links by hand are sure ones (Och & Ney 2003)."""
    both = sum(len(links & verse.links) for links, verse in zip(found, verses, strict=True))
    return 100 - 200 * both / sum(len(links) + len(verse.links) for links, verse in zip(found, verses, strict=True))
