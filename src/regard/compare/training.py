"""The same training for every model: as many steps, over the same sequences, judged by sequences it has never seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from regard.compare.models import Model
from regard.compare.tasks import Sample, Task

__all__ = ["Budget", "Learned", "learn"]

LEARNED = 0.9
"""The share of held-out answers from which on a task counts as learned."""

HELD = 1 << 32
"""Added to the seed of held-out sequences."""


@dataclass(frozen=True)
class Budget:
    """How much training.

    Args:
        length: positions in a sequence.
        steps: of the optimizer.
        batch: sequences in a step.
        rate: the highest learning rate: it rises over a tenth of the steps, and falls to nothing.
        held: sequences that judge.
        marks: how often they do so on the way.
    """

    length: int
    steps: int
    batch: int = 32
    rate: float = 3e-3
    held: int = 256
    marks: int = 10


@dataclass(frozen=True)
class Learned:
    """What came of it.

    Args:
        accuracy: the share of held-out answers that are right, at the end.
        curve: (step, this share), from the beginning.
    """

    accuracy: float
    curve: tuple[tuple[int, float], ...]

    @property
    def at(self) -> int | None:
        """The step from which on it had learned: at every later mark too; None for never."""
        at = None
        for step, share in reversed(self.curve):
            if share < LEARNED:
                break
            at = step
        return at


def learn(model: Model, task: Task, budget: Budget, seed: int, note: Callable[[str], None]) -> Learned:
    """Train a model in place.

    Args:
        model: a fresh one.
        task: what it learns.
        budget: how much.
        seed: of the sequences.
        note: told how far it is.
    """
    drawn = torch.Generator().manual_seed(seed)
    held = task.draw(budget.held, budget.length, torch.Generator().manual_seed(seed + HELD))
    optimizer = torch.optim.AdamW(model.parameters(), budget.rate)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, budget.rate, budget.steps, pct_start=0.1)
    curve = [(0, _accuracy(model, held))]
    for step in range(1, budget.steps + 1):
        sample = task.draw(budget.batch, budget.length, drawn)
        logits = model(sample.source, sample.prompt)
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits.flatten(0, 1), sample.target.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        if step * budget.marks // budget.steps > (step - 1) * budget.marks // budget.steps:
            curve.append((step, _accuracy(model, held)))
        note(f"step {step} of {budget.steps}, {curve[-1][1]:.0%} right")
    return Learned(curve[-1][1], tuple(curve))


@torch.no_grad()
def _accuracy(model: Model, held: Sample) -> float:
    return float((model(held.source, held.prompt).argmax(-1) == held.target).double().mean())
