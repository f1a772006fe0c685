"""`regard compare` as it is typed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import fill

from regard import arguments
from regard.compare import text
from regard.compare.document import SCHEMA, as_json
from regard.compare.reading import reading
from regard.compare.run import Comparison, Note, Watcher, Wish, compare
from regard.compare.tasks import TASKS

__all__ = ["options", "run", "told"]

INTERRUPTED = 130


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument(
        "--task", default=Wish.task, metavar="NAME", help=f"{', '.join(t.name for t in TASKS)}; else recall"
    )
    parser.add_argument(
        "--lengths", nargs="+", type=int, default=[], metavar="N", help="at which time and memory are measured"
    )
    parser.add_argument("--quick", action="store_true", help="short sequences, few steps: a look, not a measurement")
    parser.add_argument("--seed", type=int, default=Wish.seed, metavar="N", help="of models and sequences; else 0")
    parser.add_argument("--save", metavar="DIR", help="write TASK.png, TASK.json, TASK.txt")
    parser.add_argument("--json", action="store_true", help="print one JSON document, and nothing else")
    parser.epilog = f"""\
takes some minutes, with --quick less than two; an interrupt keeps what there is
exit code: 0; 2 bad input; 130 where it was interrupted

what --json prints:
{SCHEMA}"""


def run(asked: argparse.Namespace, show: Callable[[str], None], note: Callable[[str], None]) -> int:
    """Compare, print, save; returns the exit code.

    Args:
        asked: the words, parsed.
        show: takes lines for the reader.
        note: told what takes long.

    Errors: InputError, MissingError.
    """
    wish = Wish(asked.task, tuple(asked.lengths), asked.quick, asked.seed)
    found = told(wish, None if asked.save is None else arguments.folder(asked.save), asked.json, show, note)
    return INTERRUPTED if found.interrupted else 0


def told(wish: Wish, folder: Path | None, as_document: bool, show: Callable[[str], None], note: Note) -> Comparison:
    """Compare, and say so: line by line as it becomes known, or as one document at the end.

    Args:
        wish: what.
        folder: where to keep it, or None.
        as_document: whether one JSON document is all that is shown.
        show: takes lines for the reader.
        note: told what takes long.
    """
    printed = _Printed((lambda said: None) if as_document else show)
    found = compare(wish, printed, note)
    printed.closed(found)
    if folder is not None:
        note("drawing")
        _keep(found, folder, printed.lines)
    if as_document:
        show(json.dumps(as_json(found), indent=1))
    return found


class _Printed(Watcher):
    """Prints every line as soon as it is known, and keeps it."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.lines: list[str] = []
        self._show = show

    def begun(self, found: Comparison) -> None:
        self._say((*text.heading(found), "", *text.table_head(found)))

    def learned(self, found: Comparison) -> None:
        self._say((text.outcome(found.outcomes[-1]),))

    def closed(self, found: Comparison) -> None:
        """The rest: what it cost, what it says."""
        self._say(text.notes(found))
        if found.costs:
            self._say(("", *text.costs(found), *text.left_out(found)))
        for paragraph in reading(found):
            self._say(("", *fill(paragraph, text.WIDTH, break_on_hyphens=False).splitlines()))
        if found.interrupted:
            self._say(("", *fill(found.interrupted, text.WIDTH).splitlines()))

    def _say(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.lines.append(line)
            self._show(line)


def _keep(found: Comparison, folder: Path, lines: list[str]) -> None:
    from regard.compare import picture

    picture.save(found, folder / f"{found.task.name}.png")
    (folder / f"{found.task.name}.json").write_text(json.dumps(as_json(found), indent=1) + "\n", encoding="utf-8")
    (folder / f"{found.task.name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
