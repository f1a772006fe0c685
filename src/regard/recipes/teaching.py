"""How networks that write are taught and judged: signs as numbers, training, loss, what they write by themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

__all__ = [
    "BEGIN",
    "END",
    "PAD",
    "RARE",
    "Plan",
    "Writes",
    "begun",
    "known",
    "lengths",
    "numbered",
    "surprise",
    "taught",
    "written",
]

PAD, BEGIN, END, RARE = range(4)
HIDDEN = 0.3


@dataclass(frozen=True)
class Plan:
    """How a network is taught.

    Args:
        epochs: how often each row is seen.
        rate: the highest.
        batch: how many rows at a time.
    """

    epochs: int
    rate: float
    batch: int = 16


class Writes(Protocol):
    """What reads one row of signs and writes another."""

    def read(self, source: Tensor) -> Tensor:
        """What there is to look at: `[rows, keys, parts]` → `[rows, keys, ·]`."""

    def states(self, memory: Tensor, real: Tensor, target: Tensor) -> Tensor:
        """What is known after each of the signs that are written: `[rows, signs]` → `[rows, signs, ·]`."""

    def logits(self, states: Tensor) -> Tensor:
        """`[..., ·]` → `[..., size]`, of the next sign."""


def known(rows: Iterable[Sequence[str]], least: int = 1) -> dict[str, int]:
    """The signs that stand at least so often, numbered from 4 on."""
    often = Counter(sign for row in rows for sign in row)
    return {sign: RARE + 1 + place for place, sign in enumerate(sorted(one for one in often if often[one] >= least))}


def numbered(rows: Sequence[Sequence[str]], signs: dict[str, int], *, end: bool = False) -> Tensor:
    """Rows as numbers, `[rows, longest]`, each with END where `end` says so."""
    made = torch.zeros(len(rows), max(map(len, rows)) + end, dtype=torch.long)
    for row, some in zip(made, rows, strict=True):
        found = [signs.get(sign, RARE) for sign in some] + [END] * end
        row[: len(found)] = torch.tensor(found)
    return made


def lengths(source: Tensor) -> Tensor:
    """How many signs each row has, `[rows]`."""
    return (source[..., 0] != PAD).sum(1)


def begun(target: Tensor) -> Tensor:
    """What stands before each sign, `[rows, signs]`."""
    return torch.cat((torch.full((len(target), 1), BEGIN), target[:, :-1]), 1)


def taught(model: nn.Module, source: Tensor, target: Tensor, plan: Plan, note: Callable[[str], None]) -> None:
    """By cross-entropy, in batches of rows of like length; the rate rises for a tenth of the time, then falls.

    Of the signs that are written already three tenths are hidden, so that the next one must be found in the source
    (Bowman et al. 2016); without it attention is learned much later.

    Args:
        model: a `Writes`.
        source: `[rows, keys, parts]`.
        target: `[rows, signs]`.
        plan: how long and how fast.
        note: told how far it is.
    """
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), plan.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    total = plan.epochs * -(-len(target) // plan.batch)
    pace = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (0.1 * total), max(0.02, (total - step) / (0.9 * total)))
    )
    done = 0
    for _ in range(plan.epochs):
        parts = ((target != PAD).sum(1) + 3 * torch.rand(len(target))).argsort().split(plan.batch)
        for part in torch.randperm(len(parts)).tolist():
            optimizer.zero_grad()
            here = _cut(source[parts[part]], target[parts[part]])
            before = begun(here[1])
            hidden = before.masked_fill(torch.rand(before.shape) < HIDDEN, RARE)
            _loss(model, *here, hidden).mean().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            pace.step()
            done += 1
            note(f"step {done} of {total}")
    model.eval()


def _cut(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Without the columns that are padding in all rows."""
    return source[:, : int(lengths(source).max())], target[:, : int((target != PAD).sum(1).max())]


def _loss(model: nn.Module, source: Tensor, target: Tensor, before: Tensor) -> Tensor:
    """Of every sign that is none of padding, `[signs]`."""
    here = target != PAD
    states = model.states(model.read(source), lengths(source), before)  # type: ignore[operator]
    return cross_entropy(model.logits(states[here]), target[here], reduction="none")  # type: ignore[operator]


@torch.no_grad()
def surprise(model: nn.Module, source: Tensor, target: Tensor) -> float:
    """The mean loss of a sign, in nats."""
    parts = [_cut(*part) for part in zip(source.split(128), target.split(128), strict=True)]
    return float(torch.cat([_loss(model, *part, begun(part[1])) for part in parts]).mean())


@torch.no_grad()
def written(model: Writes, source: Tensor, longest: int) -> Tensor:
    """The likeliest sign at each step, `[rows, longest]`; PAD after END."""
    made = []
    for part in source.split(128):
        memory, real = model.read(part), lengths(part)
        out, done = torch.full((len(part), 1), BEGIN), torch.zeros(len(part), dtype=torch.bool)
        for _ in range(longest):
            sign = model.logits(model.states(memory, real, out)[:, -1]).argmax(-1)
            out = torch.cat((out, sign.masked_fill(done, PAD)[:, None]), 1)
            done |= sign == END
        made.append(out[:, 1:])
    return torch.cat(made)
