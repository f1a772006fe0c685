"""Networks that read a sentence and give it a verdict: an LSTM, self-attention, and a pretrained encoder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from regard import data
from regard.nn import Block, Encoder, MultiHead
from regard.nn.positions import sinusoidal
from regard.recipes.pooling import Pooled
from regard.terms.pattern import padding

__all__ = ["LONGEST", "Attentive", "Pretrained", "Recurrent", "encoded", "trained", "verdicts", "vocabulary", "words"]

DIM, HEADS, LONGEST = 64, 4, 48


def words(text: str, longest: int = LONGEST) -> list[str]:
    """Its first words and marks in lower case; a Chinese sign is a word."""
    return re.findall(r"[a-z']+|[0-9]+|[^\sa-z0-9]", text.lower())[:longest]


def vocabulary(texts: Sequence[str], longest: int = LONGEST) -> dict[str, int]:
    """The words that stand at least twice, from 2 on; 0 is padding, 1 any other word."""
    often = Counter(word for text in texts for word in words(text, longest))
    return {word: 2 + place for place, word in enumerate(sorted(word for word in often if often[word] > 1))}


def encoded(texts: Sequence[str], known: dict[str, int], longest: int = LONGEST) -> Tensor:
    """Words as numbers, `[texts, longest]`."""
    rows = torch.zeros(len(texts), longest, dtype=torch.long)
    for row, text in zip(rows, texts, strict=True):
        found = [known.get(word, 1) for word in words(text, longest)]
        row[: len(found)] = torch.tensor(found)
    return rows


class Recurrent(nn.Module):
    """An LSTM in both directions, the mean of its states."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embed, self.drop = nn.Embedding(size, DIM, padding_idx=0), nn.Dropout(0.4)
        self.read = nn.LSTM(DIM, DIM, batch_first=True, bidirectional=True)
        self.end = nn.Linear(2 * DIM, 2)

    def forward(self, rows: Tensor) -> Tensor:
        """`[texts, words]` → `[texts, 2]`."""
        length = (rows > 0).sum(1).clamp(min=1)
        packed = nn.utils.rnn.pack_padded_sequence(
            self.drop(self.embed(rows)), length, batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(self.read(packed)[0], batch_first=True)
        return self.end(self.drop(states.sum(1) / length[:, None]))  # type: ignore[no-any-return]


class Attentive(nn.Module):
    """Two blocks of self-attention; one learned query looks at all words."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embed, self.drop = nn.Embedding(size, DIM, padding_idx=0), nn.Dropout(0.4)
        self.blocks = Encoder([Block(MultiHead(DIM, HEADS), hidden=2 * DIM, dropout=0.2) for _ in range(2)])
        self.pool, self.end = Pooled(DIM, HEADS), nn.Linear(DIM, 2)

    def forward(self, rows: Tensor) -> Tensor:
        """`[texts, words]` → `[texts, 2]`."""
        rows = rows[:, : max(1, int((rows > 0).sum(1).max()))]
        return self.end(self.drop(self.pool(self.read(rows), padding(rows > 0))))  # type: ignore[no-any-return]

    def read(self, rows: Tensor) -> Tensor:
        """What the query looks at, `[texts, words, 64]`."""
        place = sinusoidal(rows.shape[1], DIM)
        return self.blocks(self.drop(self.embed(rows) + 0.1 * place), pattern=padding(rows > 0))  # type: ignore[no-any-return]


class Pretrained(nn.Module):
    """MiniLM with regard in every layer, the mean of its states, and a layer on top.

    Errors: MissingError without its package or transformers.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__()
        data.extra("transformers", "transformers", "recipes")
        from regard.huggingface import serve

        loaded = data.load("minilm")
        self.body: Any = serve(loaded.model)
        self.body.requires_grad_(True)
        self.end = nn.Linear(self.body.config.hidden_size, 2)
        self.tokens: Any = loaded.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")

    def features(self, which: Tensor) -> Tensor:
        """The mean state of some of the texts, `[texts, 384]`."""
        here = self.tokens["attention_mask"][which]
        longest = int(here.sum(1).max())
        ids, here = self.tokens["input_ids"][which, :longest], here[:, :longest]
        states = self.body(input_ids=ids, attention_mask=here).last_hidden_state
        return (states * here[..., None]).sum(1) / here.sum(1, keepdim=True)  # type: ignore[no-any-return]

    def forward(self, which: Tensor) -> Tensor:
        """Numbers of texts `[texts]` → `[texts, 2]`."""
        return self.end(self.features(which))  # type: ignore[no-any-return]


def trained(
    model: nn.Module, rows: Tensor, label: Tensor, train: Tensor, epochs: int, rate: float,
    note: Callable[[str], None],
) -> None:  # fmt: skip
    """By cross-entropy, in batches of 32, the rate falling to nothing."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
    steps = epochs * -(-len(train) // 32)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    done = 0
    for _ in range(epochs):
        for batch in train[torch.randperm(len(train))].split(32):
            optimizer.zero_grad()
            cross_entropy(model(rows[batch]), label[batch]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += 1
            note(f"step {done} of {steps}")


@torch.no_grad()
def verdicts(model: nn.Module, rows: Tensor, judged: Tensor) -> Tensor:
    """Its verdicts."""
    model.eval()
    return torch.cat([model(rows[part]).argmax(-1) for part in judged.split(64)])
