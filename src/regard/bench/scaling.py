"""Time and memory against length: dense, a window, decoding."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regard.bench.case import Case, Pass, Shape
from regard.bench.competitors import BASE, ours
from regard.bench.measure import Effort, Spread, rounds
from regard.bench.task import Competitor, Task, Unable
from regard.rule import Rule
from regard.terms.pattern import window

__all__ = ["Point", "grown", "points"]

WIDTH = 256
MASK = 1 << 30
"""Bytes of an N × N mask of float32 numbers beyond which SDPA is not asked for one."""


@dataclass(frozen=True)
class Point:
    """One competitor at one length.

    Args:
        kind: "dense", "window" or "decode".
        name: who.
        length: how many keys.
        seconds: a call, or None where it was not timed.
        bytes: by which memory grew at its highest during a call, inputs not counted; None where it can't be read.
        why: why it was not timed, else empty.
        disturbed: how many rounds were disturbed.
    """

    kind: str
    name: str
    length: int
    seconds: Spread | None
    bytes: int | None
    why: str = ""
    disturbed: int = 0


def points(effort: Effort, note: Callable[[str], None], longest: int = 17) -> Iterator[Point]:
    """All of them, 1 head of 64 numbers (decoding: 32 heads on 8 of 128), forward.

    Args:
        effort: how long at each length.
        note: told what takes long.
        longest: the power of two up to which lengths go; dense ones end two before that.
    """
    native, few = Competitor("regard native", ours.native), replace(effort, least=3, seconds=effort.seconds / 4)
    for power in range(10, longest + 1):
        length = 1 << power
        line = Shape.square(1, 1, length, 64)
        some = {
            "window": Case("window", line, Rule(pattern=window(WIDTH))),
            "decode": Case("decode", Shape(1, 32, 8, 1, length, 128), Rule()),
        }
        if power <= longest - 2:
            some["dense"] = Case("dense", line, Rule())
        for kind, case in some.items():
            note(f"scaling: {kind} at {length}")
            yield from _at(kind, case, (native, BASE), few)


def _at(kind: str, case: Case, competitors: tuple[Competitor, ...], effort: Effort) -> Iterator[Point]:
    task, length = Task.random(case, Pass.FORWARD), case.shape.keys
    calls: dict[str, Callable[[], Any]] = {}
    for each in competitors:
        if kind == "window" and each is BASE and length * length * 4 > MASK:
            yield Point(kind, each.name, length, None, None, "its mask would be N × N, more than 1 GiB")
            continue
        try:
            calls[each.name] = each.prepare(task).call
        except Unable as unable:
            yield Point(kind, each.name, length, None, None, str(unable))
    taken = {name: grown(call) for name, call in calls.items()}
    timed = rounds(calls, effort)
    for name in calls:
        yield Point(kind, name, length, timed.spread(name), taken[name], disturbed=timed.disturbed)


def grown(call: Callable[[], Any]) -> int | None:
    """Bytes by which resident memory grew at its highest during a call, after one to warm up."""
    if sys.platform != "linux":
        return None
    call()
    ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    before = _resident("VmRSS")
    kept = call()
    del kept
    return max(0, _resident("VmHWM") - before)


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))
