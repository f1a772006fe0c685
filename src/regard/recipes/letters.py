"""Networks that say the next letter: an LSTM, and a decoder of self-attention with a cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from regard.nn import Block, Decoder, MultiHead, rotary
from regard.terms.pattern import causal

__all__ = ["Attentive", "Recurrent", "Says", "spoken", "taught"]

DIM, HEADS, DEPTH, BATCH, LONGEST = 128, 4, 3, 6, 192
BUCKETS, PRIMES = 8192, (1, 31, 961)


class Says(Protocol):
    """What says the next letter, with or without what it has kept from the letters before."""

    def __call__(self, rows: Tensor, kept: Any = None) -> tuple[Tensor, Any]:
        """`[rows, letters]` → logits `[rows, letters, size]`, and what to keep."""


class _Letters(nn.Module):
    """What goes in: the last letter, the last two and the last three, by hash; what comes out: one of all letters."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.letter = nn.Embedding(size, DIM)
        self.groups = nn.ModuleList(nn.Embedding(BUCKETS, DIM) for _ in PRIMES[1:])
        self.end = nn.Linear(DIM, size)
        for table in (self.letter, *self.groups):
            nn.init.normal_(table.weight, std=0.5)

    def embedded(self, rows: Tensor, before: Tensor) -> Tensor:
        """`[rows, letters]`, the two letters before them `[rows, 2]` → `[rows, letters, dim]`."""
        longer = torch.cat((before, rows), 1)
        count, inputs = rows.shape[1], self.letter(rows)
        code = longer[:, 2:] * PRIMES[0]
        for back, table in enumerate(self.groups, 1):
            code = code + longer[:, 2 - back : 2 - back + count] * PRIMES[back] * 7919
            inputs = inputs + table(code % BUCKETS)
        return inputs  # type: ignore[no-any-return]


def _last(rows: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """The two letters before these, and the two last ones of all."""
    before = rows.new_zeros(len(rows), 2) if before is None else before
    return before, torch.cat((before, rows), 1)[:, -2:]


class Recurrent(_Letters):
    """An LSTM; it keeps its state."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.read, self.down = nn.LSTM(DIM, 2 * DIM, batch_first=True), nn.Linear(2 * DIM, DIM)

    def forward(self, rows: Tensor, kept: Any = None) -> tuple[Tensor, Any]:
        """`[rows, letters]` → logits `[rows, letters, size]`, and what to keep."""
        last, state = (None, None) if kept is None else kept
        before, last = _last(rows, last)
        inputs = self.embedded(rows, before)
        states, state = self.read(inputs, state)
        return self.end(inputs + self.down(states)), (last, state)


class Attentive(_Letters):
    """Blocks of causal self-attention, turned by position; they keep keys and values.

    `x ← x + attend(q_i, k_j, v_j | j ≤ i)`, then a network on each letter; q and k are turned by their places.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.blocks = Decoder(
            Block(MultiHead(DIM, HEADS, rule=causal(), rotary=rotary(DIM // HEADS)), hidden=2 * DIM)
            for _ in range(DEPTH)
        )

    def forward(self, rows: Tensor, kept: Any = None) -> tuple[Tensor, Any]:
        """`[rows, letters]` → logits `[rows, letters, size]`, and what to keep."""
        last, caches = (None, None) if kept is None else kept
        before, last = _last(rows, last)
        if caches is None and not self.training:
            caches = self.blocks.caches()
        return self.end(self.blocks(self.embedded(rows, before), caches=caches)), (last, caches)


def taught(model: nn.Module, text: Tensor, steps: int, rate: float, note: Callable[[str], None]) -> None:
    """By cross-entropy, on 6 pieces of 192 letters a step, drawn anywhere; the rate rises for a tenth, then falls."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    pace = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (0.1 * steps), max(0.02, (steps - step) / (0.9 * steps)))
    )
    for step in range(steps):
        rows = text[torch.randint(len(text) - LONGEST, (BATCH, 1)) + torch.arange(LONGEST + 1)]
        optimizer.zero_grad()
        logits, _ = model(rows[:, :-1])
        cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        pace.step()
        note(f"step {step + 1} of {steps}")
    model.eval()


@torch.no_grad()
def spoken(model: Says, begin: Tensor, count: int, *, keep: bool, seed: int) -> Tensor:
    """A text that goes on: every letter is drawn from what the model says.

    Args:
        model: in evaluation.
        begin: the letters to begin with, `[letters]`.
        count: how many to add.
        keep: whether what was kept is used again, or the whole text read anew for every letter.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    text, kept, new = begin, None, begin
    for _ in range(count):
        logits, kept = model(new[None] if keep else text[None], kept if keep else None)
        new = torch.multinomial(logits[0, -1].softmax(-1), 1, generator=generator)
        text = torch.cat((text, new))
    return text
