"""What is named on the command line, checked before anything long begins: texts, a picture, a folder for results."""

from __future__ import annotations

import argparse
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from regard.errors import InputError, MissingError

__all__ = ["file", "folder", "is_page", "model", "picture", "text", "texts"]

_PICTURES = (".png", ".svg", ".pdf")
_PAGE = ".html"
_LONGEST = 60
"""Letters of a name that an error repeats."""
_PLOT = "--save needs matplotlib; install it with: pip install 'regard[plot]'"


def model(parser: argparse.ArgumentParser) -> None:
    """The option that says which model."""
    parser.add_argument(
        "--model",
        default="minilm",
        metavar="NAME|DIR",
        help="minilm (encoder, the default), smollm2 (decoder), or the directory of a Hugging Face model",
    )


def text(words: list[str]) -> str:
    """The text: of a file where one word names one, of standard input for -, else the words themselves."""
    if words == ["-"]:
        return _decoded(sys.stdin.buffer.read(), "standard input")
    if len(words) > 1:
        if "-" in words or all(Path(word).is_file() for word in words):
            raise InputError(f"one text can be read, got {', '.join(words)}; name one file, or quote the sentence")
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
        return _read(path, said)
    one_word = not any(letter.isspace() for letter in said)
    from_root = said.startswith(("/", "./", "../", "~/"))
    if one_word and (from_root or re.fullmatch(r"\.[A-Za-z]\w{1,4}", path.suffix)):
        raise InputError(f"there is no file {said}")
    return said


def texts(words: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """By name the texts of all files, and of all files below directories; and why others there were left out.

    What is named itself must be a text; in a directory what is none is left out, and hidden files are not counted.
    """
    found: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for said in words:
        path = _path(said, said)
        if said == "-":
            found["standard input"] = _filled(_decoded(sys.stdin.buffer.read(), "standard input"), "standard input")
        elif path.is_dir():
            below, locked = _below(path)
            skipped |= locked
            for inner in below:
                try:
                    found[str(inner)] = _filled(_read(inner, str(inner)), str(inner))
                except InputError as error:
                    skipped[str(inner)] = str(error)
        elif path.exists():
            found[str(path)] = _filled(_read(path, said), said)
        else:
            raise InputError(f"there is no file or directory {said}; `regard explain` takes a sentence")
    if not found:
        why = f": {'; '.join(skipped.values())}" if skipped else ", they hold no file"
        raise InputError(f"there is no text in {', '.join(words)}{why}")
    return found, skipped


def _path(said: str, name: str) -> Path:
    """Where it is, there or not.

    Errors: InputError for what can't be looked up: too long a name, the ~ of nobody, a directory that is locked.
    """
    try:
        path = Path(said).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        shown = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"
        raise InputError(f"{shown} can't be looked up: {why}; name a path that can") from error
    return path


def _below(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """All files, sorted, but what is hidden by its name; and the directories that can't be read, with the reason."""
    locked: list[OSError] = []
    found: list[Path] = []
    for here, inner, names in os.walk(folder, onerror=locked.append):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [Path(here) / name for name in names if not name.startswith(".") and (Path(here) / name).is_file()]
    return sorted(found), {str(one.filename): f"{one.filename} can't be read: {one.strerror}" for one in locked}


def _read(path: Path, name: str) -> str:
    try:
        return _decoded(path.read_bytes(), name)
    except OSError as error:
        raise InputError(f"{name} can't be read: {error.strerror}") from error


def _filled(text: str, name: str) -> str:
    if not text.strip():
        raise InputError(f"{name} is empty")
    return text


def picture(said: str) -> Path:
    """Where a picture goes, or a page: a .png, .svg, .pdf or .html in a directory that there is."""
    if Path(said).suffix.lower() not in (*_PICTURES, _PAGE):
        raise InputError(f"--save must end in {', '.join(_PICTURES)} or {_PAGE}, got {said}")
    path = file("--save", said)
    if not is_page(path):
        _drawing()
    return path


def is_page(path: Path) -> bool:
    """Whether a page is to be written, and no picture."""
    return path.suffix.lower() == _PAGE


def file(option: str, said: str) -> Path:
    """Where a file goes, in a directory that there is."""
    path = _path(said, f"{option} {said}")
    if not path.parent.is_dir():
        raise InputError(f"{option} {said}: there is no directory {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{option} {said}: it can't be written")
    return path


def folder(said: str) -> Path:
    """Where results and their figures go; made if it is not there."""
    path = _path(said, f"--save {said}")
    _drawing()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--save {said}: it is no directory and can't be made ({error.strerror})") from error
    if not os.access(path, os.W_OK):
        raise InputError(f"--save {said}: it can't be written")
    return path


def _drawing() -> None:
    if find_spec("matplotlib") is None:
        raise MissingError(_PLOT)


def _decoded(raw: bytes, name: str) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not text in UTF-8 (byte {error.start} is none of it)") from error
    if "\0" in text:
        raise InputError(f"{name} is a binary file, not text")
    return text
