"""The whole run as a value, as JSON and as the page RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from regard.bench.competitors import BASE
from regard.bench.looks import Looked
from regard.bench.machine import Machine
from regard.bench.models import Served
from regard.bench.result import Entry, Result
from regard.bench.scaling import Point
from regard.bench.text import spoken, verdict

__all__ = ["Report", "as_json", "page"]

METHOD = """\
All competitors of a case run side by side in one process, round by round in a new order, on the same random numbers;
each is checked against the reference in float64 before it is timed. Times are medians over rounds; ratios are medians
of the ratios within a round, larger is faster than BASE. Rounds in which other processes took more than 5 % of a
core, or at whose beginning or end the processor did its products more than 8 % slower than at best within three
minutes, are rejected and repeated. Work is counted over visible pairs: 2 · pairs · (dim + value_dim) FLOP forward,
2.5 times that backward; where reading bounds a case, its bytes in and out, and the ceiling reads as many. Ceilings
are measured in the same rounds."""


@dataclass(frozen=True)
class Report:
    """All that a run measured.

    Args:
        machine: on what.
        date: when, ISO 8601.
        command: what was typed.
        results: the cases.
        looked: the statistics.
        points: the scaling.
        served: the models.
        left_out: what was not asked for.
        busy: whether disturbed rounds were kept.
    """

    machine: Machine
    date: str
    command: str
    results: tuple[Result, ...]
    looked: tuple[Looked, ...]
    points: tuple[Point, ...]
    served: tuple[Served, ...]
    left_out: tuple[str, ...] = ()
    busy: bool = False

    @property
    def quotable(self) -> bool:
        """Whether no disturbed round was kept."""
        counts = [each.disturbed for part in (self.results, self.looked, self.points, self.served) for each in part]
        return not (self.busy and any(counts))


def as_json(report: Report) -> dict[str, Any]:
    """Plain values: what is in the fields, rules and types as they print."""
    return {
        "machine": asdict(report.machine),
        "date": report.date,
        "command": report.command,
        "quotable": report.quotable,
        "results": [_result(result) for result in report.results],
        "statistics": [asdict(each) for each in report.looked],
        "scaling": [asdict(point) for point in report.points],
        "models": [asdict(each) for each in report.served],
        "not_measured": dict.fromkeys(report.left_out, "not asked for"),
    }


def _result(result: Result) -> dict[str, Any]:
    case = result.case
    return {
        "case": case.name,
        "shape": asdict(case.shape),
        "dtype": str(case.dtype).removeprefix("torch."),
        "rule": repr(case.rule),
        "pass": result.which.value,
        "threads": result.threads,
        "work": result.work,
        "ceiling": None if result.ceiling is None else {"name": result.ceiling[0], "rate": result.ceiling[1]},
        "over_plainer": result.over_plainer,
        "rounds": result.rounds,
        "disturbed": result.disturbed,
        "disturbed_kept": result.kept,
        "entries": [asdict(entry) for entry in result.entries],
    }


def page(report: Report) -> str:
    """RESULTS.md."""
    parts = [*_head(report), *_table(report), *_looks(report), *_scaling(report), *_models(report), *_blocks(report)]
    return "\n".join(parts) + "\n"


def _head(report: Report) -> Iterator[str]:
    here = report.machine
    yield "# What was measured\n"
    if not report.quotable:
        yield "**This run was disturbed and such rounds were kept: these numbers are not to be quoted.**\n"
    yield f"Written by `{report.command}` on {report.date}; not by hand.\n"
    yield f"{here.processor}; {here.cores} cores; kernels {here.isa}; {here.system}.  "
    yield ", ".join(f"{name} {version}" for name, version in here.versions.items()) + ".\n"
    yield METHOD.replace("BASE", BASE.name) + "\n"
    if report.left_out:
        yield f"Not asked for: {', '.join(report.left_out)}.\n"


def _table(report: Report) -> Iterator[str]:
    if not report.results:
        return
    names = list(dict.fromkeys(entry.name for result in report.results for entry in result.entries))
    yield f"## Times as fast as {BASE.name}\n"
    yield "| case | pass | threads | " + " | ".join(names) + " | × plainer |"
    yield "|---|---|---|" + "---|" * (len(names) + 1)
    for result in report.results:
        cells = [_ratio(result.entry(name)) for name in names]
        over = "" if result.over_plainer is None else f"{result.over_plainer:.2f}"
        yield f"| {result.case.name} | {result.which.value} | {result.threads} | {' | '.join(cells)} | {over} |"
    yield "\n–: not timed; the reasons stand with each case below.\n"


def _ratio(entry: Entry | None) -> str:
    if entry is None:
        return ""
    if entry.seconds is None:
        return "–"
    share = "" if entry.share is None else f" ({entry.share:.0%})"
    return (spoken(entry.seconds.middle) if entry.ratio is None else f"{entry.ratio:.2f}") + share


def _looks(report: Report) -> Iterator[str]:
    if not report.looked:
        return
    yield "## Statistics of the weights, beside the forward pass\n"
    yield "| statistic | numbers | threads | time | × forward |"
    yield "|---|---|---|---|---|"
    for each in report.looked:
        time = each.why if each.seconds is None else spoken(each.seconds.middle)
        ratio = "" if each.over_forward is None else f"{each.over_forward:.2f}"
        yield f"| {each.what} | {each.dtype} | {each.threads} | {time} | {ratio} |"
    yield ""


def _scaling(report: Report) -> Iterator[str]:
    if not report.points:
        return
    yield "## Against length\n"
    yield "| kind | length | who | time | time for a key | memory |"
    yield "|---|---|---|---|---|---|"
    for point in sorted(report.points, key=lambda p: (p.kind, p.name, p.length)):
        if point.seconds is None:
            yield f"| {point.kind} | {point.length} | {point.name} | {point.why} | | |"
            continue
        memory = "can't be read here" if point.bytes is None else f"{point.bytes / 2**20:.1f} MiB"
        each = f"{spoken(point.seconds.middle)} | {point.seconds.middle / point.length * 1e9:.1f} ns | {memory}"
        yield f"| {point.kind} | {point.length} | {point.name} | {each} |"
    yield ""


def _models(report: Report) -> Iterator[str]:
    if not report.served:
        return
    yield "## Models of transformers\n"
    yield "| job | regard | SDPA | times as fast |"
    yield "|---|---|---|---|"
    for each in report.served:
        if each.regard is None or each.sdpa is None or each.ratio is None:
            yield f"| {each.job} | {each.why} | | |"
        else:
            times = f"{spoken(each.regard.middle)} | {spoken(each.sdpa.middle)}"
            yield f"| {each.job} | {times} | {each.ratio:.2f} |"
    yield ""


def _blocks(report: Report) -> Iterator[str]:
    for result in report.results:
        bound = f"; ceiling {result.ceiling[0]}" if result.ceiling else ""
        yield f"### {result.case.name}, {result.which.value}, {result.threads} threads\n"
        yield f"`{result.case}`{bound}. {verdict(result)}.\n"
        yield "| | median | quartiles | × SDPA | of the ceiling | error |"
        yield "|---|---|---|---|---|---|"
        for entry in result.entries:
            if entry.seconds is None:
                yield f"| {entry.name} | {entry.why} | | | | |"
                continue
            spread = entry.seconds
            ratio = "" if entry.ratio is None else f"{entry.ratio:.2f}"
            share = "" if entry.share is None else f"{entry.share:.1%}"
            error = "" if not entry.error else f"{entry.error:.0e}"
            quartiles = f"{spoken(spread.low)} – {spoken(spread.high)}"
            yield f"| {entry.name} | {spoken(spread.middle)} | {quartiles} | {ratio} | {share} | {error} |"
        yield ""
