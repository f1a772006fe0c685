"""The comparison at the terminal, 80 columns wide: two tables."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill

from regard.bench.text import spoken
from regard.compare.contestants import CONTESTANTS
from regard.compare.cost import Cost
from regard.compare.run import FAR, Comparison, Outcome
from regard.compare.training import LEARNED

__all__ = ["WIDTH", "costs", "heading", "left_out", "notes", "outcome", "table_head"]

WIDTH = 80
_NAME, _CELL, _ACROSS = 18, 20, 3


def heading(found: Comparison) -> Iterator[str]:
    """What is done, and on what."""
    budget, machine = found.wish.budget, found.machine
    for line in (
        f"{found.task.name}: {found.task.said}.",
        f"Every model is trained alike: {budget.steps} steps of {budget.batch} sequences of {budget.length} positions, "
        f"half of them to read, half to answer; seed {found.wish.seed}. Guessing scores {found.chance:.1%}.",
        f"{machine.processor}, {machine.cores} cores; torch {machine.versions['torch']}, kernels: {machine.isa}",
    ):
        yield from fill(line, WIDTH, subsequent_indent="  ").splitlines()


def table_head(found: Comparison) -> Iterator[str]:
    """The columns of what was learned."""
    near = found.wish.budget.length
    yield f"{'':<{_NAME}}{'para-':>8}{'right,':>10}{f'{LEARNED:.0%}':>8}   {'longest path':^16}{'steps in a row':>16}"
    columns = f"{f'at {near}':>8}{f'at {FAR}':>8}"
    yield f"{'':<{_NAME}}{'meters':>8}{'held out':>10}{'at step':>8}  {columns}{columns}"


def outcome(one: Outcome) -> str:
    """One line of it; ! where the path is longer than the model."""
    at = "never" if one.learned.at is None else str(one.learned.at)
    beyond = " " if one.reaches else "!"
    paths = f"{_path(one.path):>8}{beyond}{_path(one.far_path):>7}{' ' if one.far_reaches else '!'}"
    steps = f"{one.sequential:>7}{one.far_sequential:>8}"
    return f"{one.name:<{_NAME}}{one.parameters:>8,}{one.learned.accuracy:>10.1%}{at:>8}  {paths}{steps}".rstrip()


def notes(found: Comparison) -> Iterator[str]:
    """What the marks of that table mean."""
    if any(not (one.reaches and one.far_reaches) for one in found.outcomes):
        yield "! more steps than the model has blocks: some answers can't know of some sources"


def costs(found: Comparison) -> Iterator[str]:
    """Time and memory, three lengths in a row of tables."""
    lengths = sorted({cost.length for cost in found.costs})
    for start in range(0, len(lengths), _ACROSS):
        some = lengths[start : start + _ACROSS]
        yield f"{'':<{_NAME}}" + "".join(f"{f'{length} positions':>{_CELL}}" for length in some)
        yield f"{'':<{_NAME}}" + f"{'time':>10}{'memory':>10}" * len(some)
        for contestant in CONTESTANTS:
            cells = (found.cost(contestant.name, length) for length in some)
            yield f"{contestant.name:<{_NAME}}" + "".join(map(_cell, cells))


def left_out(found: Comparison) -> Iterator[str]:
    """What the tables need to be read rightly."""
    first: dict[str, str] = {}
    for cost in found.costs:
        if cost.why:
            first.setdefault(cost.name, cost.why)
    for name, why in first.items():
        yield from fill(f"– {name}: left out, {why}", WIDTH, subsequent_indent="  ").splitlines()
    disturbed = sum({cost.length: cost.disturbed for cost in found.costs}.values())
    if disturbed:
        yield from fill(
            f"{disturbed} rounds of timing were disturbed by other processes: times are not to be quoted", WIDTH
        ).splitlines()


def _cell(cost: Cost | None) -> str:
    if cost is None or cost.seconds is None:
        return f"{'–':>10}{'–':>10}"
    memory = "unknown" if cost.bytes is None else f"{cost.bytes / 2**20:.1f} MiB"
    return f"{spoken(cost.seconds):>10}{memory:>10}"


def _path(steps: int | None) -> str:
    return "none" if steps is None else str(steps)
