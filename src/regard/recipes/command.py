"""`regard recipe` as it is typed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from textwrap import fill

from regard import arguments, plot
from regard.errors import InputError, RegardError
from regard.recipes import (
    classify,
    convolve,
    ensemble,
    forecast,
    generate,
    graph,
    image,
    long,
    posterior,
    regress,
    translate,
    transliterate,
)
from regard.recipes.document import as_json, kept, results
from regard.recipes.recipe import Recipe
from regard.recipes.run import Found, Wish, cook
from regard.recipes.text import WIDTH, page

__all__ = ["RECIPES", "options", "run"]

RECIPES = (
    regress.RECIPE,
    posterior.RECIPE,
    convolve.RECIPE,
    image.RECIPE,
    graph.RECIPE,
    forecast.RECIPE,
    classify.RECIPE,
    long.RECIPE,
    ensemble.RECIPE,
    translate.RECIPE,
    transliterate.RECIPE,
    generate.RECIPE,
)
FAILED, INTERRUPTED = 2, 130

Show = Callable[[str], None]


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("name", nargs="?", metavar="NAME", help=", ".join(_names()))
    parser.add_argument("--all", action="store_true", help="every recipe, one after the other")
    parser.add_argument("--quick", action="store_true", help="little data, one seed: a look, not a measurement")
    parser.add_argument("--save", metavar="DIR", help="write NAME.png, NAME.json, and RESULTS.md of all that is in DIR")
    parser.add_argument("--seed", type=int, default=Wish.seed, metavar="N", help="the first of three; else 0")
    about = "\n".join(
        fill(f"{recipe.name:<13} {recipe.question}", WIDTH, initial_indent="  ", subsequent_indent=" " * 16)
        for recipe in RECIPES
    )
    parser.epilog = f"""\
recipes
{about}

nothing is fetched from the network; data that is missing is named with the command that installs it
an interrupt keeps what there is
exit code: 0; 2 bad input or missing data; 130 where it was interrupted"""


def run(asked: argparse.Namespace, show: Show, note: Callable[[str], None]) -> int:
    """Run recipes, print, save; returns the exit code.

    Args:
        asked: the words, parsed.
        show: takes lines for the reader.
        note: told what takes long.

    Errors: InputError, MissingError.
    """
    wish = Wish(asked.quick, asked.seed)
    some, folder = _asked(asked.name, asked.all), None if asked.save is None else arguments.folder(asked.save)
    if len(some) == 1:
        return _told(some[0], wish, folder, show, note)
    failed: list[str] = []
    for recipe in some:
        try:
            if _told(recipe, wish, folder, show, note):
                return INTERRUPTED
        except RegardError as error:  # the others may have what they need
            failed.append(recipe.name)
            show(f"{recipe.name}: {error}")
        show("")
    if failed:
        show(f"{len(failed)} of {len(some)} recipes could not run: {', '.join(failed)}")
    return FAILED if failed else 0


def _told(recipe: Recipe, wish: Wish, folder: Path | None, show: Show, note: Callable[[str], None]) -> int:
    """Run one recipe, print it, keep it; returns the exit code, or raises what ended it."""
    before = None if folder is None else kept(folder, recipe.name)
    if wish.quick and before is not None and not before["quick"]:
        raise InputError(
            f"--save {folder}: {recipe.name}.json there is a full run, which a quick one would replace; "
            "name another directory"
        )
    found = cook(recipe, wish, note)
    for line in page(found):
        show(line)
    if folder is not None and found.interrupted and before is not None and not before["interrupted"]:
        show(f"{folder} keeps the whole run that it has of {recipe.name}.")
    elif folder is not None:
        _keep(found, folder, note)
    if found.failed is not None:
        raise found.failed
    return INTERRUPTED if found.interrupted else 0


def _names() -> tuple[str, ...]:
    return tuple(recipe.name for recipe in RECIPES)


def _asked(name: str | None, every: bool) -> tuple[Recipe, ...]:
    if every == (name is not None):
        raise InputError(f"name one recipe, or say --all: {', '.join(_names())}")
    if every:
        return RECIPES
    known = [recipe for recipe in RECIPES if recipe.name == name]
    if not known:
        raise InputError(f"a recipe is one of {', '.join(_names())}; {name!r} is none of them")
    return tuple(known)


def _keep(found: Found, folder: Path, note: Callable[[str], None]) -> None:
    """The numbers first, then the figure, if there is enough for it, and the document of all."""
    recipe = found.recipe
    try:
        text = json.dumps(as_json(found), indent=1, ensure_ascii=False)
        (folder / f"{recipe.name}.json").write_text(text + "\n", encoding="utf-8")
        if found.work.shown:
            note("drawing")
            made = plot.figure(*recipe.size)
            recipe.draw(made, found.work.shown)
            made.savefig(folder / f"{recipe.name}.png", dpi=120)
        (folder / "RESULTS.md").write_text(results(folder, _names()), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--save {folder}: it can't be written ({error.strerror})") from error
