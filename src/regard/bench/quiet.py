"""Was the machine ours alone while we measured?"""

from __future__ import annotations

import time
from dataclasses import dataclass

from regard.errors import MissingError, RegardError

__all__ = ["BusyError", "Reading", "disturbance", "disturbed", "reading"]

SHARE = 0.05
"""Of one core, for as long as a round lasts: what others may take."""
TICK = 0.03
"""Seconds: processors count the time of others in hundredths."""


class BusyError(RegardError):
    """Other processes disturbed the measurement again and again."""


@dataclass(frozen=True)
class Reading:
    """What has passed since some fixed moment, in seconds.

    Args:
        wall: on the clock.
        own: processor time of this process, all its threads.
        busy: processor time of all processes.
        stolen: processor time that a hypervisor gave to other machines.
    """

    wall: float
    own: float
    busy: float
    stolen: float


def reading() -> Reading:
    """The state of now."""
    try:
        import psutil
    except ImportError:
        raise MissingError("`regard bench` needs psutil; install it with: pip install 'regard[bench]'") from None
    times = psutil.cpu_times()
    kinds = ("user", "nice", "system", "irq", "softirq")
    busy = sum(getattr(times, kind, 0.0) for kind in kinds)
    return Reading(time.perf_counter(), time.process_time(), busy, getattr(times, "steal", 0.0))


def disturbance(before: Reading, after: Reading) -> float:
    """Processor time that others took between two readings, in seconds, never less than 0."""
    others = (after.busy - before.busy) - (after.own - before.own)
    return max(0.0, others) + max(0.0, after.stolen - before.stolen)


def disturbed(before: Reading, after: Reading) -> bool:
    """Whether others took more than `SHARE` of a core, beyond what counting in ticks makes of nothing."""
    return disturbance(before, after) > SHARE * (after.wall - before.wall) + TICK
