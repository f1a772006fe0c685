"""Models for long texts, the same but for what a place may look at; and how long they learn."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from regard.nn import Block, Encoder, MultiHead
from regard.nn.positions import sinusoidal
from regard.rule import Rule
from regard.terms.pattern import Pattern, padding

__all__ = ["Reader", "learned", "verdicts"]

DIM, HEADS, BATCH = 32, 2, 8
RATE, DECAY, WARM = 4e-3, 0.01, 0.1


class Reader(nn.Module):
    """Two blocks over an article; the verdict is read from a place in front of its words."""

    def __init__(self, size: int, kinds: int, pattern: Pattern) -> None:
        super().__init__()
        self.embed, self.drop = nn.Embedding(size + 1, DIM, padding_idx=0), nn.Dropout(0.2)
        rule = Rule(pattern=pattern)
        self.blocks = Encoder([Block(MultiHead(DIM, HEADS, rule=rule), hidden=2 * DIM) for _ in range(2)])
        self.end, self.front = nn.Linear(DIM, kinds), size

    def forward(self, rows: Tensor) -> Tensor:
        """`[texts, words]` → `[texts, kinds]`."""
        return self.end(self.drop(self.blocks(self.read(rows), pattern=padding(self._fronted(rows) > 0))[:, 0]))  # type: ignore[no-any-return]

    def read(self, rows: Tensor) -> Tensor:
        """What the first block sees, `[texts, 1 + words, 32]`."""
        rows = self._fronted(rows)
        return self.drop(self.embed(rows) + 0.1 * sinusoidal(rows.shape[1], DIM))  # type: ignore[no-any-return]

    def _fronted(self, rows: Tensor) -> Tensor:
        """The place of the verdict, then the words up to the last one of the longest."""
        words = rows[:, : max(1, int((rows > 0).sum(1).max()))]
        return torch.cat((words.new_full((len(words), 1), self.front), words), 1)


def learned(
    model: nn.Module, rows: Tensor, label: Tensor, train: Tensor, seconds: float, note: Callable[[str], None]
) -> int:
    """Train for so many seconds of processor time, the rate rising and falling with them; returns how many texts."""
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    began, read, order = time.process_time(), 0, train[:0]
    model.train()
    while (used := (time.process_time() - began) / seconds) < 1:
        if len(order) < BATCH:
            order = train[torch.randperm(len(train))]
        batch, order = order[:BATCH], order[BATCH:]
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(used / WARM, (1 - used) / (1 - WARM))
        optimizer.zero_grad()
        cross_entropy(model(rows[batch]), label[batch]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        read += len(batch)
        note(f"{used:.0%} of its {seconds:g} s")
    model.eval()
    return read


@torch.no_grad()
def verdicts(model: nn.Module, rows: Tensor, judged: Tensor) -> Tensor:
    """Its verdicts; texts of one length are read together."""
    order = judged[(rows[judged] > 0).sum(1).argsort()]
    told = torch.cat([model(rows[part]).argmax(-1) for part in order.split(BATCH)])
    return torch.empty(len(rows), dtype=torch.long).index_copy(0, order, told)[judged]
