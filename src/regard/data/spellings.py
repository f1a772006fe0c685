"""Arabic names in Latin letters, and a model that writes them: from the package arabic-name-romanizer."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from regard.data.installed import checked, package

__all__ = ["Romanizing", "Spelled", "romanizing", "spellings"]

ROMANIZER = "arabic-name-romanizer==0.2.0"
DIGESTS = {
    "names.sqlite3": "d475ffa773e08a8bbe79a0ccd48d79336a84b25bda76a6a38fd53089392c8be0",
    "encoder.onnx": "f5d65df2189e5ec3929a3167d70de5f1f9eedd89dab964875039089581c5ec49",
    "decoder.onnx": "2365c42d362313c21748750eefebf3a61fd8045f73a98644176eca538200841a",
    "vocab.json": "edfa78c35a7e36b2df5b2d99268b1d96f877a9ab88b0206d8837360326428797",
}
_ASKED = """\
SELECT arabic_key, latin FROM units WHERE country NOT IN ('AF', 'IR', 'PK')
GROUP BY arabic_key, latin ORDER BY arabic_key, SUM(count) DESC, latin"""


@dataclass(frozen=True)
class Spelled:
    """One part of names.

    Args:
        arabic: its letters.
        latin: the ways in which people who bear it spell it, the most frequent one first.
    """

    arabic: str
    latin: tuple[str, ...]


@dataclass(frozen=True)
class Romanizing:
    """A published model in ONNX.

    Args:
        encoder: the file.
        decoder: the file, of one step.
        signs: of its input and its output, by number.
    """

    encoder: bytes
    decoder: bytes
    signs: tuple[str, ...]


def spellings() -> tuple[Spelled, ...]:
    """22,979 given names and surnames of people of 22 Arab countries, in the order of their letters.

    Errors: MissingError, InputError.

    Source: Wikidata (CC0), the Algerian Name Transcription Corpus (CC0) and DziriNames (MIT), collected by UNICEF.
    """
    _checked("names.sqlite3")
    path = package("arabic_name_romanizer", ROMANIZER) / "resources" / "names.sqlite3"
    with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as file:
        rows = file.execute(_ASKED).fetchall()
    known: dict[str, list[str]] = {}
    for arabic, latin in rows:
        known.setdefault(arabic, []).append(latin)
    return tuple(Spelled(arabic, tuple(latin)) for arabic, latin in known.items())


def romanizing() -> Romanizing:
    """The package's model: a GRU reads, a GRU with Luong's attention writes.

    Errors: MissingError, InputError.
    """
    encoder, decoder, signs = (_checked(name) for name in ("encoder.onnx", "decoder.onnx", "vocab.json"))
    return Romanizing(encoder, decoder, tuple(json.loads(signs)["tokens"]))


def _checked(name: str) -> bytes:
    path = package("arabic_name_romanizer", ROMANIZER) / "resources" / name
    return checked(path, DIGESTS[name], f"pip install --no-deps --force-reinstall {ROMANIZER}")
