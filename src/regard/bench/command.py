"""`regard bench` as it is typed."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from regard import arguments
from regard.bench import run as running
from regard.bench.run import Wish

__all__ = ["options", "run"]


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--quick", action="store_true", help="few cases, short, few rounds: a look, not a measurement")
    parser.add_argument(
        "--case", nargs="+", default=[], metavar="NAME", help="some cases; scaling, models; an unknown one lists all"
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[], metavar="N", help="else one, then all")
    parser.add_argument("--busy", action="store_true", help="keep disturbed rounds, and mark what they make")
    parser.add_argument("--json", metavar="FILE", help="write all numbers as JSON")
    parser.add_argument("--save", metavar="DIR", help="write RESULTS.md, results.json, results.svg")
    parser.add_argument("--calibrate", metavar="FILE", help="only measure the rates that regard.plan predicts with")
    parser.epilog = (
        "all of it is long; --quick should take less than a minute\n"
        "exit code: 0; 2 bad input, or a machine that is never quiet"
    )


def run(asked: argparse.Namespace, show: Callable[[str], None], note: Callable[[str], None]) -> int:
    """Measure, print, save; returns the exit code.

    Args:
        asked: the words, parsed.
        show: takes lines for the reader.
        note: told what takes long.

    Errors: InputError, MissingError, BusyError.
    """
    json = None if asked.json is None else arguments.file("--json", asked.json)
    calibration = None if asked.calibrate is None else arguments.file("--calibrate", asked.calibrate)
    folder = None if asked.save is None else arguments.folder(asked.save)
    wish = Wish(tuple(asked.case), tuple(asked.threads), asked.quick, asked.busy)
    if calibration is not None:
        made = running.calibrated(wish, calibration, note)
        show(f"{len(made.rates)} rates of {made.processor}, in {calibration}")
        return 0
    report = running.bench(wish, " ".join(_words(asked)), show, note)
    if json is not None:
        running.saved(report, json)
    if folder is not None:
        running.kept(report, folder)
    return 0


def _words(asked: argparse.Namespace) -> list[str]:
    """What was asked for, as it would be typed again."""
    words = ["regard", "bench", *(f"--{name}" for name in ("quick", "busy") if getattr(asked, name))]
    for name in ("case", "threads"):
        some = getattr(asked, name)
        words += [f"--{name}", *map(str, some)] if some else []
    return [*words, "--save", asked.save] if asked.save else words
