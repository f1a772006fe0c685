"""A model over many pieces of text: statistics added up, kept on disk, taken up again where a run was ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from regard.data import Loaded
from regard.errors import InputError
from regard.huggingface import watch
from regard.huggingface.interface import Call, watching
from regard.looking import Totals
from regard.summary.pieces import Piece

__all__ = ["FILE", "Gathered", "Wish", "gather", "read"]

FILE = "statistics.safetensors"
_OFTEN = 5.0
"""Seconds of work that the end of a run may cost."""


@dataclass(frozen=True)
class Wish:
    """What is to be looked at.

    Args:
        loaded: the model.
        pieces: of all texts.
        skipped: what was left out, and why, by name.
        folder: where progress is kept, or None.
    """

    loaded: Loaded
    pieces: list[Piece]
    skipped: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass
class Gathered:
    """What was seen, or had been until the run was interrupted.

    Args:
        wish: what was to be looked at.
        totals: all layers, added up; None where nothing is done.
        done: keys of the pieces that are in them.
        before: how many of these an earlier run had done.
        interrupted: whether the user ended it.
    """

    wish: Wish
    totals: Totals | None = None
    done: tuple[str, ...] = ()
    before: int = 0
    interrupted: bool = False

    @property
    def path(self) -> Path | None:
        """Where it is kept."""
        return None if self.wish.folder is None else self.wish.folder / FILE

    @property
    def whole(self) -> Totals:
        """What was seen."""
        assert self.totals is not None
        return self.totals

    def keep(self) -> None:
        """Write what there is, if it is to be kept."""
        if self.path is not None and self.totals is not None:
            self.totals.about = {"model": _named(self.wish.loaded), "done": list(self.done)}
            self.totals.save(self.path)


def gather(wish: Wish, note: Callable[[str], None] = lambda said: None) -> Gathered:
    """Run the model over all pieces that are not done yet.

    Args:
        wish: what is to be looked at.
        note: told what takes long.

    Returns: what there is, also where the user interrupts.

    Errors: InputError for a model that can't be served or reads more than one text, and for a folder that holds the
        progress of something else.
    """
    found = _resumed(wish)
    known = set(found.done)
    missing = [piece for piece in wish.pieces if piece.key not in known]
    keys = list(found.done)
    state = found.totals, len(keys)  # bound at once, so that an interrupt never finds one without the other
    kept = time.monotonic()
    try:
        for number, piece in enumerate(missing):
            seen = _seen(wish.loaded, piece, note, f"piece {number + 1} of {len(missing)}")
            keys.append(piece.key)
            state = seen if state[0] is None else state[0] + seen, len(keys)
            if time.monotonic() - kept > _OFTEN:
                replace(found, totals=state[0], done=tuple(keys)).keep()
                kept = time.monotonic()
    except KeyboardInterrupt:
        found.interrupted = True
    finally:
        found.totals, found.done = state[0], tuple(keys[: state[1]])
        if len(found.done) > found.before:
            found.keep()
    return found


def read(loaded: Loaded, ids: torch.Tensor) -> None:
    """Run the model, which is watched meanwhile.

    Errors: InputError for a model that does not read one text alone.
    """
    if getattr(loaded.model.config, "is_encoder_decoder", False):
        raise InputError(
            f"{loaded.name} is an encoder and a decoder, and look reads one text; watch it in Python: "
            "regard.huggingface.watch"
        )
    try:
        with torch.inference_mode():
            loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids))
    except (TypeError, AttributeError) as error:
        raise InputError(f"{loaded.name} is no model that reads text alone: {error}") from error


def _seen(loaded: Loaded, piece: Piece, note: Callable[[str], None], which: str) -> Totals:
    layers = int(getattr(loaded.model.config, "num_hidden_layers", 0) or 0)
    ran = 0

    def told(call: Call) -> None:
        nonlocal ran
        ran += 1
        note(f"{which} ({piece.name}): layer {ran}{f' of {layers}' if layers else ''}")

    with watching(told), watch(loaded.model) as seen:
        read(loaded, piece.ids)
    return seen.totals()


def _resumed(wish: Wish) -> Gathered:
    """What an earlier run has kept, if it was of this model and of some of these pieces."""
    found = Gathered(wish)
    if found.path is None or not found.path.exists():
        return found
    totals = Totals.load(found.path)
    about: dict[str, Any] = totals.about
    advice = f"name another directory, or remove {found.path}"
    if about.get("model") != _named(wish.loaded):
        raise InputError(f"{found.path} holds what was seen of another model, {_model_of(about)}; {advice}")
    done = tuple(str(key) for key in about.get("done", []))
    others = set(done) - {piece.key for piece in wish.pieces}
    if others:
        raise InputError(
            f"{found.path} holds {len(done)} pieces, and {len(others)} of them are not in these texts, cut like this; "
            f"{advice}"
        )
    return Gathered(wish, totals, done, len(done))


def _model_of(about: Mapping[str, Any]) -> str:
    said = about.get("model")
    return str(said[0]) if isinstance(said, list) and said else "unknown"


def _named(loaded: Loaded) -> list[str]:
    """A model's name, and what tells it from others of that name: its config, and how large its weights are."""
    made = sha256((loaded.path / "config.json").read_bytes())
    for file in sorted(loaded.path.glob("*.safetensors")):
        made.update(f"{file.name} {file.stat().st_size}".encode())
    return [loaded.name, made.hexdigest()[:16]]
