"""Which word of one text is which of the other: links found, and how far they are from those made by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from regard import data

__all__ = ["diagonal", "drawn", "english", "error", "likeliest", "likely", "most"]

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


def likely(verses: Sequence[data.Verse], rounds: int = 8) -> dict[tuple[str, str], float]:
    """IBM model 1: t(e | g), how likely a word translates a lemma, wherever both stand; links are not looked at.

    `p(g | e, verse) = t(e | g) / Σ_g' t(e | g')`, then `t(e | g) = Σ_verses p(g | e, verse)`, over its sum over e;
    from the same for all.

    Source: Brown et al. 1993, "The Mathematics of Statistical Machine Translation".
    """
    lemmas = sorted({sign for verse in verses for sign in verse.lemmas})
    words = sorted({sign for verse in verses for sign in english(verse)})
    lemma, word = ({sign: number for number, sign in enumerate(some)} for some in (lemmas, words))
    meetings = [(one, other) for verse in verses for other in english(verse) for one in verse.lemmas]
    codes = torch.tensor([lemma[one] * len(words) + word[other] for one, other in meetings])
    lengths = [len(verse.lemmas) for verse in verses for _ in verse.english]
    owner = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    pair, place = codes.unique(return_inverse=True)
    of, share = pair // len(words), torch.ones(len(pair), dtype=torch.float64)
    for _ in range(rounds):
        found = share[place] / _summed(share[place], owner, len(lengths))[owner]
        count = _summed(found, place, len(pair))
        share = count / _summed(count, of, len(lemmas))[of]
    names = ((lemmas[code // len(words)], words[code % len(words)]) for code in pair.tolist())
    return dict(zip(names, share.tolist(), strict=True))


def likeliest(known: dict[tuple[str, str], float], verse: data.Verse) -> Links:
    """Every word with the lemma that it is likeliest a translation of; of equal ones that nearest the diagonal."""
    scale, made = len(verse.greek) / len(verse.english), set()
    for number, word in enumerate(english(verse)):
        near = [abs(key + 0.5 - (number + 0.5) * scale) for key in range(len(verse.greek))]
        order = [(known.get((lemma, word), 0.0), -far) for lemma, far in zip(verse.lemmas, near, strict=True)]
        made.add((order.index(max(order)), number))
    return made


def english(verse: data.Verse) -> list[str]:
    """The words of the second text, in small letters."""
    return [word.lower() for word in verse.english]


def _summed(numbers: Tensor, owner: Tensor, count: int) -> Tensor:
    return torch.zeros(count, dtype=numbers.dtype).index_add(0, owner, numbers)


def error(found: Sequence[Links], verses: Sequence[data.Verse]) -> float:
    """Alignment error, in percent; all links by hand are sure ones (Och & Ney 2003)."""
    both = sum(len(links & verse.links) for links, verse in zip(found, verses, strict=True))
    return 100 - 200 * both / sum(len(links) + len(verse.links) for links, verse in zip(found, verses, strict=True))
