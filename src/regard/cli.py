"""The command line: `regard explain`, `regard compare`, `regard bench`."""

from __future__ import annotations

import argparse
import io
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import regard
from regard.bench import command
from regard.compare import command as comparing
from regard.errors import InputError, MissingError, RegardError

__all__ = ["main"]

_PICTURES = (".png", ".svg", ".pdf")
_SLOW = 1.0


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
    _add_bench(add)
    _add_compare(add)
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


def _add_bench(add: _Add) -> None:
    bench = add(
        "bench",
        "this machine: every engine beside what else there is, against the ceiling",
        "Time attention side by side, in one process, round by round: regard's engines,\n"
        "PyTorch's and other libraries', each checked before it is timed. Rounds that\n"
        "other processes disturb are rejected.",
    )
    command.options(bench)
    bench.set_defaults(run=_bench)


def _add_compare(add: _Add) -> None:
    compare = add(
        "compare",
        "recurrent, self-, sparse and linear attention on the same work, measured",
        "Train ten small models of one size on one task, alike: recurrent ones with\n"
        "Bahdanau's, Luong's or no attention, transformers with self-attention, sparse\n"
        "patterns and approximations. Then time them as sequences get longer.",
    )
    comparing.options(compare)
    compare.set_defaults(run=_compare)


def _explain_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "text", nargs="+", metavar="TEXT|FILE", help="a text; a file that exists; or - for standard input"
    )
    parser.add_argument(
        "--model",
        default="minilm",
        metavar="NAME|DIR",
        help="minilm (encoder, the default), smollm2 (decoder), or the directory of a Hugging Face model",
    )
    parser.add_argument("--layer", type=int, metavar="L", help="counted from 0; else the measure chooses")
    parser.add_argument("--head", type=int, metavar="H", help="counted from 0; else the measure chooses")
    parser.add_argument(
        "--query", metavar="TOKEN", help="the token that looks: its text, or its number from 0 (from -1 backwards)"
    )
    parser.add_argument("--save", metavar="FILE", help="write a picture: .png, .svg or .pdf")
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
    text = _text(asked.text)
    picture = None if asked.save is None else _picture(asked.save)
    with _Progress() as progress:
        progress("loading PyTorch and transformers")
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its notes on fonts are not for the reader
        from regard import data, explain

        progress(f"loading {asked.model}")
        loaded = data.load(asked.model, progress)
        told = explain.explain(loaded, text, explain.Wish(asked.layer, asked.head, asked.query), progress)
        notes = []
        if picture is not None:
            progress("drawing")
            notes = [*explain.save(told, picture), f"wrote {picture}"]
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


def _bench(asked: argparse.Namespace) -> int:
    """Measure, print, save."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with _Progress() as progress:
        return command.run(asked, progress.print, progress)


def _compare(asked: argparse.Namespace) -> int:
    """Train, measure, print, save."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with _Progress() as progress:
        return comparing.run(asked, progress.print, progress)


def _text(words: list[str]) -> str:
    """The text: of a file where one word names one, of standard input for -, else the words themselves."""
    if words == ["-"]:
        return _decoded(sys.stdin.buffer.read(), "standard input")
    if len(words) > 1:
        if "-" in words or all(Path(word).is_file() for word in words):
            raise InputError(f"explain reads one text, got {', '.join(words)}; name one file, or quote the sentence")
        return " ".join(words)
    said = words[0]
    if not said.strip():
        raise InputError("the text is empty; give a sentence, a file with text in it, or - for standard input")
    try:
        path = Path(said).expanduser()
        is_dir, is_there = path.is_dir(), path.exists()
    except (OSError, RuntimeError, ValueError):  # too long for a path, or with a NUL: a text
        return said
    if is_dir:
        raise InputError(f"{said} is a directory; name a file with text in it")
    if is_there:
        try:
            return _decoded(path.read_bytes(), said)
        except OSError as error:
            raise InputError(f"{said} can't be read: {error.strerror}") from error
    one_word = not any(letter.isspace() for letter in said)
    from_root = said.startswith(("/", "./", "../", "~/"))
    if one_word and (from_root or re.fullmatch(r"\.[A-Za-z]\w{1,4}", path.suffix)):
        raise InputError(f"there is no file {said}")
    return said


def _decoded(raw: bytes, name: str) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not text in UTF-8 (byte {error.start} is none of it)") from error
    if "\0" in text:
        raise InputError(f"{name} is a binary file, not text")
    return text


def _picture(said: str) -> Path:
    """Where the picture goes, checked before anything long begins."""
    path = Path(said).expanduser()
    if path.suffix.lower() not in _PICTURES:
        raise InputError(f"--save must end in {', '.join(_PICTURES)}, got {said}")
    if not path.parent.is_dir():
        raise InputError(f"--save {said}: there is no directory {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"--save {said}: it can't be written")
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise MissingError("--save needs matplotlib; install it with: pip install 'regard[plot]'")
    return path


def _say(sentence: str, code: int) -> int:
    print(f"regard: {sentence}", file=sys.stderr)
    return code


class _Progress:
    """One line on standard error that says what takes long; only on a terminal, and gone at the end."""

    def __init__(self) -> None:
        self.shown = 0
        self._began = time.monotonic()

    def __call__(self, said: str) -> None:
        """Say what happens now."""
        if sys.stderr.isatty() and time.monotonic() - self._began >= _SLOW:
            line = f"{said} …"[:78]
            print(f"\r{line:<{self.shown}}", end="", file=sys.stderr, flush=True)
            self.shown = len(line)

    def print(self, said: str) -> None:
        """Print for good, and go on."""
        self.clear()
        print(said, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self.shown:
            print(f"\r{' ' * self.shown}\r", end="", file=sys.stderr, flush=True)
            self.shown = 0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *problem: object) -> None:
        self.clear()
