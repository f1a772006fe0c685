"""The whole explanation as a value: what was run, which head and query, every number of the six steps, the checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.data import Loaded
from regard.engines.reference import Steps
from regard.explain.reach import Reach
from regard.explain.seeing import run, run_eagerly
from regard.explain.survey import Choice, Survey, Wish
from regard.explain.tokens import Tokens, read
from regard.terms.score import Dot, Score, Softcap

__all__ = ["Agreement", "Explanation", "Numbers", "explain"]

TOLERANCE = 1e-4
COMPARED = 2048
"""Tokens of a longer text that run with eager attention, whose memory grows with the square."""
HEAT = 64
"""The longest text whose whole map of weights is kept for a picture."""


@dataclass(frozen=True)
class Numbers:
    """Every number of one query's attention; vectors over keys are `[tokens]`.

    Args:
        query: q, as it enters the score.
        key: k of the key that is reached.
        products: q_d · k_d for every dimension; their sum is the raw score.
        scale: what the raw score is multiplied by.
        cap: the soft cap c of c·tanh(score/c), or None.
        score: the scaled score of every key.
        bias: what is added to it, or None.
        visible: whether the query may look at the key.
        masked: score + bias, −∞ where hidden.
        lse: log Σ_j exp(masked_j).
        sink: the share that goes to no key at all.
        weights: the weights.
        lengths: ‖v_j‖.
        out: Σ_j w_j · v_j.
    """

    query: Tensor
    key: Tensor
    products: Tensor
    scale: float
    cap: float | None
    score: Tensor
    bias: Tensor | None
    visible: Tensor
    masked: Tensor
    lse: float
    sink: float
    weights: Tensor
    lengths: Tensor
    out: Tensor

    @property
    def raw(self) -> float:
        """q · k of the key that is reached."""
        return float(self.products.sum())


@dataclass(frozen=True)
class Agreement:
    """How far regard is from the model's own eager attention.

    Args:
        difference: the largest absolute difference of the final hidden states.
        largest: the largest of these states, for scale.
        tokens: how many tokens were compared.
        weights: the largest absolute difference of this query's weights, or None where eager kept none.
        out: the largest absolute difference between Σ_j w_j · v_j and what `attend` gave.
    """

    difference: float
    largest: float
    tokens: int
    weights: float | None
    out: float

    @property
    def tolerance(self) -> float:
        """What the difference may be: 1e-4, relative to the largest state where that is above 1."""
        return TOLERANCE * max(1.0, self.largest)

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.difference <= self.tolerance


@dataclass(frozen=True)
class Explanation:
    """One head of a real model, explained at one query.

    Args:
        loaded: the model.
        text: the text.
        tokens: its tokens.
        rule: the layer's rule, as it prints.
        reach: the measure by which they were chosen.
        table: the measure for all layers × heads; of the one query where the user named it.
        measured: at how many queries it was measured.
        choice: which head and query are shown, and why.
        numbers: the numbers.
        agreement: the checks.
        heat: `[tokens, tokens]`, all weights of the head, for short texts.
    """

    loaded: Loaded
    text: str
    tokens: Tokens
    rule: str
    reach: Reach
    table: list[list[float]]
    measured: int
    choice: Choice
    numbers: Numbers
    agreement: Agreement
    heat: Tensor | None


def explain(
    loaded: Loaded, text: str, wish: Wish | None = None, note: Callable[[str], None] = lambda said: None
) -> Explanation:
    """Run a model on a text and explain one head of it.

    Args:
        loaded: the model.
        text: the text.
        wish: layer, head or query that the user names; the measure chooses the rest.
        note: told, in a few words, how far it is.

    Errors: InputError for a text that is empty or too long, a layer, head or query that is not there, and a model
        that can't be served.
    """
    tokens = read(loaded, text)
    survey = Survey(tokens, wish or Wish(), note)
    states = run(loaded, tokens.ids, survey)
    choice = survey.choice
    assert survey.reach is not None
    measured = len(choice.matches) or int(survey.reach.candidates[survey.rows].sum())
    with torch.inference_mode():
        steps = choice.asked.steps(choice.query)
        numbers = _numbers(steps, choice)
        heat = choice.asked.seen.rows(range(len(tokens)))[0, choice.head] if len(tokens) <= HEAT else None
        note("the model's own attention, to compare")
        agreement = _agreement(loaded, survey, states, numbers)
    rule = repr(choice.asked.rule)
    return Explanation(
        loaded, text, tokens, rule, survey.reach, survey.table, measured, choice, numbers, agreement, heat
    )  # fmt: skip


def _numbers(steps: Steps, choice: Choice) -> Numbers:
    head = choice.head
    shared = head // (steps.query.shape[1] // steps.key.shape[1])
    query, key = steps.query[0, head, 0], steps.key[0, shared, choice.key]
    scale, cap = _scale(choice.asked.rule.score, head, query.shape[-1])
    weights = steps.weights[0, head, 0]
    return Numbers(
        query=query,
        key=key,
        products=query.double() * key.double(),
        scale=scale,
        cap=cap,
        score=steps.score[0, head, 0],
        bias=None if steps.bias is None else steps.bias[0, head, 0],
        visible=steps.visible[0, head, 0],
        masked=steps.masked[0, head, 0],
        lse=float("nan") if steps.lse is None else float(steps.lse[0, head, 0]),
        sink=1.0 - float(weights.double().sum()) if _has_sink(choice) else 0.0,
        weights=weights,
        lengths=steps.value[0, shared].norm(dim=-1),
        out=steps.out[0, head, 0],
    )


def _has_sink(choice: Choice) -> bool:
    return getattr(choice.asked.rule.normalize, "sink", None) is not None


def _scale(score: Score, head: int, dim: int) -> tuple[float, float | None]:
    """What the raw product is multiplied by, and the cap."""
    if isinstance(score, Softcap):
        return _scale(score.score, head, dim)[0], score.cap
    scale = score.scale if isinstance(score, Dot) else 1.0
    if isinstance(scale, Tensor):
        return float(scale.flatten()[head] if scale.numel() > 1 else scale), None
    return dim**-0.5 if scale is None else float(scale), None


def _agreement(loaded: Loaded, survey: Survey, states: Tensor, numbers: Numbers) -> Agreement:
    choice, tokens = survey.choice, survey.tokens
    row = choice.query
    ids = tokens.ids[:, :COMPARED]
    whole = ids.shape[1] == len(tokens)
    states = states[:, :COMPARED] if survey.causal else states
    if states.shape[1] > COMPARED:  # what comes after a token changes it: the short text is run for itself
        states = run(loaded, ids, lambda _: None)
    eager = run_eagerly(loaded, ids, choice.layer, choice.head, row if whole else 0)
    weights = None if eager.row is None or not whole else float((eager.row - numbers.weights).abs().max())
    return Agreement(
        difference=float((states - eager.states).abs().max()),
        largest=float(eager.states.abs().max()),
        tokens=ids.shape[1],
        weights=weights,
        out=float((choice.asked.out(row)[choice.head] - numbers.out).abs().max()),
    )
