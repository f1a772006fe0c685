"""A text as it was seen, for a page: its tokens, its layers, and how far that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from regard.errors import InputError
from regard.looking.asking import ids_of
from regard.looking.seen import Look
from regard.looking.told import Sight, look_alone

__all__ = ["STEPS", "Progress", "Segment", "Shown", "Word", "of_looks"]

STEPS = 64
"""The longest text of which every step of every query is shown."""
ENDED = ("ready", "failed", "cancelled")


@dataclass(frozen=True)
class Segment:
    """A named part, from the token `start` up to `stop`."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Word:
    """A token as it is shown.

    Args:
        text: its characters.
        kind: "word", "mark", "special" or "unknown".
        glued: it continues the one before it without a gap.
    """

    text: str
    kind: str = "unknown"
    glued: bool = False


@dataclass(frozen=True)
class Progress:
    """How far it is: `done` of `total`, and in a word what is being done."""

    done: int = 0
    total: int = 1
    what: str = "waiting"


@dataclass
class Shown:
    """What the page asks about by its id.

    Args:
        id: of the run.
        model: by name; "look" for a look without one.
        text: what was read.
        state: "waiting", "running", "ready", "failed" or "cancelled".
        progress: how far it is.
        error: why it failed.
        words: its tokens.
        parts: its segments.
    """

    id: str
    model: str
    text: str = ""
    state: str = "waiting"
    progress: Progress = field(default_factory=Progress)
    error: str | None = None
    words: tuple[Word, ...] = ()
    parts: tuple[Segment, ...] = ()

    def __post_init__(self) -> None:
        self.sights: list[Sight] = []
        """The layers that were seen by now."""
        self.measures: list[dict[str, list[float | None]]] = []
        """The measures of each."""
        self.telling: dict[str, Any] | None = None
        """Which head and query to begin with, and why."""
        self.exact: float | None = None
        """The largest difference from the model's own attention in the last hidden states; None: not compared."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ENDED

    @property
    def nbytes(self) -> int:
        """Of queries, keys and values, roughly all that it holds."""
        held = [t for sight in self.sights for t in (sight.problem.query, sight.problem.key, sight.value)]
        return sum(tensor.nbytes for tensor in held if tensor is not None)

    @property
    def no_sinks(self) -> list[int]:
        """The tokens that are words: not where unneeded weight is parked."""
        return [place for place, word in enumerate(self.words) if word.kind == "word"]

    def segment_of(self) -> Tensor | None:
        """`[tokens]`: the segment of each; None where there are none."""
        if not self.parts:
            return None
        which = torch.full((len(self.words),), -1, dtype=torch.int64)
        for number, part in enumerate(self.parts):
            which[part.start : part.stop] = number
        return which

    def see(
        self, sight: Sight, tokens: Tensor | None = None, more: dict[str, list[float | None]] | None = None
    ) -> None:
        """One more layer, measured: in one pass over its rows and one over its columns.

        Args:
            sight: the layer.
            tokens: the token of each key, for duplicate and induction.
            more: measures of its heads that were found elsewhere.
        """
        where = self.segment_of()
        if where is not None:
            sight.look.collect(segments=[where])
        measures = sight.measures(tokens)
        self.sights.append(sight)
        self.measures.append({**measures, **(more or {})})

    def drop(self) -> None:
        """Let go of all that takes memory."""
        self.sights, self.measures = [], []


def of_looks(looks: Sequence[Look], tokens: Sequence[str] | None = None, ids: Tensor | None = None) -> Shown:
    """Looks that are there already, a layer each; nothing is to be read.

    Args:
        looks: of queries and keys of one sequence, one batch entry each.
        tokens: their texts; else they go by number.
        ids: the token of each key, for duplicate and induction.

    Errors: InputError for no look, or one of several texts, or whose queries are not those of its keys.
    """
    if not looks:
        raise InputError("there is no look to show")
    sights = [Sight(look_alone(look)) for look in looks]
    sizes = {size for sight in sights for size in (sight.problem.queries, sight.problem.keys)}
    if len(sizes) > 1:
        raise InputError(f"a page shows queries and keys of one text; these looks have {sorted(sizes)} of them")
    length = sizes.pop()
    if not length:
        raise InputError("there is no token to show")
    if tokens is not None and len(tokens) != length:
        raise InputError(f"tokens must be {length} texts, got {len(tokens)}")
    texts = [str(place) for place in range(length)] if tokens is None else list(tokens)
    made = Shown("look", "look", state="ready", progress=Progress(1, 1, "done"), words=tuple(map(Word, texts)))
    for sight, look in zip(sights, looks, strict=True):
        made.see(sight, None if ids is None else ids_of(look.source.problem, "ids", ids, length)[0])
    made.telling = _sharpest(made)
    return made


def _sharpest(shown: Shown) -> dict[str, Any]:
    """Without words, the head whose greatest weights are the greatest in the mean, at its most certain query.

    Of the second half: the first ones may see too few keys to be uncertain.
    """
    layer = max(range(len(shown.sights)), key=lambda at: max(x or 0.0 for x in shown.measures[at]["maximum"]))
    means = shown.measures[layer]["maximum"]
    head = max(range(len(means)), key=lambda at: means[at] or 0.0)
    look = shown.sights[layer].look
    half = len(shown.words) // 2
    query = half + int(look.maximum()[0, head, half:].argmax())
    top = look.top(1)
    return {
        "layer": layer,
        "head": head,
        "query": query,
        "key": int(top.keys[0, head, query, 0]),
        "weight": float(top.weights[0, head, query, 0]),
        "kind": "sharp",
        "why": f"its greatest weights are the greatest of all heads: {means[head]:.3g} in the mean over queries",
    }
