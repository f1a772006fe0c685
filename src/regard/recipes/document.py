"""What recipes found, kept: one JSON file each, and RESULTS.md, which is written from all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regard.errors import InputError
from regard.recipes.reading import columns, reading, rows, tables
from regard.recipes.recipe import ATTENTION, BOUND
from regard.recipes.run import Found

__all__ = ["as_json", "kept", "results"]

_HEAD = """\
# Recipes: what was measured

Written by the program: `{command}`. Every model of a table sees the same data and the same splits;
± is the standard deviation over seeds. **Bold** rows are attention by regard; rows in *italics* are bounds, no
competitors. The first column decides who is ahead, and it is said below each table, also where attention is not.
"""


def as_json(found: Found) -> dict[str, Any]:
    """All that was found."""
    recipe, work = found.recipe, found.work
    return {
        "recipe": recipe.name,
        "question": recipe.question,
        "material": recipe.material,
        "command": found.command,
        "seeds": list(found.wish.seeds),
        "quick": found.wish.quick,
        "seconds": round(found.seconds, 1),
        "machine": found.machine,
        "versions": found.versions,
        "measures": [measure.name for measure in recipe.measures],
        "tables": [_table(found, table) for table in tables(work.entries)],
        "reading": reading(found),
        "interrupted": found.interrupted,
    }


def _table(found: Found, table: str) -> dict[str, Any]:
    entries = found.work.entries
    measures = columns(entries, table, found.recipe.measures)
    some = [
        {"name": row.name, "family": row.family, "cells": row.cells(measures), "values": row.values}
        for row in rows(entries, table)
    ]
    return {"title": table, "measures": [measure.name for measure in measures], "rows": some}


def results(folder: Path, order: tuple[str, ...]) -> str:
    """The document of all recipes whose JSON files are in a folder.

    Args:
        folder: where they are, and their figures.
        order: the names of the recipes.

    Errors: InputError for a file that is none of the program's.
    """
    parts = [_HEAD.format(command=f"regard recipe --all --save {folder.name or folder}")]
    for one in filter(None, (kept(folder, name) for name in order)):
        parts += ["\n".join(_section(one, (folder / f"{one['recipe']}.png").is_file()))]
    return "\n".join(parts)


def kept(folder: Path, name: str) -> dict[str, Any] | None:
    """What a folder holds of a recipe, as `as_json` gave it; None where it holds nothing.

    Args:
        folder: where it is looked for.
        name: of the recipe.

    Errors: InputError for a file that is none of the program's.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        list(_section(there, False))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not what `regard recipe --save` writes; remove it and run the recipe") from error
    return there  # type: ignore[no-any-return]


def _section(one: dict[str, Any], drawn: bool) -> Iterator[str]:
    yield from (f"## {one['recipe']}", "", f"{one['question']} {one['material']}", "")
    for table in one["tables"]:
        names = table.get("measures", one["measures"])
        yield "| " + " | ".join([table["title"], *names]) + " |"
        yield "|---|" + "---:|" * len(names)
        for row in table["rows"]:
            name = {ATTENTION: f"**{row['name']}**", BOUND: f"*{row['name']}*"}.get(row["family"], row["name"])
            yield "| " + " | ".join([name, *row["cells"]]) + " |"
        yield ""
    for said in one["reading"]:
        yield from (said, "")
    if drawn:
        yield from (f"![{one['recipe']}]({one['recipe']}.png)", "")
    versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
    seeds = ", ".join(map(str, one["seeds"]))
    quick = "; quick: a look, not a measurement" * one["quick"]
    interrupted = f"; {one['interrupted']}" * bool(one["interrupted"])
    took = f"{one['seconds']:.0f} s; {one['machine']}"
    yield f"`{one['command']}`: seeds {seeds}; {took}{quick}{interrupted}; {versions}."
    yield ""
