"""Fonts that show the letters of a text, whatever its script."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

__all__ = ["fonts", "labelled"]

_LATIN = "DejaVu Sans"
_BOXES = "Last Resort High-Efficiency"
"""A font that shows every character as a box."""
_EASTERN = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS"),
)


def fonts(texts: Sequence[str]) -> tuple[list[str], set[str]]:
    """Families that together show the texts, and the characters that no font here shows."""
    wanted = {
        letter for text in texts for letter in text if not letter.isspace() and unicodedata.category(letter) != "Cf"
    }
    families, missing = [_LATIN], wanted - _glyphs(_LATIN)
    for family in _EASTERN:
        if missing and (gained := missing & _glyphs(family)):
            families.append(family)
            missing -= gained
    for family in sorted(_files()) if missing else ():
        if gained := missing & _glyphs(family):
            families.append(family)
            missing -= gained
    return families, missing


def labelled(texts: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The texts to be drawn, by number where no font here shows them; the fonts; and what is to be said of it."""
    labels = [text.replace("$", r"\$") for text in texts]
    families, missing = fonts(labels)
    if not missing:
        return labels, families, []
    shown = [f"#{place}" if missing & set(label) else label for place, label in enumerate(labels)]
    some = "".join(sorted(missing)[:6])
    return shown, families, [f"no font here shows {some}: such tokens are drawn as #number; install Noto Sans CJK"]


@cache
def _glyphs(family: str) -> frozenset[str]:
    """The characters that a font family shows, none where it is not installed."""
    from matplotlib.ft2font import FT2Font

    with suppress(OSError, RuntimeError, KeyError):
        return frozenset(map(chr, FT2Font(_files()[family]).get_charmap()))
    return frozenset()


@cache
def _files() -> dict[str, str]:
    """A file of each installed family, its upright one; matplotlib's own list may be older than a font."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    for path in set(findSystemFonts()) - {entry.fname for entry in fontManager.ttflist}:
        with suppress(OSError, RuntimeError, ValueError):
            fontManager.addfont(path)
    plain = sorted(fontManager.ttflist, key=lambda entry: (entry.style != "normal", entry.weight != 400))
    return {entry.name: entry.fname for entry in reversed(plain) if entry.name != _BOXES}
