"""Parts of a text that have a name: what a speaker says, paragraphs, sentences."""

from __future__ import annotations

import re
from itertools import pairwise

from regard.looking.shown import Segment

__all__ = ["of_text", "of_tokens"]

MOST = 48
ENOUGH = 8
LONGEST = 40
_HEADING = re.compile(r"^#{1,6}\s+\S.*$", re.MULTILINE)
_BLANK = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE = re.compile(r"(?<=[.!?。！？…])[\"'”’）)]*\s*(?=\S)")
_MARKS = re.compile(r"[*_#`>]+")


def of_text(text: str) -> list[Segment]:
    """At most 48 parts of a text, in its characters, neighbours joined.

    Headings begin them, else paragraphs, else sentences: the first of these that there are enough of, else most of.
    """
    ways = [_parts(text, ends) for ends in (_starts(_HEADING, text), _ends(_BLANK, text), _ends(_SENTENCE, text))]
    most = max(map(len, ways))
    parts = next(way for way in ways if len(way) >= min(ENOUGH, most))
    return [Segment(_name(text[a:b]), a, b) for a, b in _joined(parts)]


def of_tokens(segments: list[Segment], spans: list[tuple[int, int]]) -> list[Segment]:
    """The same parts in tokens; a token without characters goes with the one before it.

    Args:
        segments: in characters.
        spans: of each token its first character and the one after its last.
    """
    made: list[Segment] = []
    begin = 0
    for part in segments:
        end = begin
        while end < len(spans) and (part is segments[-1] or _before(spans[end], part.stop)):
            end += 1
        if end > begin:
            made.append(Segment(part.name, begin, end))
        begin = end
    return made


def _parts(text: str, ends: list[int]) -> list[tuple[int, int]]:
    return [(a, b) for a, b in pairwise([0, *ends, len(text)]) if text[a:b].strip()]


def _before(span: tuple[int, int], stop: int) -> bool:
    return span[0] == span[1] or span[0] < stop


def _starts(pattern: re.Pattern[str], text: str) -> list[int]:
    return [found.start() for found in pattern.finditer(text) if found.start()]


def _ends(pattern: re.Pattern[str], text: str) -> list[int]:
    return [found.end() for found in pattern.finditer(text) if 0 < found.end() < len(text)]


def _joined(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbours joined until there are few enough, each about as long as the others."""
    if len(parts) <= MOST:
        return parts
    total = parts[-1][1] - parts[0][0]
    made: list[tuple[int, int]] = []
    for begin, end in parts:
        if made and (begin - parts[0][0]) * MOST // total == (made[-1][0] - parts[0][0]) * MOST // total:
            made[-1] = (made[-1][0], end)
        else:
            made.append((begin, end))
    return made


def _name(text: str) -> str:
    plain = " ".join(_MARKS.sub(" ", text[: 8 * LONGEST]).split())
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1].rstrip()}…"
