"""What a look says, as plain numbers for a page: measures of heads, one head, one pair, the steps of one query."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from regard.attention import attend, steps
from regard.engines.reference import Steps
from regard.errors import InputError
from regard.looking.seen import Look
from regard.terms.score import Dot, Score, Softcap

__all__ = ["MEASURES", "Measure", "Sight", "look_alone", "numbers"]

TOP = 8
SINK, TIMES_EVEN, MOST = 0.1, 4, 0.5
TINY = 1e-30


@dataclass(frozen=True)
class Measure:
    """One number a head: what it is called, what it means, and between which ends it lies (None: the text says)."""

    name: str
    title: str
    meaning: str
    low: float = 0.0
    high: float | None = 1.0


MEASURES = (
    Measure("entropy", "entropy", "how widely weights are spread: mean over queries of −Σ w log w, in nats", high=None),
    Measure("effective", "effective keys", "of how many keys: mean of (Σ w)² / Σ w²", 1.0, None),
    Measure("maximum", "greatest weight", "mean over queries of the greatest weight"),
    Measure("distance", "distance", "how far it looks, in tokens: mean of Σ w |i − j|", high=None),
    Measure("previous", "previous token", "mean weight on the token before the query"),
    Measure("next", "next token", "mean weight on the token after the query"),
    Measure("same", "itself", "mean weight on the query's own token"),
    Measure("sink", "first token", "mean weight on the first token, where unneeded weight is often parked"),
    Measure("local", "local", "mean weight within 8 tokens"),
    Measure("duplicate", "duplicate", "mean weight on the last earlier token that is the same"),
    Measure("induction", "induction", "mean weight on the token after the last earlier one that is the same"),
)


def numbers(values: Tensor) -> Any:
    """A tensor as nested lists: null where it is not finite, each in as few digits as tell it from the next float."""
    if values.ndim > 1:
        return [numbers(one) for one in values]
    if not values.is_floating_point():
        return values.tolist()
    array = (values if values.dtype == torch.float64 else values.float()).detach().numpy()
    return [_number(str(one)) for one in array] if values.ndim else _number(str(array[()]))


def _number(said: str) -> float | None:
    return float(said) if math.isfinite(float(said)) else None


def _share(value: float) -> float:
    """A share in six digits."""
    return float(f"{value:.6g}")


class Sight:
    """One layer of one text: its look, and the values that it adds up where they were kept.

    Args:
        look: `[1, heads, queries, dim]`, of one batch entry.
        value: `[1, kv_heads, keys, value_dim]`, or None.
    """

    def __init__(self, look: Look, value: Tensor | None = None) -> None:
        self.look, self.value, self.problem = look, value, look.source.problem

    @property
    def heads(self) -> int:
        """How many query heads."""
        return self.problem.heads

    def measures(self, tokens: Tensor | None, alike: bool = True) -> dict[str, list[float | None]]:
        """A number for each measure and head, means over the queries that see any key.

        Args:
            tokens: the token of each key, for duplicate and induction.
            alike: whether queries and keys are of one sequence; else nothing speaks of positions.
        """
        look = self.look
        live = (look.maximum()[0] > 0).double()
        count = live.sum(-1).clamp(min=1)
        rows = {"entropy": look.entropy(), "effective": look.effective_keys(), "maximum": look.maximum()}
        scores: dict[str, Tensor | None] = {}
        if alike:
            rows["distance"] = look.distance().mean
            scores = look.head_scores(tokens)._asdict()
        found = {name: (one[0].double() * live).sum(-1) / count for name, one in rows.items()}
        found |= {name: one[0] for name, one in scores.items() if one is not None}
        return {name: numbers(one) for name, one in found.items()}

    def head(self, head: int, segments: Tensor | None = None, words: Sequence[int] = ()) -> dict[str, Any]:
        """Everything about one head that grows with the text and not with its square.

        Args:
            head: which.
            segments: the segment of each token.
            words: keys that are never called a sink, however much they get.
        """
        look = self.look
        received = look.received()[0, head].double()
        mass = max(float(received.sum()), TINY)
        sinks = [key for key in self._sinks(received / mass) if key not in set(words) - {0}]
        return {
            "entropy": numbers(look.entropy()[0, head]),
            "received": numbers(look.received()[0, head]),
            "maximum": numbers(look.maximum()[0, head]),
            "hidden": {name: _share(part / mass) for name, part in self._hidden(head, sinks).items()},
            "sink_keys": sinks,
            "segments": None if segments is None else self._segments(head, segments),
            "profile": self._profile(head),
        }

    def _sinks(self, share: Tensor) -> list[int]:
        """Keys with at least a tenth of all weight, and four times (up to a half) what an even share would be."""
        least = max(SINK, min(MOST, TIMES_EVEN / max(1, share.numel())))
        return [int(key) for key in (share >= least).nonzero().flatten()]

    def _hidden(self, head: int, sinks: list[int]) -> dict[str, float]:
        """Weight on the sinks, and on the diagonal without them."""
        first = self.problem.extent.query_start[0] - self.problem.extent.key_start[0]
        own = [key for key in sinks if 0 <= key - first < self.problem.queries]
        both = sum(float(self.look.rows(key - first)[0, head, 0, key]) for key in own)
        diagonal = float(self.look.distance().before[0, head, 0]) - both
        return {"sink": float(self.look.received()[0, head, sinks].double().sum()), "diagonal": max(0.0, diagonal)}

    def _segments(self, head: int, segments: Tensor) -> Any:
        """`[segments][segments]`: the share of a segment's weight that goes to each."""
        total = self.look.segments(segments).sum[0, head].double()
        return numbers((total / total.sum(-1, keepdim=True).clamp(min=TINY)).float())

    def _profile(self, head: int) -> list[dict[str, float | int]]:
        """Shares of all weight by distance j − i, from the farthest before the query to the farthest after it."""
        found = self.look.distance()
        before, after = (side[0, head].double() for side in (found.before, found.after))
        mass = max(float(before.sum() + after.sum()), TINY)
        low = [0] + [1 << n for n in range(len(before) - 1)]
        high = [0] + [(2 << n) - 1 for n in range(len(before) - 1)]
        parts = [(-high[n], -low[n], before[n]) for n in reversed(range(len(before)))]
        parts += [(low[n], high[n], after[n]) for n in range(1, len(after))]
        return [{"distance_from": a, "distance_to": b, "share": _share(float(m) / mass)} for a, b, m in parts]

    # ---------------------------------------------------------------------------------------- single queries

    def steps_of(self, row: int | None) -> Steps:
        """The steps of one query, or of all; where no values were kept, keys stand in and `out` means nothing."""
        problem = self.problem
        query = problem.query if row is None else problem.query[:, :, row : row + 1]
        value = problem.key if self.value is None else self.value
        begin = problem.extent.query_start[0] + (row or 0)
        return steps(
            query, problem.key, value, problem.said, query_start=begin, key_start=problem.extent.key_start[0],
            seed=problem.seed,
        )  # fmt: skip

    @cached_property
    def differences(self) -> Tensor:
        """How far `Σ_j w_ij v_j` is from what `attend` gives, which the model went on with: `[heads, queries]`."""
        problem = self.problem
        assert self.value is not None
        given = attend(
            problem.query, problem.key, self.value, problem.said,
            query_start=problem.extent.query_start[0], key_start=problem.extent.key_start[0],
        )  # fmt: skip
        return (self.steps_of(None).out - given).abs().amax(-1)[0]

    def scale(self, head: int) -> float | None:
        """What q · k is multiplied by; None for a score that is no product."""
        score: Score = self.problem.said.score
        score = score.score if isinstance(score, Softcap) else score
        if not isinstance(score, Dot):
            return None
        if isinstance(score.scale, Tensor):
            return float(score.scale.flatten()[head] if score.scale.numel() > 1 else score.scale)
        return self.problem.query.shape[-1] ** -0.5 if score.scale is None else float(score.scale)

    def pair(self, head: int, row: int, key: int) -> dict[str, Any]:
        """One weight, and what else its query looks at."""
        found = self.steps_of(row)
        weights, masked = found.weights[0, head, 0], found.masked[0, head, 0]
        seen = found.visible[0, head, 0]
        best: list[int] = weights.argsort(descending=True, stable=True)[:TOP].tolist()
        top = [{"key": at, "weight": numbers(weights[at])} for at in best if bool(seen[at])]
        return {
            "weight": numbers(weights[key]),
            "score": numbers(masked[key]) if bool(seen[key]) else None,
            "rank": 1 + int((weights > weights[key]).sum()),
            "keys": int(seen.sum()),
            "visible": bool(seen[key]),
            "top": top,
            "uncovered": max(0.0, float(weights.double().sum()) - sum(float(weights[one["key"]]) for one in top)),
            "entropy": numbers(self.look.entropy()[0, head, row]),
        }


def look_alone(look: Look) -> Look:
    """The same weights, `[1, heads, queries, keys]`, whatever leading dimensions they had, if they are of one text.

    Errors: InputError for a look at several.
    """
    problem = look.source.problem
    if problem.batch != 1:
        raise InputError(f"a page shows one text, and this look holds {problem.batch}; look at one batch entry")
    return Look(replace(look.source, problem=replace(problem, lead=(1,))))
