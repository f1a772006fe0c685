"""The command line: `regard explain`, `look`, `explore`, `compare`, `recipe`, `bench`."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import regard
from regard import arguments
from regard.bench import command
from regard.compare import command as comparing
from regard.errors import InputError, RegardError
from regard.progress import Progress
from regard.recipes import command as cooking
from regard.summary import command as looking

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: its words; None takes those of the process.

    Returns: the exit code: 0, 1 where a check failed, 2 for bad input, 130 where it was interrupted.
    """
    parser = _parser()
    words = sys.argv[1:] if argv is None else argv
    if not words:
        parser.print_help(sys.stderr)
        return 2
    try:
        asked = parser.parse_args(words)
        if isinstance(sys.stdout, io.TextIOWrapper):  # a character that the terminal has not is no reason to fail
            sys.stdout.reconfigure(errors="replace")
        code: int = asked.run(asked)
        sys.stdout.flush()
        return code
    except RegardError as error:
        return _say(str(error), 2)
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except BrokenPipeError:  # whoever read the output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _say(f"the output can't be written: {error.strerror}", 2)


_Add = Callable[[str, str, str], argparse.ArgumentParser]
"""Adds a command: its name, its line in the list, its description."""


class _Parser(argparse.ArgumentParser):
    """Errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; `{self.prog} --help` shows what can be said")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="regard",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        description="Attention, computed exactly and made visible.",
        epilog='  regard explain "The animal didn\'t cross the street because it was too tired."',
    )
    parser.add_argument("--version", action="version", version=f"regard {regard.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", required=True)

    def add(name: str, about: str, description: str) -> argparse.ArgumentParser:
        form = argparse.RawDescriptionHelpFormatter
        return commands.add_parser(name, formatter_class=form, allow_abbrev=False, help=about, description=description)

    _add_explain(add)
    _add_look(add)
    _add_explore(add)
    _add_bench(add)
    _add_compare(add)
    _add_recipe(add)
    return parser


def _add_explain(add: _Add) -> None:
    explain = add(
        "explain",
        "one head of a real model at one token, step by step, with its numbers",
        "Run a model with regard in every layer, compare it with its own attention,\n"
        "and show one head at one token, step by step, with its numbers.\n"
        "What you don't name is chosen by a measure that is printed with its formula.",
    )
    _explain_options(explain)
    explain.set_defaults(run=_explain)


def _add_look(add: _Add) -> None:
    look = add(
        "look",
        "all heads of a real model over your texts: a table, figures, one page",
        "Run a model over texts with regard in every layer, look at every weight of all\n"
        "heads without keeping any, and say what each does: a table, figures, a page.\n"
        "Over many texts statistics add up; an interrupted run goes on where it was.",
    )
    looking.options(look)
    look.set_defaults(run=_shown(looking.run))


def _add_explore(add: _Add) -> None:
    explore = add(
        "explore",
        "the page: every head of a model on a text, in the browser, on this machine",
        "Serve a page on this machine where a model's attention is seen: step by step for\n"
        "a short text, as a map for a long one. The address is the first line printed.\n"
        "Ctrl-C ends it.",
    )
    explore.add_argument("text", nargs="*", metavar="TEXT|FILE", help="a text; a file; or - for standard input")
    arguments.model(explore)
    explore.add_argument("--port", type=int, default=0, metavar="N", help="0, the default, takes a free one")
    explore.add_argument("--no-open", action="store_true", help="print the address, and open no browser")
    explore.set_defaults(run=_explore)


def _add_bench(add: _Add) -> None:
    bench = add(
        "bench",
        "this machine: every engine beside what else there is, against the ceiling",
        "Time attention side by side, in one process, round by round: regard's engines,\n"
        "PyTorch's and other libraries', each checked before it is timed. Rounds that\n"
        "other processes or a slow processor disturb are rejected.",
    )
    command.options(bench)
    bench.set_defaults(run=_shown(command.run))


def _add_compare(add: _Add) -> None:
    compare = add(
        "compare",
        "recurrent, self-, sparse and linear attention on the same work, measured",
        "Train ten small models of one size on one task, alike: recurrent ones with\n"
        "Bahdanau's, Luong's or no attention, transformers with self-attention, sparse\n"
        "patterns and approximations. Then time them as sequences get longer.",
    )
    comparing.options(compare)
    compare.set_defaults(run=_shown(comparing.run))


def _add_recipe(add: _Add) -> None:
    recipe = add(
        "recipe",
        "attention applied, on real data, beside what does without it",
        "Train and judge attention on real data beside baselines, by three seeds, and say\n"
        "which is ahead, and whether by more than the spread over the seeds.",
    )
    cooking.options(recipe)
    recipe.set_defaults(run=_shown(cooking.run))


def _explain_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "text", nargs="+", metavar="TEXT|FILE", help="a text; a file that exists; or - for standard input"
    )
    arguments.model(parser)
    parser.add_argument("--layer", type=int, metavar="L", help="counted from 0; else the measure chooses")
    parser.add_argument("--head", type=int, metavar="H", help="counted from 0; else the measure chooses")
    parser.add_argument(
        "--query", metavar="TOKEN", help="the token that looks: its text, or its number from 0 (from -1 backwards)"
    )
    parser.add_argument("--save", metavar="FILE", help="write a picture (.png, .svg, .pdf) or the whole page (.html)")
    parser.add_argument("--json", action="store_true", help="print one JSON document, and nothing else")
    parser.epilog = f"""\
colour is for terminals; NO_COLOR=1 turns it off, FORCE_COLOR=1 on
exit code: 0; 1 where regard and the model's own attention differ; 2 bad input

what --json prints:
{SCHEMA}"""


SCHEMA = """\
  model       name, kind, layers, heads, positions (the most tokens it reads)
  text        the text
  tokens      a list of: index, text, kind (word, mark, special, unknown), word
  rule        the layer's rule as it prints
  measure     formula, queries (how many were measured), table [layers][heads]
  shown       layer, head, query, key (indices), reach, matches (of --query)
  steps       q, k, products [dims]; raw, scale, cap, scaled (numbers);
              score, bias, masked, weights, average, value_lengths [tokens]
              (bias null: none; masked null: hidden); lse, sink; out [dims]
  agreement   difference (largest, of final hidden states), largest_state,
              tokens (compared), weights (of this query; null: not compared),
              out, tolerance, holds
  note        weights are not explanations"""


def _explain(asked: argparse.Namespace) -> int:
    """Explain, print, save."""
    text = arguments.text(asked.text)
    picture = None if asked.save is None else arguments.picture(asked.save)
    with Progress() as progress:
        progress("loading PyTorch and transformers")
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its notes on fonts are not for the reader
        from regard import data, explain, explorer

        progress(f"loading {asked.model}")
        loaded = data.load(asked.model, progress)
        wish = explain.Wish(asked.layer, asked.head, asked.query)
        told = explain.explain(loaded, text, wish, progress)
        notes = []
        if picture is not None:
            progress("drawing")
            if arguments.is_page(picture):
                explorer.save(picture, loaded, text, wish)
            else:
                notes = explain.save(told, picture)
            notes.append(f"wrote {picture}")
    print(explain.report(told) if asked.json else explain.page(told, explain.Terminal.of(sys.stdout)))
    for note in notes:
        print(f"regard: {note}", file=sys.stderr)
    near = told.agreement
    if not near.holds:
        return _say(
            f"regard and the model's own attention differ by {near.difference:.1e} in the final hidden states, "
            f"where {near.tolerance:.1e} is expected; please report this model",
            1,
        )
    return 0


_Run = Callable[[argparse.Namespace, Callable[[str], None], Progress], int]
"""A command: its words, what takes lines for the reader, what is told what takes long; gives the exit code."""


def _shown(run: _Run) -> Callable[[argparse.Namespace], int]:
    """A command that prints lines as they become known, and says meanwhile what takes long."""

    def shown(asked: argparse.Namespace) -> int:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        with Progress() as progress:
            return run(asked, progress.print, progress)

    return shown


def _explore(asked: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with Progress() as progress:
        progress("loading PyTorch and transformers")
        from regard.explorer import command as exploring

        return exploring.run(asked, progress)


def _say(sentence: str, code: int) -> int:
    print(f"regard: {sentence}", file=sys.stderr)
    return code
