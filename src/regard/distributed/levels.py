"""What rows of weights say by themselves, of all keys, joined from what they say of some."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from regard.engines.native import refusal
from regard.engines.ring import Round
from regard.looking import passes
from regard.problem import Problem
from regard.terms.normalize import NOTHING, visible_share

__all__ = ["Levels", "measured", "with_sink"]


@dataclass(frozen=True)
class Levels:
    """`[batch, heads, local queries]`, float64 until `with_sink`; all 0 in a row that sees no key, but for `full`.

    Args:
        full: log of the denominator, −∞ in a row that sees no key.
        mass: `Σ_j w_ij`.
        entropy: `−Σ_j w_ij log w_ij`.
        square: `Σ_j s_ij²`, s the weights over their mass.
        maximum: `max_j w_ij`.
        distance: `Σ_j s_ij |i − j|`.
        local: `Σ_{|i − j| ≤ within} w_ij`.
    """

    full: Tensor
    mass: Tensor
    entropy: Tensor
    square: Tensor
    maximum: Tensor
    distance: Tensor
    local: Tensor

    def joined(self, other: Levels) -> Levels:
        """Of both's keys, with shares a + b = 1: `H = a H_a + b H_b − a log a − b log b`, `S = a² S_a + b² S_b`."""
        full = torch.logaddexp(self.full, other.full)
        dead = full == NOTHING
        a, b = (torch.where(dead, 0, (part.full - torch.where(dead, 0, full)).exp()) for part in (self, other))
        return Levels(
            full=full,
            mass=torch.where(dead, 0, 1.0),
            entropy=a * self.entropy + b * other.entropy - torch.xlogy(a, a) - torch.xlogy(b, b),
            square=a * a * self.square + b * b * other.square,
            maximum=torch.maximum(a * self.maximum, b * other.maximum),
            distance=a * self.distance + b * other.distance,
            local=a * self.local + b * other.local,
        )

    def cat(self, other: Levels) -> Levels:
        """The rows of both."""
        return Levels(*(torch.cat(pair, -1) for pair in zip(self._all(), other._all(), strict=True)))

    def rows(self, some: slice) -> Levels:
        """Some rows."""
        return Levels(*(t[..., some] for t in self._all()))

    def _all(self) -> tuple[Tensor, ...]:
        return self.full, self.mass, self.entropy, self.square, self.maximum, self.distance, self.local


def measured(round: Round, within: int) -> Levels:
    """One round of the keys."""
    shard = round.shard
    totals = [_none(shard.frame(None), end - first) for first, end in shard.queries]
    for steps, held in round.stages():
        owners = [round.before(step) for step in steps]
        for run in range(len(shard.queries)):
            for keys in round.needs.of(run, owners):
                totals[run] = totals[run].joined(_of(shard.part(run, keys, held), within))
    whole = _none(shard.frame(None), 0)
    for total in totals:
        whole = whole.cat(total)
    return whole


def with_sink(levels: Levels, sink: float | Tensor | None) -> Levels:
    """A sink in the denominator: of its share m the weights keep 1 − m."""
    if sink is None:
        return levels
    logits = torch.as_tensor(sink, dtype=torch.float64)
    mass = visible_share(levels.full, logits)
    full = torch.where(levels.full == NOTHING, NOTHING, torch.logaddexp(levels.full, logits.reshape(-1, 1)))
    return replace(
        levels,
        full=full,
        mass=mass,
        entropy=mass * levels.entropy - torch.xlogy(mass, mass),
        maximum=mass * levels.maximum,
        local=mass * levels.local,
    )


def _of(problem: Problem, within: int) -> Levels:
    found = passes.rows(problem, refusal(problem) is None, 1, within)
    assert found.lse is not None
    square = torch.where(found.effective == 0, 0, 1 / found.effective)
    parts = (found.lse, found.mass, found.entropy, square, found.top.weights[..., 0], found.distance, found.local)
    return Levels(*(part.double() for part in parts))


def _none(frame: Problem, rows: int) -> Levels:
    zero = torch.zeros(frame.batch, frame.heads, rows, dtype=torch.float64)
    return Levels(zero + NOTHING, zero, zero, zero, zero, zero, zero)
