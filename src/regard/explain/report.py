"""The explanation as one JSON document."""

from __future__ import annotations

import json
import math
from typing import Any

from torch import Tensor

from regard.explain.story import Explanation

__all__ = ["report"]


def report(told: Explanation) -> str:
    """All numbers of the explanation as one JSON document; `regard explain --help` says what is in it."""
    return json.dumps(_document(told), ensure_ascii=False, indent=1, allow_nan=False)


def _document(told: Explanation) -> dict[str, Any]:
    choice = told.choice
    return {
        "model": {
            "name": told.loaded.name,
            "kind": type(told.loaded.model).__name__,
            "layers": len(told.table),
            "heads": max(map(len, told.table)),
            "positions": told.loaded.positions,
        },
        "text": told.text,
        "tokens": [
            {"index": token.index, "text": token.text, "kind": token.kind, "word": token.word}
            for token in told.tokens.each
        ],
        "rule": told.rule,
        "measure": {"formula": told.reach.formula, "queries": told.measured, "table": told.table},
        "shown": {
            "layer": choice.layer,
            "head": choice.head,
            "query": choice.query,
            "key": choice.key,
            "reach": choice.reach,
            "matches": list(choice.matches),
        },
        "steps": _steps(told),
        "agreement": _agreement(told),
        "note": "weights are not explanations",
    }


def _steps(told: Explanation) -> dict[str, Any]:
    numbers = told.numbers
    return {
        "q": _list(numbers.query),
        "k": _list(numbers.key),
        "products": _list(numbers.products),
        "raw": numbers.raw,
        "scale": numbers.scale,
        "cap": numbers.cap,
        "scaled": float(numbers.score[told.choice.key]),
        "score": _list(numbers.score),
        "bias": None if numbers.bias is None else _list(numbers.bias),
        "masked": _list(numbers.masked),
        "lse": numbers.lse,
        "sink": numbers.sink,
        "weights": _list(numbers.weights),
        "average": _list(told.choice.average),
        "value_lengths": _list(numbers.lengths),
        "out": _list(numbers.out),
    }


def _agreement(told: Explanation) -> dict[str, Any]:
    near = told.agreement
    return {
        "difference": near.difference,
        "largest_state": near.largest,
        "tokens": near.tokens,
        "weights": near.weights,
        "out": near.out,
        "tolerance": near.tolerance,
        "holds": near.holds,
    }


def _list(vector: Tensor) -> list[float | None]:
    """A vector as numbers, null where it is not finite: hidden."""
    return [value if math.isfinite(value) else None for value in vector.tolist()]
