"""What is named on the command line, checked before anything long begins: a text, a picture, a folder for results."""

from __future__ import annotations

import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from regard.errors import InputError, MissingError

__all__ = ["file", "folder", "picture", "text"]

_PICTURES = (".png", ".svg", ".pdf")
_PLOT = "--save needs matplotlib; install it with: pip install 'regard[plot]'"


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
        try:
            return _decoded(path.read_bytes(), said)
        except OSError as error:
            raise InputError(f"{said} can't be read: {error.strerror}") from error
    one_word = not any(letter.isspace() for letter in said)
    from_root = said.startswith(("/", "./", "../", "~/"))
    if one_word and (from_root or re.fullmatch(r"\.[A-Za-z]\w{1,4}", path.suffix)):
        raise InputError(f"there is no file {said}")
    return said


def picture(said: str) -> Path:
    """Where a picture goes: a .png, .svg or .pdf in a directory that there is."""
    if Path(said).suffix.lower() not in _PICTURES:
        raise InputError(f"--save must end in {', '.join(_PICTURES)}, got {said}")
    path = file("--save", said)
    _drawing()
    return path


def file(option: str, said: str) -> Path:
    """Where a file goes, in a directory that there is."""
    path = Path(said).expanduser()
    if not path.parent.is_dir():
        raise InputError(f"{option} {said}: there is no directory {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{option} {said}: it can't be written")
    return path


def folder(said: str) -> Path:
    """Where results and their figures go; made if it is not there."""
    path = Path(said).expanduser()
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
