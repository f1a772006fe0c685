"""What was seen of a model in one file: numbers as safetensors, the rest as JSON in its header, nothing that runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regard.errors import InputError, MissingError
from regard.looking.layers import Layer, Run, Where
from regard.looking.measured import SCORES, ByRow, Measured, Summed

__all__ = ["read", "write"]

FORM = "regard.layers"
VERSION = 1
OPTIONAL = "lse"
WHOLE = ("visible", "counted", "keys")
"""Fields of integers; `live` is of bools, all others are floating."""


def write(path: str | os.PathLike[str], runs: Sequence[Run], count: int) -> None:
    """Write statistics; what was at the path stays until the new file is whole."""
    safetensors = _safetensors()
    tensors: dict[str, Tensor] = {}
    told = []
    for number, run in enumerate(runs):
        layers = []
        for layer in run.layers.values():
            place = f"{number}.{layer.where.layer}"
            tensors |= {f"{place}.{name}": one.contiguous().clone() for name, one in _fields(layer).items()}
            layers.append(_where(layer))
        told.append({"stopped": run.stopped, "layers": layers})
    header = {"form": FORM, "version": str(VERSION), "seen": json.dumps({"count": count, "runs": told})}
    whole = Path(path)
    part = whole.with_name(f"{whole.name}.part")
    try:
        safetensors.torch.save_file(tensors, part, metadata=header)
        os.replace(part, whole)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{whole} can't be written: {' '.join(str(error).split())}") from None
    finally:
        part.unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> tuple[list[Run], int]:
    """The runs in a file, and how many layers the model has; every error of the file is one sentence."""
    safetensors = _safetensors()
    if not Path(path).is_file():
        raise InputError(f"{path} is no file; `seen.save(path)` writes one")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("form") != FORM:
                raise InputError(f"{path} was not written by regard: load takes what `seen.save(path)` wrote")
            if header.get("version") != str(VERSION):
                raise InputError(
                    f"{path} is of version {header.get('version')}, and this regard reads {VERSION}; "
                    "save it again, or load it with the version that wrote it"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file, no dict)
        told = json.loads(header["seen"])
        runs = [
            Run({one["layer"]: _layer(number, one, tensors) for one in run["layers"]}, run["stopped"])
            for number, run in enumerate(told["runs"])
        ]
        return runs, int(told["count"])
    except InputError:
        raise
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is damaged, or no file of regard: {why}") from None


def _fields(layer: Layer) -> dict[str, Tensor]:
    """The tensors of a layer by name, the rows of all its calls joined."""
    measured = layer.measured
    missing = any(part.lse is None for part in measured.parts)
    names = [field.name for field in fields(ByRow) if not (field.name == OPTIONAL and missing)]
    sums = {name: getattr(measured.sums, name) for name in _SUMS}
    return {**{name: measured.by_row(name) for name in names}, **sums}


def _where(layer: Layer) -> dict[str, Any]:
    where = layer.where
    return {
        "layer": where.layer,
        "name": where.name,
        "kind": where.kind,
        "stack": where.stack,
        "heads": list(where.heads),
        "key_start": layer.measured.sums.key_start,
        "within": layer.within,
    }


def _layer(run: int, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Layer:
    place = f"{run}.{told['layer']}"
    found = {
        name: tensors[f"{place}.{name}"]
        for name in (*_ROWS, *_SUMS)
        if name != OPTIONAL or f"{place}.{name}" in tensors
    }
    heads = tuple(int(head) for head in told["heads"])
    _check(place, found, len(heads))
    start = int(told["key_start"])
    keys = torch.where(found["keys"] < 0, -1, found["keys"] + start)
    rows = ByRow(**{name: found.get(name) for name in _ROWS} | {"keys": keys})  # type: ignore[arg-type]
    sums = Summed(**{name: found[name] for name in _SUMS}, key_start=start)
    where = Where(int(told["layer"]), str(told["name"]), str(told["kind"]), str(told["stack"]), heads)
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
_SUMS = tuple(field.name for field in fields(Summed) if field.name != "key_start")


def _safetensors() -> Any:
    try:
        import safetensors
        import safetensors.torch
    except ImportError:
        raise MissingError(
            "files of statistics need safetensors, which is not installed: pip install 'regard[huggingface]'"
        ) from None
    return safetensors
