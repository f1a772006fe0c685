"""What a terminal needs to know: colour or not, columns, and characters that take two of them."""

from __future__ import annotations

import os
import shutil
import unicodedata
from dataclasses import dataclass
from typing import TextIO

__all__ = ["Terminal", "bar", "clip", "is_wide", "pad", "percent", "shade", "width", "wrapped"]

NARROWEST, WIDEST = 68, 100
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SHADES = " ·░▒▓█"
# Viridis at six places in the 256 colours: darker is less; what is written on them is light, then dark.
_TINTS = ((17, 252), (24, 255), (30, 231), (35, 16), (113, 16), (226, 16))


@dataclass(frozen=True)
class Terminal:
    """Where a page is printed: its columns, and whether it shows colour."""

    columns: int = 80
    colour: bool = False

    @staticmethod
    def of(stream: TextIO) -> Terminal:
        """What a stream can show. `NO_COLOR` and `FORCE_COLOR` have the last word, in this order."""
        columns = min(max(shutil.get_terminal_size((80, 24)).columns, NARROWEST), WIDEST)
        if os.environ.get("NO_COLOR"):
            return Terminal(columns, False)
        forced = os.environ.get("FORCE_COLOR", "")
        if forced:
            return Terminal(columns, forced not in ("0", "false"))
        return Terminal(columns, stream.isatty() and os.environ.get("TERM") != "dumb")

    def bold(self, text: str) -> str:
        """Text that stands out."""
        return self._styled(text, "1")

    def faint(self, text: str) -> str:
        """Text that stands back."""
        return self._styled(text, "2")

    def heading(self, text: str) -> str:
        """A line that begins a part."""
        line = clip(text, self.columns)
        return self.bold(line) + self.faint(" " + "─" * max(0, self.columns - width(line) - 1))

    def tint(self, text: str, share: float, marked: bool = False) -> str:
        """Text on a colour for a number from 0 to 1; nothing at 0."""
        if not self.colour:
            return text
        if share <= 0:
            return self._styled(text, "1;4") if marked else text
        ground, ink = _TINTS[min(int(share * len(_TINTS)), len(_TINTS) - 1)]
        return self._styled(text, f"{'1;4;' if marked else ''}48;5;{ground};38;5;{ink}")

    def _styled(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text


def is_wide(letter: str) -> bool:
    """Whether a character takes two columns."""
    return unicodedata.east_asian_width(letter) in "WF"


def width(text: str) -> int:
    """How many columns a text takes."""
    hidden = ("Mn", "Me", "Cf")
    return sum(0 if unicodedata.category(letter) in hidden else 1 + is_wide(letter) for letter in text)


def clip(text: str, columns: int) -> str:
    """A text in at most so many columns, ending in … where it was longer."""
    if width(text) <= columns:
        return text
    kept = ""
    for letter in text:
        if width(kept + letter) > columns - 1:
            break
        kept += letter
    return kept + "…"


def wrapped(text: str, columns: int) -> list[str]:
    """A text over as many lines as it needs, none wider."""
    lines = [""]
    for piece in text.split(" "):
        longer = f"{lines[-1]} {piece}".lstrip()
        if width(longer) <= columns:
            lines[-1] = longer
        else:
            lines.append(clip(piece, columns))
    return [line for line in lines if line]


def pad(text: str, columns: int, right: bool = False) -> str:
    """A text in exactly so many columns."""
    text = clip(text, columns)
    gap = " " * (columns - width(text))
    return gap + text if right else text + gap


def bar(share: float, columns: int) -> str:
    """A bar for a number from 0 to 1, to an eighth of a column; anything above 0 is seen."""
    eighths = round(min(max(share, 0.0), 1.0) * columns * 8)
    eighths = max(eighths, 1) if share > 0 else 0
    return pad("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip(), columns)


def percent(share: float) -> str:
    """A share in %, to a tenth; what is more than nothing never reads as 0."""
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def shade(share: float) -> str:
    """One character for a number from 0 to 1."""
    return _SHADES[min(int(share * len(_SHADES)), len(_SHADES) - 1)]
