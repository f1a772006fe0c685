"""Verses in Greek and in English, and which word of one is which of the other: from the package bible-alignments."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass

from regard.data.installed import checked, package

__all__ = ["Verse", "verses"]

BIBLE = "bible-alignments==0.4.2"
DIGESTS = {
    "sources/SBLGNT.tsv": "c355b3f79a453e8e2a681506cdddc7349826fd4ea223736920625b8362d7b2f0",
    "eng/targets/BSB/nt_BSB.tsv": "d388c73f52361968eb96761098e983699fdd0dd37272b1d701efebd61a5a36df",
    "eng/alignments/BSB/SBLGNT-BSB-manual.json": "144c84636e3972774565b66105259e01df2b2236877055920c7996c08fdbc38e",
}
_VERSE = slice(0, 8)  # of a word's number: book, chapter, verse


@dataclass(frozen=True)
class Verse:
    """One verse of the New Testament.

    Args:
        name: book, chapter and verse, as 43003016 for John 3:16.
        greek: its words.
        lemmas: each as a dictionary has it.
        forms: what each is, as N-NSF: a noun, nominative, singular, feminine.
        english: its words, without marks.
        links: pairs (place in Greek, place in English) of words that translate one another, made by hand.
    """

    name: str
    greek: tuple[str, ...]
    lemmas: tuple[str, ...]
    forms: tuple[str, ...]
    english: tuple[str, ...]
    links: frozenset[tuple[int, int]]


def verses() -> tuple[Verse, ...]:
    """The 7,919 verses that have links, in the order of the book.

    Errors: MissingError, InputError.

    Source: the SBL Greek New Testament and Clear Bible's alignments (CC BY 4.0), the Berean Standard Bible (public
    domain).
    """
    greek, english, made = (_read(name) for name in DIGESTS)
    words = {row["id"].removeprefix("n"): row for row in _rows(greek)}
    others = {row["id"]: row for row in _rows(english) if not row["exclude"]}
    verse_of = {**{one: one[_VERSE] for one in words}, **{one: row["source_verse"] for one, row in others.items()}}
    place, inside = _placed(list(words), verse_of), _placed(list(others), verse_of)
    links: dict[str, set[tuple[int, int]]] = {}
    for record in json.loads(made)["records"]:
        for left in (one.removeprefix("n") for one in record["source"]):
            for right in record["target"]:
                if verse_of[left] == verse_of.get(right):
                    links.setdefault(verse_of[left], set()).add((place[left], inside[right]))
    left_of, right_of = _grouped(words, verse_of), _grouped(others, verse_of)
    return tuple(_verse(name, left_of[name], right_of[name], links[name]) for name in sorted(links))


def _verse(name: str, left: list[dict[str, str]], right: list[dict[str, str]], links: set[tuple[int, int]]) -> Verse:
    greek, lemmas, forms = (tuple(row[part] for row in left) for part in ("text", "lemma", "morph"))
    return Verse(name, greek, lemmas, forms, tuple(row["text"] for row in right), frozenset(links))


def _read(name: str) -> str:
    path = package("bible_alignments", BIBLE).parent / "data" / name  # the package puts its data beside itself
    return checked(path, DIGESTS[name], f"pip install --no-deps --force-reinstall {BIBLE}").decode("utf-8")


def _rows(text: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)


def _placed(words: list[str], verse_of: dict[str, str]) -> dict[str, int]:
    """Where each word stands in its verse."""
    count: dict[str, int] = {}
    place: dict[str, int] = {}
    for word in words:
        place[word] = count.get(verse_of[word], 0)
        count[verse_of[word]] = place[word] + 1
    return place


def _grouped(words: dict[str, dict[str, str]], verse_of: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """The words of every verse."""
    made: dict[str, list[dict[str, str]]] = {}
    for word, row in words.items():
        made.setdefault(verse_of[word], []).append(row)
    return made
