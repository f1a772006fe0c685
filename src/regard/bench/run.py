"""The whole benchmark, from a wish to a report."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from regard.bench import calibrate, document, picture, text
from regard.bench.case import Case
from regard.bench.cases import cases
from regard.bench.document import Report
from regard.bench.looks import Looked, looks
from regard.bench.machine import machine
from regard.bench.measure import Effort
from regard.bench.models import Served, served
from regard.bench.pace import Pace
from regard.bench.result import Result, measured
from regard.bench.scaling import Point, points
from regard.calibration import Calibration
from regard.calibration import save as save_calibration
from regard.errors import InputError

__all__ = ["PARTS", "Wish", "bench", "calibrated", "kept", "saved"]

BRIEF = ("dense-64", "causal", "window", "decode", "tiny")
"""The cases of a quick look."""

PARTS = ("statistics", "scaling", "models")
"""What is no case, and can be asked for by name as well."""

QUICK, SHRINK = Effort(least=3, most=5, seconds=0.3, block=0.005), 16


@dataclass(frozen=True)
class Wish:
    """What to measure.

    Args:
        names: of cases and parts; empty for all.
        threads: how many, one number after the other; empty for one and all.
        quick: short sequences, few rounds; where no names are given, few cases.
        busy: whether disturbed rounds are kept, and marked.
    """

    names: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    quick: bool = False
    busy: bool = False

    @property
    def effort(self) -> Effort:
        """How long; a new memory of the processor's pace."""
        return replace(QUICK if self.quick else Effort(), keep=self.busy, pace=Pace())

    def wants(self, part: str) -> bool:
        """Whether a part is to run."""
        return part in self.names if self.names or self.quick else True


def bench(
    wish: Wish, command: str, show: Callable[[str], None] = print, note: Callable[[str], None] = lambda said: None
) -> Report:
    """Measure, and show each result as soon as it is there.

    Args:
        wish: what.
        command: what was typed, for the record.
        show: takes lines for the reader.
        note: told what takes long.

    Errors: InputError for an unknown name; BusyError where the machine is never quiet.
    """
    chosen, before, effort = _chosen(wish), torch.get_num_threads(), wish.effort
    here, results, found, models = machine(), list[Result](), list[Point](), list[Served]()
    looked = list[Looked]()
    show(text.heading(here))
    try:
        for threads in _threads(wish, before):
            torch.set_num_threads(threads)
            for case in chosen:
                for which in case.passes:
                    results.append(measured(case, which, effort, note))
                    show("\n" + "\n".join(text.lines(results[-1])))
            if wish.wants("statistics"):
                looked += looks(effort, note, SHRINK if wish.quick else 1)
        torch.set_num_threads(before)
        if looked:
            show("\n" + "\n".join(text.looks(looked)))
        if wish.wants("scaling"):
            found = list(points(effort, note, 12 if wish.quick else 17))
            show("\n" + "\n".join(text.scaling(found)))
        if wish.wants("models"):
            models = list(served(effort, note, SHRINK if wish.quick else 1))
            show("\n" + "\n".join(text.models(models)))
    finally:
        torch.set_num_threads(before)
    asked = {case.name for case in chosen}
    left = [case.name for case in cases(SHRINK) if case.name not in asked]
    left += [part for part in PARTS if not wish.wants(part)]
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes")
    return Report(
        here, date, command, tuple(results), tuple(looked), tuple(found), tuple(models), tuple(left), wish.busy
    )


def _chosen(wish: Wish) -> tuple[Case, ...]:
    every = cases(SHRINK if wish.quick else 1)
    names = [*(case.name for case in every), *PARTS]
    for name in wish.names:
        if name not in names:
            raise InputError(f"--case must be of {', '.join(names)}; got {name!r}")
    asked = wish.names or (BRIEF if wish.quick else names)
    return tuple(case for case in every if case.name in asked)


def _threads(wish: Wish, most: int) -> tuple[int, ...]:
    for count in wish.threads:
        if not 1 <= count <= most:
            raise InputError(f"--threads must be from 1 to {most}, the threads that PyTorch has here; got {count}")
    return wish.threads or tuple(dict.fromkeys((most,) if wish.quick else (1, most)))


def calibrated(wish: Wish, path: Path, note: Callable[[str], None] = lambda said: None) -> Calibration:
    """Measure this machine's rates and write them."""
    made = calibrate.calibrate(wish.effort, note, wish.threads or tuple({1, torch.get_num_threads()}))
    save_calibration(made, path)
    return made


def saved(report: Report, path: Path) -> None:
    """Write the report as JSON."""
    path.write_text(json.dumps(document.as_json(report), indent=1) + "\n", encoding="utf-8")


def kept(report: Report, folder: Path) -> None:
    """Write RESULTS.md, results.json and results.svg into a folder, which is made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RESULTS.md").write_text(document.page(report), encoding="utf-8")
    saved(report, folder / "results.json")
    picture.save(report, folder / "results.svg")
