"""The whole comparison, from a wish to what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from regard.bench.machine import Machine, machine
from regard.compare.contestants import CONTESTANTS, Contestant
from regard.compare.cost import Cost, costs
from regard.compare.models import LAYERS, Model, Transformer
from regard.compare.paths import longest
from regard.compare.tasks import SYMBOLS, Task, task
from regard.compare.training import Budget, Learned, learn
from regard.errors import InputError

__all__ = ["Comparison", "Outcome", "Watcher", "Wish", "compare"]

SHORTEST, FAR = 16, 1024
"""Positions: of the shortest length that every pattern takes, and where paths are counted besides in training."""

Note = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What to compare.

    Args:
        task: by name.
        lengths: at which time and memory are measured, even, at least 16; empty for 256, 1024 and 4096.
        quick: short sequences, few steps.
        seed: of models and sequences.
        training: how much; None is 600 steps of 64 positions, quick 150 of 32.
    """

    task: str = "recall"
    lengths: tuple[int, ...] = ()
    quick: bool = False
    seed: int = 0
    training: Budget | None = None

    def __post_init__(self) -> None:
        wrong = [n for n in self.lengths if n < SHORTEST or n % 2]
        if wrong:
            raise InputError(
                f"--lengths must be even and at least {SHORTEST}, half to read and half to answer, got {wrong[0]}"
            )
        if not 0 <= self.seed < 1 << 32:
            raise InputError(f"--seed must be from 0 to 2**32 − 1, got {self.seed}")

    @property
    def budget(self) -> Budget:
        """How much training."""
        return self.training or (Budget(32, 150, held=128) if self.quick else Budget(64, 600))

    @property
    def measured(self) -> tuple[int, ...]:
        """The lengths, ascending."""
        return tuple(sorted(set(self.lengths))) or ((128, 512) if self.quick else (256, 1024, 4096))

    @property
    def longest(self) -> float:
        """Seconds beyond which a call is left out."""
        return 2.0 if self.quick else 4.0


@dataclass(frozen=True)
class Outcome:
    """One model after training.

    Args:
        name: as tables show it.
        family: "recurrent", "exact" or "approximate".
        parameters: how many numbers it learns.
        learned: how well it answers.
        path: the most steps from an answer back to a source position, in sequences as in training; None: no way.
        far_path: likewise at 1024 positions.
        layers: how many such steps the model can take; None for as many as there are positions.
        sequential: how many steps wait for one another in sequences as in training.
        far_sequential: likewise at 1024 positions.
    """

    name: str
    family: str
    parameters: int
    learned: Learned
    path: int | None
    far_path: int | None
    layers: int | None
    sequential: int
    far_sequential: int

    @property
    def reaches(self) -> bool:
        """Whether every answer can know of every source position, in sequences as in training."""
        return self._within(self.path)

    @property
    def far_reaches(self) -> bool:
        """Likewise at 1024 positions."""
        return self._within(self.far_path)

    def _within(self, path: int | None) -> bool:
        return path is not None and (self.layers is None or path <= self.layers)


@dataclass
class Comparison:
    """All that was found, or all that there was until it was interrupted."""

    task: Task
    wish: Wish
    machine: Machine
    outcomes: list[Outcome] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    interrupted: str = ""

    @property
    def chance(self) -> float:
        """The share of right answers of one who guesses."""
        return 1 / SYMBOLS

    def cost(self, name: str, length: int) -> Cost | None:
        """What a model took, where that was tried."""
        return next((cost for cost in self.costs if (cost.name, cost.length) == (name, length)), None)


class Watcher:
    """Is told what is there, as soon as it is there; this one does nothing."""

    def begun(self, found: Comparison) -> None:
        """Nothing has been done yet."""

    def learned(self, found: Comparison) -> None:
        """One more model has been trained."""

    def measured(self, found: Comparison, length: int) -> None:
        """One more length has been measured."""


def compare(wish: Wish, watch: Watcher, note: Note = lambda said: None) -> Comparison:
    """Train every model alike, then time each at every length.

    Args:
        wish: what.
        watch: is told of results.
        note: told what takes long.

    Returns: what there is, also where the user interrupts: then `interrupted` says after what.

    Errors: InputError for an unknown task.
    """
    found = Comparison(task(wish.task), wish, machine())
    watch.begun(found)
    try:
        models = {each.name: _trained(each, found, watch, note) for each in CONTESTANTS}
        _measured(models, found, watch, note)
    except KeyboardInterrupt:
        done = len({cost.length for cost in found.costs})
        found.interrupted = (
            f"interrupted after {len(found.outcomes)} of {len(CONTESTANTS)} models were trained "
            f"and {done} of {len(wish.measured)} lengths were timed: what there is so far stands above"
        )
    return found


def _trained(contestant: Contestant, found: Comparison, watch: Watcher, note: Note) -> Model:
    wish = found.wish
    length = wish.budget.length
    place = f"{len(found.outcomes) + 1} of {len(CONTESTANTS)}, {contestant.name}"
    model = contestant.model(found.task.tokens(length), SYMBOLS, wish.seed)
    learned = learn(model, found.task, wish.budget, wish.seed, lambda said: note(f"training {place}: {said}"))
    found.outcomes.append(
        Outcome(
            contestant.name, contestant.family, model.parameter_count(), learned,
            longest(model.links(length)), longest(model.links(FAR)),
            LAYERS if isinstance(model, Transformer) else None, model.sequential(length), model.sequential(FAR),
        )
    )  # fmt: skip
    watch.learned(found)
    return model


def _measured(models: dict[str, Model], found: Comparison, watch: Watcher, note: Note) -> None:
    before: dict[str, Cost] = {}
    for length in found.wish.measured:
        note(f"timing all models at {length} positions")
        some = costs(models, length, before, found.wish.longest, found.wish.seed)
        before = {cost.name: cost for cost in some}
        found.costs += some
        watch.measured(found, length)
