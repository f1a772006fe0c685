"""What was seen, kept: one JSON document, the table, the figures, a summary of one page."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from regard.errors import InputError, MissingError
from regard.summary import drawing
from regard.summary.findings import bests
from regard.summary.gathering import FILE, Gathered
from regard.summary.page import NOTE

__all__ = ["report", "save"]


def report(found: Gathered) -> str:
    """All numbers of the table as one JSON document; `regard look --help` says what is in it."""
    done = set(found.done)
    texts: dict[str, dict[str, int]] = {}
    for piece in found.wish.pieces:
        one = texts.setdefault(piece.name, {"tokens": 0, "pieces": 0})
        if piece.key in done:
            one["tokens"] += piece.ids.shape[1]
            one["pieces"] += 1
    table = found.whole.table()
    loaded = found.wish.loaded
    return json.dumps(
        {
            "model": {"name": loaded.name, "kind": type(loaded.model).__name__, "positions": loaded.positions},
            "texts": [{"name": name, **one} for name, one in texts.items()],
            "left_out": [{"name": name, "why": why} for name, why in found.wish.skipped.items()],
            "most": [asdict(best) for best in bests(table)],
            "heads": list(table),
            "note": NOTE,
        },
        ensure_ascii=False,
        indent=1,
        allow_nan=False,
    )


def save(found: Gathered, folder: Path, form: str, note: Callable[[str], None] = lambda said: None) -> list[str]:
    """Write the table, the figures and the summary beside the statistics; returns what a reader should know.

    Args:
        found: what was seen.
        folder: where.
        form: of the figures: "png", "svg" or "pdf".
        note: told what takes long.

    Errors: InputError for a folder that can't be written.
    """
    table, notes = found.whole.table(), []
    try:
        table.to_csv(folder / "heads.csv")
        names = ["heads.csv"]
        try:
            table.to_parquet(folder / "heads.parquet")
            names.append("heads.parquet")
        except MissingError:
            notes.append("heads.parquet was not written; for that: pip install 'regard[tables]'")
        figures, said = drawing.figures(found, note)
        for name, made in figures.items():
            file = f"{name}.pdf" if name == drawing.SUMMARY else f"{name}.{form}"
            note(f"drawing {file}")
            made.savefig(folder / file, dpi=160)
            names.append(file)
    except OSError as error:
        raise InputError(f"--save {folder}: it can't be written ({error.strerror})") from error
    return [*said, *notes, f"wrote {', '.join(names)} and {FILE} into {folder}"]
