"""A text as a model reads it: its tokens as they are shown, and the words they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from regard.data import Loaded
from regard.errors import InputError
from regard.explain.terminal import is_wide

__all__ = ["Token", "Tokens", "read"]

_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_BLANKS = {"": "∅", "\n": "⏎", "\t": "⇥", " ": "␣"}
_LISTED = 12


@dataclass(frozen=True)
class Token:
    """One token.

    Args:
        index: its place, from 0.
        text: as it is shown: the user's own characters, or the special token's name.
        kind: "word", "mark" (punctuation, blanks), "special" ([CLS], <s>, …) or "unknown" ([UNK]).
        word: which word of the text it belongs to, from 0; −1 for all other kinds.
        glued: it continues the token before it without a gap.
    """

    index: int
    text: str
    kind: str
    word: int
    glued: bool = False

    @property
    def label(self) -> str:
        """Its text, marked where it continues the token before it."""
        return f"·{self.text}" if self.glued else self.text


@dataclass(frozen=True)
class Tokens:
    """All tokens of a text, and their ids `[1, tokens]`."""

    ids: Tensor
    each: tuple[Token, ...]

    def __len__(self) -> int:
        return len(self.each)

    def __getitem__(self, index: int) -> Token:
        return self.each[index]

    @property
    def words(self) -> Tensor:
        """`[tokens]`: which word each token belongs to, −1 for none."""
        return torch.tensor([token.word for token in self.each])

    def find(self, asked: str) -> list[int]:
        """Where the token is that the user asks for: by its text, else by its index.

        Errors: InputError naming tokens that are there.
        """
        count = len(self)
        plain = asked.casefold().strip().lstrip("·#▁Ġ")
        found = [token.index for token in self.each if token.text.casefold() == plain]
        if not found and asked.lstrip("-").isdecimal():
            index = int(asked)
            if not -count <= index < count:
                raise InputError(f"--query {index} is not there: the text has tokens 0 to {count - 1}")
            return [index % count]
        if not found:
            listed = ", ".join(f"{token.index} {token.text}" for token in self.each[:_LISTED])
            more = f", … {count - _LISTED} more" if count > _LISTED else ""
            raise InputError(f"no token reads {asked!r}; name one of the tokens, or its number: {listed}{more}")
        return found


def read(loaded: Loaded, text: str) -> Tokens:
    """A text cut into the model's tokens.

    Errors: InputError for a text without tokens, or with more than the model has positions for.
    """
    if not text.strip():
        raise InputError("the text is empty; give a sentence, a file with text in it, or - for standard input")
    fast = bool(getattr(loaded.tokenizer, "is_fast", False))
    made = loaded.tokenizer(text, return_tensors="pt", return_offsets_mapping=fast, verbose=False)
    ids: Tensor = made["input_ids"]
    count, limit = ids.shape[1], loaded.positions
    if not count:
        raise InputError(f"{loaded.name} reads no token in this text")
    if limit is not None and count > limit:
        advice = "" if loaded.name == "smollm2" else ", or use a model that reads more (--model smollm2: 8192)"
        raise InputError(f"the text has {count} tokens and {loaded.name} reads at most {limit}; shorten it{advice}")
    if fast:
        spans = [(int(low), int(high)) for low, high in made["offset_mapping"][0].tolist()]
        each = _from_spans(text, ids[0].tolist(), spans, loaded.tokenizer)
    else:
        each = _from_pieces(ids[0].tolist(), loaded.tokenizer)
    return Tokens(ids, tuple(each))


def _from_spans(text: str, ids: list[int], spans: list[tuple[int, int]], tokenizer: Any) -> list[Token]:
    """Tokens whose characters in the text are known."""
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    made: list[Token] = []
    word, end, word_end = -1, 0, 0
    for index, (number, (low, high)) in enumerate(zip(ids, spans, strict=True)):
        if number in special or number == tokenizer.unk_token_id or low == high:
            kind = "special" if number in special else "unknown" if low < high else "mark"
            name = "" if kind == "mark" else str(tokenizer.convert_ids_to_tokens(number))
            made.append(Token(index, shown(name), kind, -1))
            end = max(end, high)
            continue
        while low < high - 1 and text[low].isspace():
            low += 1
        inside = low < end  # a further byte of the character before it
        apart = low > end or not made or made[-1].kind != "word"
        wide = is_wide(text[low]) or (low > 0 and is_wide(text[low - 1]))
        is_word = any(letter.isalnum() for letter in text[low:high])
        spaced = any(letter.isspace() for letter in text[word_end:low])
        if is_word and not inside and (spaced or wide or word < 0):
            word += 1
        glued = is_word and not inside and not apart and not wide
        piece = _bytewise(text[low:high], spans, index)
        made.append(Token(index, piece, "word" if is_word else "mark", word if is_word else -1, glued))
        end = max(end, high)
        word_end = end if is_word else word_end
    return made


def _bytewise(piece: str, spans: list[tuple[int, int]], index: int) -> str:
    """A piece, numbered where several tokens are the bytes of one character."""
    high = spans[index][1]
    first = index
    while first and spans[first - 1][1] == high and spans[first][0] < spans[first - 1][1]:
        first -= 1
    last = index
    while last + 1 < len(spans) and spans[last + 1][1] == high and spans[last + 1][0] < high:
        last += 1
    return shown(piece) if first == last else shown(piece) + str(index - first + 1).translate(_SUPERSCRIPT)


def _from_pieces(ids: list[int], tokenizer: Any) -> list[Token]:
    """Tokens known only by the tokenizer's own spelling: ##piece, ▁word, Ġword."""
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    pieces = [str(piece) for piece in tokenizer.convert_ids_to_tokens(ids)]
    spaced = any(piece[:1] in "▁Ġ" for piece in pieces if piece)
    made: list[Token] = []
    word = -1
    for index, (number, piece) in enumerate(zip(ids, pieces, strict=True)):
        plain = shown(piece.removeprefix("##").lstrip("▁Ġ"))
        if number in special:
            made.append(Token(index, shown(piece), "special", -1))
            continue
        is_word = any(letter.isalnum() for letter in plain)
        continues = piece.startswith("##") or (spaced and piece[:1] not in "▁Ġ")
        glued = continues and bool(made) and made[-1].kind == "word"
        word += is_word and not glued
        made.append(Token(index, plain, "word" if is_word else "mark", word if is_word else -1, glued and is_word))
    return made


def shown(text: str) -> str:
    """A token's text with nothing in it that a terminal would obey or hide."""
    if text in _BLANKS:
        return _BLANKS[text]
    if text.isspace():
        return "⏎" if "\n" in text else "␣"
    return "".join(letter if letter.isprintable() else "�" for letter in text)
