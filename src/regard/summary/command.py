"""`regard look` as it is typed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from regard import arguments

__all__ = ["options", "run"]

INTERRUPTED = 130
FORMS = ("png", "svg", "pdf")


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument(
        "texts", nargs="+", metavar="FILE|DIR", help="files, directories with all text files below them, or -"
    )
    arguments.model(parser)
    parser.add_argument(
        "--length", type=int, metavar="N", help="cut texts into pieces of N tokens; else as many as the model reads"
    )
    parser.add_argument("--save", metavar="DIR", help="write the table, the figures and a summary; keep progress")
    parser.add_argument("--form", choices=FORMS, default=FORMS[0], help="of the figures: png (the default), svg, pdf")
    parser.add_argument("--json", action="store_true", help="print one JSON document, and nothing else")
    parser.epilog = f"""\
what --save writes into DIR
  heads.csv, heads.parquet   a line a head: entropy, distance, previous, sink, …
  heads, distance, received, maps   figures
  summary.pdf                the most telling ones on one page
  statistics.safetensors     sums over all texts, for regard.Totals.load; the
                             same command, with these texts and more, goes on
                             from there, also where a run was interrupted

what --json prints:
{SCHEMA}

exit code: 0; 2 bad input; 130 where it was interrupted"""


SCHEMA = """\
  model     name, kind, positions (the most tokens it reads)
  texts     a list of: name, tokens, pieces
  left_out  a list of: name, why
  most      a list of: measure, layer, head, value, second (of the next head)
  heads     a list of: layer, name, kind, head, rows (that means are of),
            entropy, effective_keys, mass, maximum, uncovered (by the 8
            greatest), distance, previous, next, same, sink, local,
            duplicate, induction (null: has no meaning here)
  note      weights are not explanations"""


def run(asked: argparse.Namespace, show: Callable[[str], None], note: Callable[[str], None]) -> int:
    """Look, print, save; returns the exit code.

    Args:
        asked: the words, parsed.
        show: takes lines for the reader.
        note: told what takes long.

    Errors: InputError, MissingError.
    """
    texts, skipped = arguments.texts(asked.texts)
    folder = None if asked.save is None else arguments.folder(asked.save)
    note("loading PyTorch and transformers")
    from regard import data
    from regard.explain import Terminal
    from regard.summary.gathering import Wish, gather
    from regard.summary.page import page
    from regard.summary.pieces import cut
    from regard.summary.report import report, save

    note(f"loading {asked.model}")
    loaded = data.load(asked.model, note)
    note("reading the texts")
    pieces = cut(loaded, texts, asked.length)
    found = gather(Wish(loaded, pieces, skipped, folder), note)
    notes = [] if not found.before else [f"{found.before} of {len(pieces)} pieces were done before: {found.path}"]
    if found.interrupted:
        kept = f"kept in {folder}: the same command goes on" if folder is not None else "nothing is kept without --save"
        _say([*notes, f"interrupted after {len(found.done)} of {len(pieces)} pieces; {kept}"])
        return INTERRUPTED
    if folder is not None:
        notes += save(found, folder, asked.form, note)
    show(report(found) if asked.json else page(found, Terminal.of(sys.stdout)))
    _say(notes)
    return 0


def _say(notes: list[str]) -> None:
    for said in notes:
        print(f"regard: {said}", file=sys.stderr)
