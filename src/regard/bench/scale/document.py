"""The tables and the figure of what was simulated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from regard import plot
from regard.bench.scale.report import LAYER, LENGTHS, LINKS, MACHINES, OVERHEAD, Point, Report
from regard.bench.scale.simulation import LAYOUTS
from regard.errors import InputError

__all__ = ["page", "save"]

HEAD = """\
# Attention over 8 to 4,096 machines

**Simulated**, not run: no such machines were at hand. Written by `make scale`.

Measured: the rate of the kernels on one machine, {rate:.0f} GFLOP/s (bfloat16, {report.threads} threads), on
{report.processor}, {report.date}.

Stated: the links, {links}, each machine sending and receiving at once; {overhead:.1f} ms
for each step. The layer: {layer.heads} query heads, {layer.kv_heads} key heads, dim {layer.dim},
{layer.width} bytes a number. One forward pass of one layer.

The model (`regard/bench/scale/simulation.py`), over zigzag shards: a step takes pairs · heads · 4 dim / rate, a message
latency + bytes / bandwidth; the message of step s leaves when both its ends have begun step s − 1; step s begins when
the message is there and step s − 1 is done; few keys, as a window's, come all at once behind the own ones. All-gather
receives everything first. Ulysses turns heads in two all-to-alls and can't have more machines than key heads.
"""
CHECKS = """\
## The model beside real processes

Causal rings of real processes on this machine, over loopback, one thread each; rate, link and overhead measured by
the same processes at the same time, the overhead on a ring of two positions a process.

| processes | positions | measured | model | model / measured |
|--:|--:|--:|--:|--:|"""
UNITS = (("years", 31557600.0), ("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3))


def save(report: Report, folder: Path) -> None:
    """Write scale.md, scale.json and scale.svg.

    Errors: InputError for a folder that can't be written to.
    """
    try:
        (folder / "scale.md").write_text("\n".join(page(report)) + "\n", encoding="utf-8")
        (folder / "scale.json").write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")
        _draw(report, folder / "scale.svg")
    except OSError as error:
        raise InputError(f"--save {folder}: it can't be written ({error.strerror})") from error


def page(report: Report) -> Iterator[str]:
    """The document, line by line."""
    links = ", ".join(f"{link.name} with {1e6 * link.latency:.0f} µs" for link in LINKS)
    yield from HEAD.format(
        report=report, layer=LAYER, links=links, rate=report.rate / 1e9, overhead=1e3 * OVERHEAD
    ).split("\n")
    yield from _checked(report)
    for pattern in dict.fromkeys(point.pattern for point in report.points):
        for link in LINKS:
            yield from _table(report, pattern, link.name)
    yield "![time against length](scale.svg)"


def _checked(report: Report) -> Iterator[str]:
    yield from CHECKS.split("\n")
    for check in report.checks:
        times = f"{spoken(check.measured)} | {spoken(check.simulated)} | {check.ratio:.2f}"
        yield f"| {check.ranks} | {check.length:,} | {times} |"
    yield ""


def _table(report: Report, pattern: str, link: str) -> Iterator[str]:
    yield f"## {pattern}, {link}"
    yield ""
    yield "Time; in brackets the bytes of keys and values that a machine receives / holds; of the ring, how much of the"
    yield "smaller of computing and messages goes on behind the other; 0% also where steps cost more than it saves."
    yield ""
    yield "| machines | positions | ring | hidden | all-gather | ulysses |"
    yield "|--:|--:|--:|--:|--:|--:|"
    known = {(p.machines, p.length, p.layout): p for p in report.points if (p.pattern, p.link) == (pattern, link)}
    for machines in MACHINES:
        for length in LENGTHS:
            ring, *others = (known[machines, length, layout] for layout in LAYOUTS)
            hidden = "" if ring.outcome is None else f"{max(0.0, ring.outcome.hidden):.0%}"
            cells = [_cell(ring), hidden, *map(_cell, others)]
            yield f"| {machines:,} | {length:,} | {' | '.join(cells)} |"
    yield ""


def _cell(point: Point) -> str:
    found = point.outcome
    if found is None:
        return "—"
    return f"{spoken(found.seconds)} ({_bytes(found.bytes)} / {_bytes(found.memory)})"


def spoken(seconds: float) -> str:
    """Seconds in the unit that suits."""
    name, unit = next(((n, u) for n, u in UNITS if seconds >= u), UNITS[-1])
    return f"{seconds / unit:.3g} {name}"


def _bytes(count: float) -> str:
    for prefix in ("", "k", "M", "G", "T"):
        if count < 1000 or prefix == "T":
            break
        count /= 1000
    return f"{count:.3g} {prefix}B"


def _draw(report: Report, path: Path) -> None:
    from matplotlib import colormaps

    made = plot.figure(10, 4.5)
    patterns = list(dict.fromkeys(point.pattern for point in report.points))
    for place, pattern in enumerate(patterns):
        axes = made.add_subplot(1, len(patterns), place + 1)
        for n, machines in enumerate(MACHINES):
            for layout, style in zip(LAYOUTS, ("-", "--", ":"), strict=True):
                line = [
                    (p.length, p.outcome.seconds)
                    for p in report.points
                    if (p.pattern, p.link, p.machines, p.layout) == (pattern, LINKS[0].name, machines, layout)
                    and p.outcome
                ]
                if line:
                    colour = colormaps[plot.COLOURS](0.85 * n / (len(MACHINES) - 1))
                    axes.plot(*zip(*line, strict=True), style, color=colour, label=f"{machines:,}, {layout}")
        axes.set(xscale="log", yscale="log", xlabel="positions (log)", title=f"{pattern}, {LINKS[0].name}, simulated")
        axes.set_ylabel("seconds, forward (log)")
        axes.grid(linewidth=0.3)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="machines, layout")
    made.savefig(path)
