"""Files of statistics: numbers as safetensors, the rest as JSON in the header, nothing that runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from regard.errors import InputError, MissingError

__all__ = ["LAYERS", "TOTALS", "fetch", "store"]

Made = TypeVar("Made")

LAYERS, TOTALS = "regard.layers", "regard.totals"
_READERS = {LAYERS: "regard.load(path)", TOTALS: "regard.Totals.load(path)"}
_WRITERS = {LAYERS: "seen.save(path)", TOTALS: "seen.totals().save(path)"}


def store(
    path: str | os.PathLike[str], form: str, version: int, told: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write a file; what was at the path stays until the new one is whole.

    Args:
        path: where.
        form: what kind of file it is.
        version: of the form.
        told: what JSON can say.
        tensors: by name.

    Errors: InputError for a path that can't be written; MissingError without safetensors.
    """
    safetensors = _safetensors()
    header = {"form": form, "version": str(version), "seen": json.dumps(told)}
    whole = Path(path)
    part = whole.with_name(f"{whole.name}.part")
    own = {name: one.contiguous().clone() for name, one in tensors.items()}
    try:
        safetensors.torch.save_file(own, part, metadata=header)
        os.replace(part, whole)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{whole} can't be written: {' '.join(str(error).split())}") from None
    finally:
        part.unlink(missing_ok=True)


def fetch(
    path: str | os.PathLike[str], form: str, version: int, make: Callable[[Any, dict[str, Tensor]], Made]
) -> Made:
    """What `make` makes of a file's JSON and tensors; every error of the file is one sentence.

    Args:
        path: of the file.
        form: what kind it must be.
        version: of the form.
        make: raises ValueError, KeyError or TypeError for numbers that don't belong together.

    Errors: InputError for a file that is not there, is damaged, or is of another kind; MissingError.
    """
    safetensors = _safetensors()
    if not Path(path).is_file():
        raise InputError(f"{path} is no file; `{_WRITERS[form]}` writes one")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            _check_form(path, header, form, version)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file, no dict)
        return make(json.loads(header["seen"]), tensors)
    except InputError:
        raise
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is damaged, or no file of regard: {why}") from None


def _check_form(path: str | os.PathLike[str], header: Mapping[str, str], form: str, version: int) -> None:
    found = header.get("form")
    if found != form and found in _READERS:
        raise InputError(f"{path} is what `{_WRITERS[found]}` wrote; read it by {_READERS[found]}")
    if found != form:
        raise InputError(f"{path} was not written by regard: expected is what `{_WRITERS[form]}` wrote")
    if header.get("version") != str(version):
        raise InputError(
            f"{path} is of version {header.get('version')}, and this regard reads {version}; "
            "save it again, or read it with the version that wrote it"
        )


def _safetensors() -> Any:
    try:
        import safetensors
        import safetensors.torch
    except ImportError:
        raise MissingError(
            "files of statistics need safetensors, which is not installed: pip install 'regard[huggingface]'"
        ) from None
    return safetensors
