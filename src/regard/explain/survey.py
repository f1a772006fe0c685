"""All heads of a model measured as it runs; the telling one is kept, with one layer's tensors and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import InputError
from regard.explain.reach import Reach, sampled
from regard.explain.seeing import Asked
from regard.explain.tokens import Tokens

__all__ = ["Choice", "Survey", "Wish"]


@dataclass(frozen=True)
class Wish:
    """What the user names; None leaves it to the measure."""

    layer: int | None = None
    head: int | None = None
    query: str | None = None


@dataclass(frozen=True)
class Choice:
    """The head and the query that are shown.

    Args:
        asked: the layer's tensors and rule.
        head: which head, from 0.
        query: which token, from 0.
        key: the token it reaches: of the word that it reaches, the one with the most weight.
        reach: the measure at this query.
        average: `[tokens]`, the mean weight that this head's queries give each key.
        matches: all tokens that the user's --query could mean.
    """

    asked: Asked
    head: int
    query: int
    key: int
    reach: float
    average: Tensor
    matches: tuple[int, ...]

    @property
    def layer(self) -> int:
        """Which layer, from 0."""
        return self.asked.layer


class Survey:
    """Told of every layer, it measures its heads and keeps the best of those that the user allows.

    Args:
        tokens: the text.
        wish: what the user names.
        note: told, in a few words, how far it is.
    """

    def __init__(self, tokens: Tokens, wish: Wish, note: Callable[[str], None]) -> None:
        self.tokens = tokens
        self.wish = wish
        self.matches = () if wish.query is None else tuple(tokens.find(wish.query))
        self.rows = sampled(len(tokens), list(self.matches))
        self.table: list[list[float]] = []
        self.reach: Reach | None = None
        self.best: Choice | None = None
        self.causal = False
        self._most = -1.0
        self._note = note

    def __call__(self, asked: Asked) -> None:
        """Measure one layer."""
        self._note(f"layer {asked.layer}")
        weights = asked.seen.rows(self.rows)[0]
        if self.reach is None:
            self.causal = not bool(weights[:, 0, 1:].any())
            self.reach = Reach.of(self.tokens, self.causal)
        found, words = self.reach.at(weights, self.rows)
        queries = self._queries(self.reach)
        measured = found[:, queries]
        heads = measured.amax(1) if self.matches else measured.mean(1)
        self.table.append(heads.tolist())
        head = self._head(heads, asked.layer)
        if head is not None:
            at = int(queries[measured[head].argmax()])
            key = self._strongest(weights[head, at], int(words[head, at]))
            average = weights[head][self.reach.candidates[self.rows]].mean(0)
            row = int(self.rows[at])
            self.best = Choice(asked, head, row, key, float(found[head, at]), average, self.matches)

    @property
    def choice(self) -> Choice:
        """The head and the query, or InputError where the user names what the model has not."""
        layers = len(self.table)
        if not layers:
            raise InputError("the model computed no attention that could be shown")
        if self.wish.layer is not None and not 0 <= self.wish.layer < layers:
            raise InputError(f"--layer must be 0 to {layers - 1} in this model, got {self.wish.layer}")
        heads = len(self.table[self.wish.layer]) if self.wish.layer is not None else max(map(len, self.table))
        if self.best is None:
            raise InputError(f"--head must be 0 to {heads - 1} in this model, got {self.wish.head}")
        return self.best

    def _queries(self, reach: Reach) -> Tensor:
        """Places in `rows` of the queries that are measured."""
        if self.matches:
            return torch.isin(self.rows, torch.tensor(self.matches)).nonzero().flatten()
        return reach.candidates[self.rows].nonzero().flatten()

    def _head(self, heads: Tensor, layer: int) -> int | None:
        """The layer's best head, where it is better than all before and the user allows it."""
        if self.wish.layer not in (None, layer):
            return None
        if self.wish.head is not None and not 0 <= self.wish.head < heads.numel():
            return None
        head = int(heads.argmax()) if self.wish.head is None else self.wish.head
        most = float(heads[head])
        if most <= self._most:
            return None
        self._most = most
        return head

    def _strongest(self, weights: Tensor, word: int) -> int:
        """Of the tokens of a word, the one with the most weight."""
        assert self.reach is not None
        inside = self.reach.words == word
        return int(weights.masked_fill(~inside, -1.0).argmax())
