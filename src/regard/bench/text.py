"""Results at the terminal, 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import fill

from regard.bench.looks import Looked
from regard.bench.machine import Machine
from regard.bench.measure import Spread
from regard.bench.models import Served
from regard.bench.result import CEILING, Entry, Result
from regard.bench.scaling import Point

__all__ = ["heading", "lines", "looks", "models", "scaling", "spoken", "verdict"]

WIDTH = 80
_NAME = 18


def heading(here: Machine) -> str:
    """What everything below was measured on."""
    versions = ", ".join(f"{name} {version}" for name, version in here.versions.items())
    said = f"{here.processor}; {here.cores} cores; kernels: {here.isa}; {here.system}"
    return "\n".join(fill(line, WIDTH, subsequent_indent="  ") for line in (said, versions))


def lines(result: Result) -> Iterator[str]:
    """One block: the case, and a line for every competitor."""
    yield from fill(str(result.case), WIDTH, subsequent_indent="  ").splitlines()
    threads = f"{result.threads} thread{'s' * (result.threads > 1)}"
    bound = f"; {CEILING}: {result.ceiling[0]}" if result.ceiling else ""
    yield from fill(f"  {result.which.value}, {threads}{bound}", WIDTH, subsequent_indent="    ").splitlines()
    yield f"    {'':<{_NAME}}{'median':>10}  {'quartiles':<19}{'× SDPA':>8}  {CEILING:>7}"
    for entry in result.entries:
        yield from _line(entry)
    if result.over_plainer is not None:
        yield f"    regard native takes {result.over_plainer:.2f} times what it takes without the term"
    yield from fill(verdict(result), WIDTH, initial_indent="    ", subsequent_indent="    ").splitlines()


def verdict(result: Result) -> str:
    """How quiet the machine was."""
    if not result.disturbed:
        return f"{result.rounds} rounds, none disturbed"
    if result.kept:
        return f"{result.rounds} rounds, {result.disturbed} DISTURBED and kept: not to be quoted"
    return f"{result.rounds} rounds; {result.disturbed} more were disturbed and rejected"


def spoken(seconds: float) -> str:
    """A time in four figures or fewer."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _line(entry: Entry) -> Iterator[str]:
    if entry.seconds is None:
        text = f"    {entry.name:<{_NAME}}– {entry.why}"
        yield from fill(text, WIDTH, subsequent_indent=" " * (6 + _NAME), break_on_hyphens=False).splitlines()
        return
    ratio = "" if entry.ratio is None else f"{entry.ratio:.2f}"
    share = "" if entry.share is None else f"{entry.share:.1%}"
    quartiles = _quartiles(entry.seconds)
    yield f"    {entry.name:<{_NAME}}{spoken(entry.seconds.middle):>10}  {quartiles:<19}{ratio:>8}  {share:>7}"


def _quartiles(seconds: Spread) -> str:
    return f"{spoken(seconds.low)} – {spoken(seconds.high)}"


def looks(looked: Sequence[Looked]) -> Iterator[str]:
    """Statistics of the weights; ! where rounds were disturbed."""
    yield f"{'statistics':<24}{'':<10}{'threads':>8}{'median':>12}{'× forward':>12}"
    for each in looked:
        start = f"  {each.what:<22}{each.dtype:<10}{each.threads:>8}"
        if each.seconds is None:
            yield from fill(f"{start}  – {each.why}", WIDTH, subsequent_indent="    ").splitlines()
            continue
        ratio = "" if each.over_forward is None else f"{each.over_forward:.2f}"
        yield f"{start}{spoken(each.seconds.middle):>12}{ratio:>12}{_mark(each.disturbed)}"


def scaling(points: Sequence[Point]) -> Iterator[str]:
    """Time and memory against length; ! where rounds were disturbed."""
    yield f"{'against length':<16}{'keys':>8}  {'':<{_NAME}}{'median':>10}{'ns a key':>11}{'memory':>13}"
    for point in sorted(points, key=lambda each: (each.kind, each.name, each.length)):
        start = f"  {point.kind:<14}{point.length:>8}  {point.name:<{_NAME}}"
        if point.seconds is None:
            yield from fill(f"{start}– {point.why}", WIDTH, subsequent_indent=" " * 28).splitlines()
            continue
        memory = "unknown" if point.bytes is None else f"{point.bytes / 2**20:.1f} MiB"
        each = point.seconds.middle / point.length * 1e9
        yield f"{start}{spoken(point.seconds.middle):>10}{each:>11.1f}{memory:>13}{_mark(point.disturbed)}"


def models(served: Sequence[Served]) -> Iterator[str]:
    """Whole models; ! likewise."""
    yield f"{'models':<40}{'regard':>10}{'SDPA':>12}{'× SDPA':>10}"
    for each in served:
        if each.regard is None or each.sdpa is None or each.ratio is None:
            yield from fill(f"  {each.job}: {each.why}", WIDTH, subsequent_indent="    ").splitlines()
            continue
        times = f"{spoken(each.regard.middle):>10}{spoken(each.sdpa.middle):>12}{each.ratio:>10.2f}"
        yield f"  {each.job:<38}{times}{_mark(each.disturbed)}"


def _mark(disturbed: int) -> str:
    return " !" if disturbed else ""
