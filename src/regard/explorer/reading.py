"""One text read by one model: its tokens, and layer by layer what was seen; or a look without a text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from regard.data import Loaded
from regard.errors import RegardError
from regard.explain.seeing import Asked, run, run_eagerly
from regard.explain.survey import Survey, Wish
from regard.explain.tokens import read
from regard.explorer import segments
from regard.explorer.bell import Bell
from regard.explorer.jobs import Stopping, Withdrawn
from regard.explorer.models import Models
from regard.looking import look
from regard.looking.shown import STEPS, Progress, Segment, Shown, Word
from regard.looking.told import Sight, numbers

__all__ = ["EXACT", "Reading", "name_of", "sight_of"]

EXACT = 512
"""Tokens that are compared with the model's own attention, whose memory grows with the square."""


class Reading(Shown):
    """A text that a model reads in the worker's thread.

    Args:
        model: by name.
        text: what is read.
        wish: the layer, head or query to begin with, where they are named.
    """

    def __init__(self, model: str, text: str, wish: Wish | None = None) -> None:
        super().__init__(name_of(model, text), model, text)
        self.bell = Bell()
        self.loaded: Loaded | None = None
        self.ids: Tensor | None = None
        self.states: Tensor | None = None
        self._wish = wish or Wish()

    def read(self, models: Models, breathe: Callable[[], None]) -> None:
        """Run the model, and look at every layer as it goes.

        Args:
            models: that has the model.
            breathe: called between layers; may raise to end it.
        """
        try:
            self._to("running", Progress(0, 1, f"loading {self.model}"))
            self.loaded = models.load(self.model, lambda said: self._to("running", Progress(0, 1, said)))
            breathe()
            self._look(self.loaded, breathe)
            self._to("ready", Progress(1, 1, "done"))
        except (Withdrawn, Stopping):
            self.drop()
            self.cancelled()
            raise
        except RegardError as error:
            self._fail(str(error))
        except Exception as error:
            self._fail(f"the model stopped: {type(error).__name__}: {' '.join(str(error).split())[:200]}")

    def drop(self) -> None:
        """Let go of all that takes memory."""
        super().drop()
        self.states = None

    def cancelled(self) -> None:
        """Nobody wants it any more."""
        self._to("cancelled", self.progress)

    def _fail(self, why: str) -> None:
        self.drop()
        self.error = why
        self._to("failed", self.progress)

    def _to(self, state: str, progress: Progress) -> None:
        if not self.ended:
            self.state, self.progress = state, progress
        self.bell.ring()

    def _look(self, loaded: Loaded, breathe: Callable[[], None]) -> None:
        tokens = read(loaded, self.text)
        self.words = tuple(Word(token.text, token.kind, token.glued) for token in tokens.each)
        self.parts = tuple(_parts(loaded, self.text, len(tokens)))
        self.ids = tokens.ids
        survey = Survey(tokens, self._wish, lambda said: None)
        layers = getattr(loaded.model.config, "num_hidden_layers", None) or 1
        short = len(tokens) <= STEPS

        def watch(asked: Asked) -> None:
            self._to("running", Progress(asked.layer, layers + 1, f"layer {asked.layer + 1}"))
            breathe()
            survey(asked)
            breathe()
            self.see(sight_of(asked, short), tokens.ids[0], {"reach": numbers(torch.tensor(survey.table[-1]))})
            breathe()

        self._to("running", Progress(0, layers + 1, "the first layer"))
        states = run(loaded, tokens.ids, watch)
        self.states = states if short else None
        self.telling = _telling(survey)
        self._to("running", Progress(layers, layers + 1, "comparing with the model's own attention"))
        breathe()
        if survey.causal or len(tokens) <= EXACT:
            own = run_eagerly(loaded, tokens.ids[:, :EXACT], 0, 0, 0).states
            self.exact = float((states[:, :EXACT] - own).abs().max())


def sight_of(asked: Asked, values: bool) -> Sight:
    """What was asked of one layer, to look at."""
    call = asked.call
    seen = look(call.query, call.key, call.rule, query_start=call.query_start, key_start=call.key_start, top=1)
    return Sight(seen, call.value if values else None)


def name_of(model: str, text: str) -> str:
    """The id of a run."""
    return hashlib.sha256(f"{model}\0{text}".encode()).hexdigest()[:20]


def _parts(loaded: Loaded, text: str, count: int) -> list[Segment]:
    """The segments in tokens; a tokenizer that does not say where its tokens stand has none."""
    if not getattr(loaded.tokenizer, "is_fast", False):
        return []
    made = loaded.tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return segments.of_tokens(segments.of_text(text), [(int(a), int(b)) for a, b in made[:count]])


def _telling(survey: Survey) -> dict[str, Any]:
    """The head that tells most, by the measure of `regard explain`, and why."""
    choice = survey.choice
    assert survey.reach is not None
    value = survey.table[choice.layer][choice.head]
    return {
        "layer": choice.layer,
        "head": choice.head,
        "query": choice.query,
        "key": choice.key,
        "weight": float(choice.asked.seen.rows([choice.query])[0, choice.head, 0, choice.key]),
        "kind": "far",
        "why": f"of all {sum(map(len, survey.table))} heads it gives most of its weight, {value:.0%} in the mean, "
        f"to one word far away: {survey.reach.formula}",
    }
