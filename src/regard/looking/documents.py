"""What the page asks of a run, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regard.looking.shown import STEPS, Shown
from regard.looking.told import MEASURES, Measure, Sight, numbers

__all__ = ["CHARACTERS", "about", "heads", "run", "steps", "tokens"]

REACH = Measure(
    "reach", "reaches far", "how much of its weight a word sends to one other word far away: mean over words"
)
STARTS = 2000
CHARACTERS = 1_000_000
CELLS = 256
EXAMPLE = "The animal didn't cross the street because it was too tired."


def about(
    models: Sequence[Mapping[str, Any]] = (), start: str | None = None, version: str | None = None
) -> dict[str, Any]:
    """What there is: models, limits, the run to begin with, and the version of regard."""
    positions = [model["positions"] for model in models if model["positions"]]
    return {
        "version": version,
        "models": [dict(model) for model in models],
        "limits": {"characters": CHARACTERS, "tokens": max(positions, default=None)},
        "start": None if start is None else {"run": start},
        "steps_limit": STEPS,
        "tile": CELLS,
        "example": EXAMPLE,
    }


def run(shown: Shown) -> dict[str, Any]:
    """The run, how far it is, and what is known of it by now."""
    progress, sights = shown.progress, shown.sights
    return {
        "run": shown.id,
        "model": shown.model,
        "text_start": shown.text if len(shown.text) <= STARTS else f"{shown.text[:STARTS]}…",
        "state": shown.state,
        "progress": {"done": progress.done, "total": progress.total, "what": progress.what},
        "error": shown.error,
        "tokens": len(shown.words) or None,
        "layers": len(sights),
        "heads": sights[0].heads if sights else None,
        "dim": sights[0].problem.query.shape[-1] if sights else None,
        "rule": [repr(sight.problem.said) for sight in sights],
        "exact": shown.exact,
    }


def tokens(shown: Shown) -> dict[str, Any]:
    """The tokens as they are shown, and the segments."""
    words = shown.words
    return {
        "tokens": [word.text for word in words],
        "special": [place for place, word in enumerate(words) if word.kind == "special"],
        "glued": [place for place, word in enumerate(words) if word.glued],
        "segments": [{"name": part.name, "start": part.start, "stop": part.stop} for part in shown.parts],
    }


def heads(shown: Shown) -> dict[str, Any]:
    """All measures by layer and head, of the layers that were seen by now; and the head that tells most."""
    seen = shown.measures
    named = [one for one in (*MEASURES, REACH) if any(one.name in layer for layer in seen)]
    measures = []
    for one in named:
        values = [layer.get(one.name) for layer in seen]
        found = [value for row in values if row for value in row if value is not None]
        high = max(found, default=1.0) if one.high is None else one.high
        ends = {"low": one.low, "high": high if high > one.low else one.low + 1.0}
        measures.append({"name": one.name, "title": one.title, "meaning": one.meaning, **ends, "values": values})
    return {"measures": measures, "telling": shown.telling, "layers": len(seen)}


def steps(sight: Sight, head: int, query: int) -> dict[str, Any]:
    """Every number of one query's attention, and all weights of the head."""
    found = sight.steps_of(query)
    shared = head // sight.problem.group
    q, k = found.query[0, head, 0], found.key[0, shared]
    weights, values = found.weights[0, head, 0], sight.value is not None
    return {
        "query": query,
        "rule": repr(sight.problem.said),
        "scale": sight.scale(head),
        "q": numbers(q),
        "k": numbers(k),
        "v": numbers(found.value[0, shared]) if values else None,
        "dot": numbers(k @ q) if k.shape[-1] == q.shape[-1] else None,
        "score": numbers(found.score[0, head, 0]),
        "bias": None if found.bias is None else numbers(found.bias[0, head, 0]),
        "visible": numbers(found.visible[0, head, 0]),
        "lse": None if found.lse is None else numbers(found.lse[0, head, 0]),
        "weights": numbers(weights),
        "out": numbers(found.out[0, head, 0]) if values else None,
        "weights_all": numbers(sight.look.rows(range(sight.problem.queries))[0, head]),
        "check": {
            "sum": float(weights.double().sum()),
            "difference": float(sight.differences[head, query]) if values else None,
        },
    }
