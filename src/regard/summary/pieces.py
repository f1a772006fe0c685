"""Texts cut into what a model reads at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from torch import Tensor, tensor

from regard.data import Loaded
from regard.errors import InputError

__all__ = ["Piece", "cut"]


@dataclass(frozen=True)
class Piece:
    """Some of a text, as many tokens as the model reads at once.

    Args:
        name: of the text.
        number: which piece of it, from 0.
        ids: its tokens, `[1, tokens]`, special ones too.
    """

    name: str
    number: int
    ids: Tensor

    @property
    def key(self) -> str:
        """What tells it from every other piece: its text's name, its number, its tokens."""
        made = sha256(f"{self.name}\0{self.number}\0".encode())
        made.update(self.ids.numpy().tobytes())
        return made.hexdigest()[:24]


def cut(loaded: Loaded, texts: Mapping[str, str], length: int | None = None) -> list[Piece]:
    """The pieces of all texts, in order; a text that is longer than the model reads is several.

    Args:
        loaded: the model.
        texts: by name.
        length: the most tokens of a piece; None is what the model reads.

    Errors: InputError for a length that can't be, a text without tokens, a tokenizer that can't cut.
    """
    most = _most(loaded, length)
    return [piece for name, text in texts.items() for piece in _pieces(loaded, name, text, most)]


def _most(loaded: Loaded, length: int | None) -> int | None:
    limit, least = loaded.positions, 1 + int(loaded.tokenizer.num_special_tokens_to_add())
    if length is None:
        return limit
    if length < least or (limit is not None and length > limit):
        most = f" to {limit}" if limit is not None else " on"
        raise InputError(f"--length must be from {least}{most} for {loaded.name}, got {length}")
    return length


def _pieces(loaded: Loaded, name: str, text: str, most: int | None) -> Iterator[Piece]:
    tokenizer = loaded.tokenizer
    if most is None or not getattr(tokenizer, "is_fast", False):
        rows = [tokenizer(text, verbose=False)["input_ids"]]
        if most is not None and len(rows[0]) > most:
            raise InputError(
                f"{name} has {len(rows[0])} tokens, {loaded.name} reads at most {most}, and its tokenizer can't cut; "
                "shorten the text"
            )
    else:
        rows = tokenizer(text, truncation=True, max_length=most, return_overflowing_tokens=True)["input_ids"]
    if not rows[0]:
        raise InputError(f"{loaded.name} reads no token in {name}")
    for number, ids in enumerate(rows):
        yield Piece(name, number, tensor([ids]))
