"""Mask functions of transformers, which are closures, read back as patterns: by formula, never by their N² pairs."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from regard.errors import InputError
from regard.huggingface.library import masking
from regard.terms.pattern import Pattern, causal, documents, everything, padding, window

__all__ = ["UnrecognisedError", "lower", "run_lengths"]

MaskFunction = Callable[[Any, Any, Any, Any], Any]
"""(batch, head, query, key) indices, absolute → whether the pair may attend."""


class UnrecognisedError(Exception):
    """A mask function that is none of transformers' own, or has numbers that no pattern takes; says which."""


Handler = Callable[[dict[str, Any], "Reader"], Pattern]


class Reader:
    """Reads mask functions as patterns over the first `length` positions.

    Args:
        length: how many positions there are, from 0 to the last query or key.
        positions: `[batch, length]`, each token's place in its own document, where rows are packed.
    """

    def __init__(self, length: int, positions: Tensor | None = None) -> None:
        self.length = length
        self.positions = positions

    def read(self, function: MaskFunction) -> Pattern:
        """The pattern of one mask function, or UnrecognisedError."""
        handler = _handler(function)
        if handler is None:
            raise UnrecognisedError(getattr(function, "__qualname__", type(function).__name__))
        return handler(_cells(function), self)


def lower(function: MaskFunction, length: int) -> Pattern:
    """The pattern of a mask function of transformers over the first `length` positions, or UnrecognisedError."""
    try:
        return Reader(length).read(function)
    except InputError as error:
        raise UnrecognisedError(f"{getattr(function, '__qualname__', function)}: {error}") from error


def run_lengths(labels: Tensor) -> Tensor:
    """The lengths of the runs of equal neighbours in `[batch, n]`: `[batch, runs]`, zeros after a row's last run.

    `[runs]` where all rows are alike.
    """
    run = _starts(labels).cumsum(-1) - 1
    runs = int(run[:, -1].max()) + 1 if run.numel() else 0
    lengths = torch.zeros(labels.shape[0], runs, dtype=torch.int64, device=labels.device)
    lengths.scatter_add_(1, run, torch.ones_like(run))
    return lengths[0] if (lengths == lengths[:1]).all() else lengths


def _starts(labels: Tensor) -> Tensor:
    starts = torch.ones_like(labels, dtype=torch.bool)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    return starts


def _cells(function: Any) -> dict[str, Any]:
    """What a closure closes over, by name."""
    cells = function.__closure__ or ()
    return {name: cell.cell_contents for name, cell in zip(function.__code__.co_freevars, cells, strict=True)}


def _causal(cells: dict[str, Any], reader: Reader) -> Pattern:
    # Inside one document positions count up by one, so that "before" means the same in the document and in the row.
    return causal()


def _everything(cells: dict[str, Any], reader: Reader) -> Pattern:
    return everything()


def _sliding(cells: dict[str, Any], reader: Reader) -> Pattern:
    # The overlay alone bounds only the past; it comes with causality, where `_and` reads the two together.
    return window(cells["sliding_window"]) | ~causal()


def _two_sided(cells: dict[str, Any], reader: Reader) -> Pattern:
    return window(before=cells["sliding_window"], after=cells["sliding_window"])


def _chunks(cells: dict[str, Any], reader: Reader) -> Pattern:
    first: Tensor = cells["left_padding"]
    if reader.positions is None:
        place = torch.arange(reader.length, device=first.device)[None]
        return documents(run_lengths((place - first[:, None]) // cells["chunk_size"]))
    # Packed: a chunk also ends where its document does, which is where positions stop counting up by one.
    place = reader.positions
    chunk = (place - first[:, None]) // cells["chunk_size"]
    breaks = _starts(chunk)
    breaks[:, 1:] |= place[:, 1:] != place[:, :-1] + 1
    return documents(run_lengths(breaks.cumsum(-1)))


def _blocks(cells: dict[str, Any], reader: Reader) -> Pattern:
    labels: Tensor = cells["block_sequence_ids"]
    for row, starts in zip(labels, _starts(labels), strict=True):
        named = row[starts & (row >= 0)]
        if named.unique().numel() != named.numel():
            raise UnrecognisedError("blockwise_overlay with a block in several pieces")
    return documents(run_lengths(labels)) & padding(labels >= 0)


def _packed(cells: dict[str, Any], reader: Reader) -> Pattern:
    return documents(run_lengths(cells["packed_sequence_mask"]))


def _remapped(cells: dict[str, Any], reader: Reader) -> Pattern:
    return Reader(reader.length, cells["position_ids"]).read(cells["mask_function"])


def _padding(cells: dict[str, Any], reader: Reader) -> Pattern:
    return padding(cells["padding_mask"])


def _and(cells: dict[str, Any], reader: Reader) -> Pattern:
    parts = list(cells["mask_functions"])
    found: list[Pattern] = []
    if any(_handler(part) is _causal for part in parts):
        sliding = [part for part in parts if _handler(part) is _sliding]
        found = [causal(), *(window(_cells(part)["sliding_window"]) for part in sliding)]
        parts = [part for part in parts if _handler(part) not in (_sliding, _causal)]
    found += [reader.read(part) for part in parts]
    return reduce(operator.and_, found)


def _or(cells: dict[str, Any], reader: Reader) -> Pattern:
    return reduce(operator.or_, [reader.read(part) for part in cells["mask_functions"]])


def _handler(function: MaskFunction) -> Handler | None:
    """Closures made by one function share its code, whatever they close over."""
    return _HANDLERS.get(getattr(function, "__code__", None))


def _handlers() -> dict[CodeType | None, Handler]:
    """What to do for the code of each mask function that the installed transformers has."""
    nothing = torch.zeros(1, 1, dtype=torch.int64)
    made: list[tuple[str, tuple[Any, ...] | None, Handler]] = [
        ("causal_mask_function", None, _causal),
        ("bidirectional_mask_function", None, _everything),
        ("sliding_window_overlay", (1,), _sliding),
        ("sliding_window_bidirectional_overlay", (1,), _two_sided),
        ("chunked_overlay", (1, nothing[0]), _chunks),
        ("blockwise_overlay", (nothing,), _blocks),
        ("padding_mask_function", (nothing.bool(),), _padding),
        ("packed_sequence_mask_function", (nothing,), _packed),
        ("remap_positions_for_packed_sequence", (masking.causal_mask_function, nothing), _remapped),
        ("and_masks", (masking.causal_mask_function,), _and),
        ("or_masks", (masking.causal_mask_function,), _or),
    ]
    table: dict[CodeType | None, Handler] = {}
    for name, arguments, handler in made:
        function = getattr(masking, name, None)
        if function is not None:
            function = function if arguments is None else function(*arguments)
            table[function.__code__] = handler
    return table


_HANDLERS = _handlers()
