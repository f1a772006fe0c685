"""The page as one file that needs no server, and what a notebook shows of a look."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from regard import bundle
from regard.errors import InputError, RegardError
from regard.looking import documents
from regard.looking.runs import Layers
from regard.looking.seen import Look
from regard.looking.shown import STEPS, Shown, of_looks
from regard.looking.told import Sight, look_alone
from regard.terms.score import Dot

__all__ = ["of_layers", "of_look", "saved", "shown_of", "whole"]

ROOM = 58_000
"""Bytes a token for all numbers: as many layers keep their queries, keys and values as fit in."""
HEIGHT = 760
LINES = 64
PAIRS = 1 << 28
"""Up to so many weights a notebook may take the time to measure a look that it is only to show."""


def whole(shown: Shown, about: Mapping[str, Any] | None = None) -> str:
    """The page with everything of a short text in it, as HTML.

    Errors: InputError for a text of more than 64 tokens; MissingError where the page is not built.
    """
    return bundle.whole(saved(shown, about))


def saved(shown: Shown, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the server would answer, all at once, as JSON.

    Args:
        shown: the text.
        about: by `documents.about`, where there is a model.

    Errors: InputError for a text of more than 64 tokens.
    """
    length = len(shown.words)
    if length > STEPS:
        raise InputError(
            f"a page is saved of at most {STEPS} tokens, and this text has {length}: "
            "shorten it, or see it whole by `regard explore`"
        )
    where, no_sinks = shown.segment_of(), shown.no_sinks
    heads = {
        f"{layer}/{head}": sight.head(head, where, no_sinks)
        for layer, sight in enumerate(shown.sights)
        for head in range(sight.heads)
    }
    layers = [_layer(sight) for sight in shown.sights]
    _add_vectors(layers, shown, ROOM * length - len(json.dumps([heads, layers])))
    return {
        "about": dict(about or documents.about(start=shown.id)),
        "run": documents.run(shown),
        "tokens": documents.tokens(shown),
        "heads": documents.heads(shown),
        "head": heads,
        "layers": layers,
    }


def _layer(sight: Sight) -> dict[str, Any]:
    """A layer without its vectors: scores are q · k times the scale where there is one."""
    steps, problem, value = sight.steps_of(None), sight.problem, sight.value
    scales = {sight.scale(head) for head in range(sight.heads)}
    scale = scales.pop() if len(scales) == 1 and isinstance(problem.said.score, Dot) else None
    seen = steps.visible[0]
    alike = bool((seen == seen[:1]).all())
    return {
        "rule": repr(problem.said),
        "scale": scale,
        "heads": sight.heads,
        "kv_heads": problem.kv_heads,
        "dim": problem.query.shape[-1],
        "value_dim": None if value is None else value.shape[-1],
        "queries": problem.queries,
        "q": None,
        "k": None,
        "v": None,
        "score": None if scale is not None else _floats(steps.score[0]),
        "bias": None if steps.bias is None else _floats(steps.bias[0]),
        "visible": None if bool(seen.all()) else _bytes((seen[0] if alike else seen).to(torch.uint8)),
        "weights": _floats(steps.weights[0][seen]),
        "lse": None if steps.lse is None else _floats(steps.lse[0]),
        "difference": None if value is None else sight.differences.amax(-1).tolist(),
    }


def _add_vectors(layers: list[dict[str, Any]], shown: Shown, room: int) -> None:
    """Queries, keys and values of the telling layer, and of those nearest to it as far as there is room."""
    telling = 0 if shown.telling is None else shown.telling["layer"]
    for layer in sorted(range(len(layers)), key=lambda layer: (abs(layer - telling), layer)):
        problem, value = shown.sights[layer].problem, shown.sights[layer].value
        vectors = {"q": _floats(problem.query[0]), "k": _floats(problem.key[0])}
        if value is not None:
            vectors["v"] = _floats(value[0])
        room -= sum(map(len, vectors.values()))
        if room < 0 and layer != telling:
            return
        layers[layer].update(vectors)


def _floats(values: Tensor) -> str:
    return _bytes(values.float())


def _bytes(values: Tensor) -> str:
    array = values.detach().contiguous().numpy()
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()).decode()


# ----------------------------------------------------------------------------------------------------- notebooks


def of_look(look: Look) -> str:
    """A look as a notebook shows it: the page, else a line a head, and why."""
    try:
        return _framed(of_looks([look]))
    except RegardError as error:
        why = str(error)
    problem = look.source.problem
    if problem.batch != 1 or not 0 < problem.heads * problem.queries * problem.keys <= PAIRS:
        return _said(look, why)
    sight = Sight(look_alone(look))
    found = sight.measures(None, alike=problem.queries == problem.keys)
    lines = [{"head": head, **{name: row[head] for name, row in found.items()}} for head in range(sight.heads)]
    return _said(look, why) + _table(lines)


def of_layers(layers: Layers) -> str:
    """What was seen of a model, as a notebook shows it: the page of its last run, else a line a head, and why."""
    if not layers.runs:
        return _said(layers, "the model has not run inside of `with watch(model)`")
    try:
        return _framed(shown_of(layers.run(-1)))
    except RegardError as error:
        lines = list(layers.table())
        names = [name for name in lines[0] if name not in ("name", "kind")]
        return _said(layers, str(error)) + _table([{name: line[name] for name in names} for line in lines])


def shown_of(seen: Look | Layers, tokens: Sequence[str] | None = None, ids: Tensor | None = None) -> Shown:
    """A look, or all layers of one run, as a page shows them; arguments as of `of_looks`."""
    if isinstance(seen, Look):
        return of_looks([seen], tokens, ids)
    layers = list(seen)
    known = next((call.tokens for layer in layers for call in layer.posed), None)
    return of_looks([look for layer in layers for look in layer.looks], tokens, known if ids is None else ids)


def _framed(shown: Shown) -> str:
    return (
        f'<iframe srcdoc="{html.escape(whole(shown))}" sandbox="allow-scripts allow-downloads" title="regard" '
        f'style="width:100%;height:{HEIGHT}px;border:0"></iframe>'
    )


def _said(what: object, why: str) -> str:
    return f"<p><code>{html.escape(repr(what))}</code><br>{html.escape(why)}</p>"


def _table(lines: Sequence[Mapping[str, object]]) -> str:
    """The first lines of a table, and how many more there are."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in lines[0])
    rows = ["".join(f"<td>{_cell(cell)}</td>" for cell in line.values()) for line in lines[:LINES]]
    more = f"<p>… {len(lines) - LINES} more lines</p>" if len(lines) > LINES else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody><tr>{'</tr><tr>'.join(rows)}</tr></tbody></table>{more}"


def _cell(cell: object) -> str:
    return "" if cell is None else f"{cell:.3f}" if isinstance(cell, float) else html.escape(str(cell))
