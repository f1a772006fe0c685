"""What was seen of a model in one file, all runs and rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from regard.looking.files import LAYERS, fetch, store
from regard.looking.layers import Layer, Run, Where
from regard.looking.measured import SCORES, SUMS, ByRow, Measured, Summed

__all__ = ["read", "write"]

VERSION = 1
OPTIONAL = "lse"
WHOLE = ("visible", "counted", "keys")
"""Fields of integers; `live` is of bools, all others are floating."""


def write(path: str | os.PathLike[str], runs: Sequence[Run], count: int) -> None:
    """Write statistics; what was at the path stays until the new file is whole."""
    tensors: dict[str, Tensor] = {}
    told = []
    for number, run in enumerate(runs):
        for layer in run.layers.values():
            place = f"{number}.{layer.where.layer}"
            tensors |= {f"{place}.{name}": one for name, one in _fields(layer).items()}
        told.append({"stopped": run.stopped, "layers": [_told(layer) for layer in run.layers.values()]})
    store(path, LAYERS, VERSION, {"count": count, "runs": told}, tensors)


def read(path: str | os.PathLike[str]) -> tuple[list[Run], int]:
    """The runs in a file, and how many layers the model has; every error of the file is one sentence."""
    return fetch(path, LAYERS, VERSION, _runs)


def _runs(told: Any, tensors: Mapping[str, Tensor]) -> tuple[list[Run], int]:
    runs = [
        Run({one["layer"]: _layer(number, one, tensors) for one in run["layers"]}, run["stopped"])
        for number, run in enumerate(told["runs"])
    ]
    return runs, int(told["count"])


def _fields(layer: Layer) -> dict[str, Tensor]:
    """The tensors of a layer by name, the rows of all its calls joined."""
    measured = layer.measured
    missing = any(part.lse is None for part in measured.parts)
    names = [field.name for field in fields(ByRow) if not (field.name == OPTIONAL and missing)]
    sums = {name: getattr(measured.sums, name) for name in SUMS}
    return {**{name: measured.by_row(name) for name in names}, **sums}


def _told(layer: Layer) -> dict[str, Any]:
    return {**layer.where.told, "key_start": layer.measured.sums.key_start, "within": layer.within}


def _layer(run: int, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Layer:
    place = f"{run}.{told['layer']}"
    found = {
        name: tensors[f"{place}.{name}"] for name in (*_ROWS, *SUMS) if name != OPTIONAL or f"{place}.{name}" in tensors
    }
    where = Where.of(told)
    _check(place, found, len(where.heads))
    start = int(told["key_start"])
    keys = torch.where(found["keys"] < 0, -1, found["keys"] + start)
    rows = ByRow(**{name: found.get(name) for name in _ROWS} | {"keys": keys})  # type: ignore[arg-type]
    sums = Summed(**{name: found[name] for name in SUMS}, key_start=start)
    return Layer(where, Measured((rows,), sums), top=keys.shape[-1], within=int(told["within"]))


def _check(place: str, found: Mapping[str, Tensor], heads: int) -> None:
    """ValueError unless the tensors of a layer are of the types and sizes that belong together."""
    batch, _, queries = found["mass"].shape
    count = found["scores"].shape[-1]
    last = {"received": "visible", "visible": "received", "before": "after", "after": "before"}
    sizes: dict[str, tuple[int, ...]] = dict.fromkeys(_ROWS, (batch, heads, queries))
    sizes |= dict.fromkeys(("weights", "keys"), (batch, heads, queries, found["weights"].shape[-1]))
    sizes |= {name: (batch, heads, found[other].shape[-1]) for name, other in last.items()}
    sizes |= dict.fromkeys(("scores", "counted"), (batch, heads, count))
    for name, one in found.items():
        kind = one.dtype == torch.bool if name == "live" else one.dtype == torch.int64
        right = kind if name == "live" or name in WHOLE else one.is_floating_point()
        if tuple(one.shape) != sizes[name] or not right:
            raise ValueError(f"{place}.{name} is {list(one.shape)} of {one.dtype}, expected {list(sizes[name])}")
    if count not in (len(SCORES), len(SCORES) - 2) or not found["weights"].shape[-1]:
        raise ValueError(f"{place} holds {count} scores and {found['weights'].shape[-1]} greatest weights")


_ROWS = tuple(field.name for field in fields(ByRow))
