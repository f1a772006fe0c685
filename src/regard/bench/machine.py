"""On what it was measured."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

import torch

import regard
from regard.bench.ceiling import names
from regard.calibration import processor
from regard.engines.native import ISA

__all__ = ["Machine", "machine", "versions"]

PACKAGES = ("torch", "numpy", "x-transformers", "local-attention", "natten", "onnxruntime", "jax", "transformers")


@dataclass(frozen=True)
class Machine:
    """The processor and the programs.

    Args:
        processor: its name, as it gives it.
        cores: how many this process may use.
        isa: the instruction set of the kernels, or why there are none.
        ceilings: what could be measured of the processor.
        system: operating system and architecture.
        versions: of Python, regard and every package that takes part.
    """

    processor: str
    cores: int
    isa: str
    ceilings: tuple[str, ...]
    system: str
    versions: dict[str, str]


def machine() -> Machine:
    """This one."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    return Machine(processor(), cores, _isa(), names(), system, versions(PACKAGES))


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of Python, regard and these packages."""
    found = {"python": platform.python_version(), "regard": regard.__version__}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _isa() -> str:
    try:
        from regard import _native  # type: ignore[attr-defined]
    except ImportError:
        return "none: the kernels were not built"
    asked = os.environ.get(ISA, "")
    name: str = _native.Engine(asked).name
    forced = f" (asked for by {ISA}={asked})" * bool(asked)
    return f"{name}{forced}, torch's: {torch.backends.cpu.get_cpu_capability()}"
