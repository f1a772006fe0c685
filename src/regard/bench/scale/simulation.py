"""Machines that attend together, simulated step by step: who waits for whom, and what travels.

A machine computes one step at a time, `seconds = pairs · heads · 2 (dim + value_dim) / rate + overhead`. Its link sends
one message at a time and receives one at a time, at once, `seconds = latency + bytes / bandwidth`. As in the ring, the
message of step s is asked for when step s − 1 begins, by its sender as by its receiver; step s begins when the message
is there and step s − 1 is done. Where no machine needs more keys of others than it has, all are asked for at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from regard.distributed.cost import LAYOUTS

__all__ = ["CAUSAL", "LAYOUTS", "Layer", "Link", "Outcome", "Speed", "Steps", "simulated", "steps_of"]

Floats = npt.NDArray[np.float64]
CAUSAL = 0
"""In place of a window's width: every earlier key is seen."""


@dataclass(frozen=True)
class Layer:
    """One attention layer.

    Args:
        heads: query heads.
        kv_heads: key and value heads.
        dim: of a head, of query, key and value.
        width: bytes of a number.
    """

    heads: int = 32
    kv_heads: int = 8
    dim: int = 128
    width: int = 2

    @property
    def bytes(self) -> int:
        """Of one position's keys and values."""
        return 2 * self.kv_heads * self.dim * self.width


@dataclass(frozen=True)
class Link:
    """How machines are connected, as stated, not measured.

    Args:
        name: as it is spoken of.
        bandwidth: bytes a second, each way.
        latency: seconds.
    """

    name: str
    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Speed:
    """How fast a machine computes.

    Args:
        rate: floating-point operations a second of a part's forward pass.
        overhead: seconds of a step besides: another call, another merge.
    """

    rate: float
    overhead: float = 0.0


@dataclass(frozen=True)
class Steps:
    """Of every step and machine, `[steps, machines]`; only steps in which anything is seen.

    Args:
        machines: how many.
        length: positions in all.
        number: of every step: how far the keys' owner stands before.
        pairs: visible pairs of one head.
        keys: that come in.
    """

    machines: int
    length: int
    number: npt.NDArray[np.int64]
    pairs: Floats
    keys: Floats

    @cached_property
    def balance(self) -> float:
        """The mean machine's pairs as a share of the busiest one's."""
        own = self.pairs.sum(0)
        return float(own.mean() / own.max())


def steps_of(length: int, machines: int, window: int = CAUSAL) -> Steps:
    """A ring of zigzag shards, under `causal` or `causal & window`.

    Args:
        length: positions, a multiple of 2 · machines.
        machines: how many.
        window: how many keys a query sees at most; `CAUSAL` is all.
    """
    last, rank = 2 * machines - 1, np.arange(machines)
    pairs_at, keys_at = _apart(length / (2 * machines), last, window or length)
    number, pairs, keys = [], [], []
    for step in range(machines):
        owner = (rank - step) % machines
        seen, come = np.zeros(machines), np.zeros(machines)
        for chunk in (owner, last - owner):
            apart = [own - chunk for own in (rank, last - rank)]
            seen += sum(np.where(gap >= 0, pairs_at[np.maximum(gap, 0)], 0) for gap in apart)
            come += np.maximum.reduce([np.where(gap > 0, keys_at[np.maximum(gap, 0)], 0) for gap in apart])
        if not step or seen.any():
            number.append(step)
            pairs.append(seen)
            keys.append(come if step else np.zeros(machines))
    return Steps(machines, length, np.array(number), np.stack(pairs), np.stack(keys))


def _apart(chunk: float, most: int, window: int) -> tuple[Floats, Floats]:
    """Visible pairs, and keys that any query sees, of a chunk and one 0, 1, …, `most` chunks before it."""
    gap = np.arange(most + 1)
    reach = np.clip(window - 1 - (gap - 1) * chunk, 0, 2 * chunk)  # distances seen, of 2 · chunk − 1 that there are
    rest = 2 * chunk - reach
    pairs = np.where(reach <= chunk, reach * (reach + 1) / 2, chunk**2 - rest * (rest - 1) / 2)
    own = min(window, chunk)
    pairs[0] = own * chunk - own * (own - 1) / 2
    return pairs, np.minimum(reach, chunk)


@dataclass(frozen=True)
class Outcome:
    """What was simulated, of the slowest machine.

    Args:
        seconds: until all are done.
        computing: seconds of computation.
        travelling: seconds of messages.
        bytes: that come in.
        memory: bytes of keys and values, its own and those of others, that a machine holds at once.
    """

    seconds: float
    computing: float
    travelling: float
    bytes: float
    memory: float

    @property
    def hidden(self) -> float:
        """How much of the smaller of computing and travelling went on behind the other; < 0 where waits are longer."""
        smaller = min(self.computing, self.travelling)
        return 1.0 if smaller <= 0 else (self.computing + self.travelling - self.seconds) / smaller


def simulated(steps: Steps, layout: str, layer: Layer, speed: Speed, link: Link) -> Outcome | None:
    """A forward pass; None where a layout can't be: Ulysses with more machines than key heads."""
    own = steps.length / steps.machines * layer.bytes
    computing = steps.pairs * layer.heads * 4 * layer.dim / speed.rate + np.where(steps.pairs > 0, speed.overhead, 0)
    come = steps.keys * layer.bytes
    travelling = np.where(come > 0, link.latency + come / link.bandwidth, 0)
    most = float(come.sum(0).max())
    if layout == "ring":
        seconds = _ring(steps, computing, travelling)
        held = own + 2 * float(come.max())
        return Outcome(seconds, float(computing.sum(0).max()), float(travelling.sum(0).max()), most, held)
    if layout == "all-gather":
        arrived = float((come.sum(0) / link.bandwidth).max()) + link.latency * (steps.machines > 1)
        worked = float((steps.pairs.sum(0) * layer.heads * 4 * layer.dim / speed.rate).max()) + speed.overhead
        return Outcome(arrived + worked, worked, arrived, most, own + most)
    if layer.kv_heads % steps.machines:
        return None
    numbers = steps.length / steps.machines * layer.dim * 2 * (layer.heads + layer.kv_heads) * layer.width
    turned = numbers * (steps.machines - 1) / steps.machines
    worked = float(steps.pairs.sum() / steps.machines * layer.heads * 4 * layer.dim / speed.rate) + speed.overhead
    sent = 2 * link.latency + turned / link.bandwidth
    return Outcome(worked + sent, worked, sent, turned, 2 * own)


def _ring(steps: Steps, computing: Floats, travelling: Floats) -> float:
    if steps.keys.sum(0).max() * steps.machines <= steps.length:  # few keys: all come at once, behind the own ones
        return float((np.maximum(computing[0], travelling.sum(0)) + computing[1:].sum(0)).max())
    machines = np.arange(steps.machines)
    begun = np.zeros(steps.machines)
    done = computing[0].copy()
    received, sent = np.zeros(steps.machines), np.zeros(steps.machines)
    for n in range(1, len(steps.number)):
        source = (machines - steps.number[n]) % steps.machines
        start = np.maximum.reduce([begun, begun[source], received, sent[source]])
        arrived = np.where(travelling[n] > 0, start + travelling[n], begun)
        received = np.where(travelling[n] > 0, arrived, received)
        sent = sent.copy()
        sent[source] = np.maximum(sent[source], np.where(travelling[n] > 0, arrived, 0))
        begun = np.maximum(done, arrived)
        done = begun + computing[n]
    return float(done.max())
