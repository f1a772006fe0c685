"""Time and memory of one forward pass against length, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from regard.bench.measure import Effort, rounds
from regard.bench.scaling import grown
from regard.compare.models import Model

__all__ = ["Cost", "costs"]


@dataclass(frozen=True)
class Cost:
    """One model at one length.

    Args:
        name: whose.
        length: positions, half of them read, half of them answered.
        seconds: the median; None where it was not measured.
        bytes: by which memory grew at its highest; None where it can't be read.
        why: why it was not measured, else empty.
        disturbed: how many rounds other processes disturbed.
    """

    name: str
    length: int
    seconds: float | None
    bytes: int | None
    why: str = ""
    disturbed: int = 0


def costs(
    models: Mapping[str, Model], length: int, before: Mapping[str, Cost], longest: float, seed: int
) -> list[Cost]:
    """Every model at one length, round by round; one sequence, without gradients.

    Args:
        models: by name.
        length: how long.
        before: what each took at the length before; who would take too long is left out.
        longest: seconds a call.
        seed: of the tokens.
    """
    drawn = torch.Generator().manual_seed(seed)
    some = torch.randint(1 << 30, (2, 1, length // 2, 1), generator=drawn)
    calls: dict[str, Callable[[], Tensor]] = {}
    found: dict[str, Cost] = {}
    for name, model in models.items():
        why = _too_long(before.get(name), length, longest)
        if why:
            found[name] = Cost(name, length, None, None, why)
            continue
        source, prompt = some % model.embedding.num_embeddings
        calls[name] = partial(_read, model.eval(), source, prompt)
    taken = {name: grown(call) for name, call in calls.items()}
    timed = rounds(calls, Effort(least=3, most=15, seconds=longest, block=0.02, keep=True)) if calls else None
    for name in calls:
        assert timed is not None
        found[name] = Cost(name, length, timed.spread(name).middle, taken[name], disturbed=timed.disturbed)
    return [found[name] for name in models]


@torch.no_grad()
def _read(model: Model, source: Tensor, prompt: Tensor) -> Tensor:
    found: Tensor = model(source, prompt)
    return found


def _too_long(before: Cost | None, length: int, longest: float) -> str:
    """Why it is left out: if time grew with the square of length, it would take too long."""
    if before is None:
        return ""
    if before.seconds is None:
        return before.why
    guess = before.seconds * (length / before.length) ** 2
    return f"it may take {guess:.0f} s at {length}" if guess > longest else ""
