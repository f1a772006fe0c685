"""What a layout costs: bytes, FLOPs, links. A stated model, from which the layout is chosen.

    c_s = pairs_s · 2 (dim + value_dim) / flops + calls_s · overhead,    m(bytes) = latency + bytes / bandwidth
    ring        T = Σ_s max(c_s, m(bytes_{s+1}))
    all-gather  T = m(Σ_s bytes_s) + Σ_s c_s, but one call for each run of queries
    ulysses     T = 2 m(bytes of half the all-to-alls) + c of as many pairs, one call

pairs_s are a rank's visible pairs with the keys that come at step s. The slowest rank decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["LAYOUTS", "Machine", "Work", "seconds"]

LAYOUTS = ("ring", "all-gather", "ulysses")
"""In order of preference where they cost the same."""


@dataclass(frozen=True)
class Machine:
    """What the cost model takes one machine for; measure and say your own figures where they matter.

    Args:
        flops: floating-point operations a second of a forward pass.
        bandwidth: bytes a second that a machine sends while it receives as many.
        latency: seconds until a message has arrived, however short.
        overhead: seconds that one more call of the engine takes.
        room: bytes that gathered keys and values may take; beyond, all-gather is not chosen.
    """

    flops: float = 1e11
    bandwidth: float = 1.25e9
    latency: float = 5e-5
    overhead: float = 2e-4
    room: int = 1 << 28


@dataclass(frozen=True)
class Work:
    """One rank's work, by step.

    Args:
        flops: of the forward pass at each step.
        calls: of the engine at each step.
        bytes: that come in at each step, 0 at the first.
        turned: bytes that leave in the all-to-alls of `ulysses`.
        share: FLOPs of `ulysses` on a rank.
    """

    flops: Sequence[float]
    calls: Sequence[int]
    bytes: Sequence[int]
    turned: int
    share: float


def seconds(work: Work, machine: Machine) -> Mapping[str, float]:
    """Of the forward pass by each layout."""

    def computed(flops: float, calls: float) -> float:
        return flops / machine.flops + calls * machine.overhead

    def sent(count: float) -> float:
        return machine.latency + count / machine.bandwidth if count else 0.0

    steps = [computed(flops, calls) for flops, calls in zip(work.flops, work.calls, strict=True)]
    messages = [sent(count) for count in work.bytes]
    ring = sum(max(c, m) for c, m in zip(steps, [*messages[1:], 0.0], strict=True))
    gathered = sent(sum(work.bytes)) + computed(sum(work.flops), min(sum(work.calls), 2))
    return {
        "ring": ring,
        "all-gather": gathered,
        "ulysses": 2 * sent(work.turned / 2) + computed(work.share, 1),
    }
