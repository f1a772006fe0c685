"""The one measure by which head and query are chosen: the weight that a word sends to one other word, far away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.explain.tokens import Tokens

__all__ = ["Reach", "sampled"]

_WHOLE = 512
_BLOCKS, _BLOCK = 8, 32


@dataclass(frozen=True)
class Reach:
    """The measure for one text.

    `reach(i) = max_W Σ_{j ∈ W} w_ij` over words W that stand `apart` or more words from i; a head's reach is the mean
    over the tokens i that are words. Marks ([CLS], punctuation, where unneeded weight is parked) and, in a causal
    model, the first word (likewise) are no W.

    Args:
        words: `[tokens]`, the word each token belongs to, −1 for none.
        apart: how far a word must be; 3 leaves out the word itself and two neighbours on each side, which position
            alone would predict.
        first: the first word that counts.
        wordless: the text has no words, so that every token, special ones too, stands for one.
    """

    words: Tensor
    apart: int
    first: int
    wordless: bool = False

    @staticmethod
    def of(tokens: Tokens, causal: bool) -> Reach:
        """The measure for a text: in one whose words are less than 3 apart, the next best distance."""
        words = tokens.words
        wordless = int(words.max()) < 0
        if wordless:
            words = torch.arange(len(tokens))
        first = 1 if causal and int(words.max()) > 1 else 0
        return Reach(words, min(3, int(words.max()) - first), first, wordless)

    @property
    def formula(self) -> str:
        """The measure in one line."""
        far = f"{self.apart}+ words from i" if self.apart > 1 else "of the text"
        return f"reach(i) = max over words W {far}: Σ_{{j∈W}} w_ij; head: mean over i"

    @property
    def meaning(self) -> str:
        """The measure in words, with what it leaves out."""
        far = "one word far away" if self.apart > 1 else "one word"
        if self.wordless:
            return f"the share of its weight that a token i sends to {far}; the text has no words: every token is one"
        parked = ", and the first word, which causal models park weight on" if self.first else ""
        return (
            f"the share of its weight that a word i sends to {far}; W is never a special token or punctuation{parked}"
        )

    @property
    def candidates(self) -> Tensor:
        """`[tokens]`: True for the queries it is measured at."""
        found: Tensor = self.words >= 0
        return found

    def at(self, weights: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """`[heads, rows, keys]` weights of these rows → reach and the word reached, each `[heads, rows]`."""
        count = int(self.words.max()) + 1
        inside = self.words >= 0
        summed = torch.zeros(*weights.shape[:2], count, dtype=weights.dtype)
        summed.index_add_(2, self.words[inside], weights[..., inside])
        own = self.words[rows][:, None]
        word = torch.arange(count)
        far = ((own - word).abs() >= self.apart) & (word >= self.first)
        most, reached = summed.masked_fill(~far, 0.0).max(-1)
        return most, reached


def sampled(count: int, asked: list[int]) -> Tensor:
    """The rows that are measured: all of them, or of a long text some blocks, evenly spaced, and those asked for."""
    if count <= _WHOLE:
        return torch.arange(count)
    starts = torch.linspace(0, count - _BLOCK, _BLOCKS).long()
    blocks = (starts[:, None] + torch.arange(_BLOCK)).flatten()
    rows: Tensor = torch.cat([blocks, torch.tensor(asked, dtype=torch.int64)]).unique()
    return rows
