"""A recipe's tables at the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill

from regard.recipes.reading import columns, reading, rows, tables
from regard.recipes.recipe import ATTENTION, BOUND
from regard.recipes.run import Found

__all__ = ["WIDTH", "page"]

WIDTH = 80
_GAP = 3


def page(found: Found) -> Iterator[str]:
    """All that was found, line by line."""
    recipe, seeds = found.recipe, found.wish.seeds
    count = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}, ± is their spread"
    quick = " Quick: on part of the data, a look." * found.wish.quick
    for said in (f"{recipe.name}: {recipe.question}", f"{recipe.material}{quick} {count[0].upper()}{count[1:]}."):
        yield from fill(said, WIDTH, subsequent_indent="  ").splitlines()
    for table in tables(found.work.entries):
        yield ""
        yield from _table(found, table)
    for said in (*reading(found), found.interrupted):
        if said:
            yield ""
            for line in said.splitlines():
                yield from fill(line, WIDTH, break_on_hyphens=False).splitlines()


def _table(found: Found, table: str) -> Iterator[str]:
    """Columns as wide as they need; attention is marked by *, what is no competitor by parentheses.

    Columns for which the page has no room follow below, with the names again.
    """
    entries = found.work.entries
    measures, some = columns(entries, table, found.recipe.measures), rows(entries, table)
    marks = {ATTENTION: "* {}", BOUND: "  ({})"}
    names = [marks.get(row.family, "  {}").format(row.name) for row in some]
    body = [[name, *row.cells(measures)] for name, row in zip(names, some, strict=True)]
    head = [table, *(measure.name for measure in measures)]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    for number, group in enumerate(_groups(widths)):
        if number:
            yield ""
        for line in (head, *body):
            cells = (f"{line[column]:>{widths[column] + _GAP}}" for column in group)
            yield f"{line[0]:<{widths[0]}}" + "".join(cells)


def _groups(widths: list[int]) -> list[list[int]]:
    """The columns after the first, as many side by side as the page has room for."""
    groups: list[list[int]] = [[]]
    for column in range(1, len(widths)):
        across = widths[0] + sum(widths[one] + _GAP for one in (*groups[-1], column))
        if across > WIDTH and groups[-1]:
            groups.append([])
        groups[-1].append(column)
    return groups
