"""What the numbers say, in plain words: every sentence is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from regard.bench.text import spoken
from regard.compare.contestants import SELF
from regard.compare.cost import Cost
from regard.compare.run import FAR, Comparison, Outcome
from regard.compare.training import LEARNED

__all__ = ["reading"]

NOTHING = 3
"""Up to so many times what guessing scores, hardly anything was learned."""


def reading(found: Comparison) -> tuple[str, ...]:
    """Up to three paragraphs, on what was learned, why, and what it costs; of what there is, where interrupted."""
    parts = ((_quality,), (_paths, _steps), (_growth, _memory))
    said = (" ".join(sentence for part in some for sentence in part(found)) for some in parts)
    return tuple(paragraph for paragraph in said if paragraph)


def _quality(found: Comparison) -> Iterator[str]:
    """Who learned it."""
    if not found.outcomes:
        return
    best = [one for one in found.outcomes if one.learned.accuracy >= LEARNED]
    none = [one for one in found.outcomes if one.learned.accuracy < NOTHING * found.chance]
    some = [one for one in found.outcomes if one not in best and one not in none]
    count = len(found.outcomes)
    models = f"{count} model{'s' * (count > 1)}"
    yield f"Of {models}, {_count(len(best))} learned {found.task.name} in this budget" + _named(best, ": ") + "."
    if some:
        yield f"{_count(len(some)).capitalize()} learned a part of it: {_scored(some)}."
    if none:
        yield f"{_count(len(none)).capitalize()} did hardly better than guessing ({found.chance:.0%}): {_scored(none)}."
    quick = sorted((one for one in best if one.learned.at is not None), key=lambda one: one.learned.at or 0)
    if len(quick) > 1 and quick[0].learned.at != quick[-1].learned.at:
        first, last = quick[0], quick[-1]
        yield f"{first.name} was there by step {first.learned.at}, {last.name} by step {last.learned.at}."


def _paths(found: Comparison) -> Iterator[str]:
    """Whether the path explains it."""
    short = [one for one in found.outcomes if not one.reaches]
    for one in short:
        far = "no way to some" if one.path is None else f"{one.path} steps to the farthest"
        yield f"In {one.name} it is {far} of what was read, and the model has {one.layers} blocks."
    learned = [one for one in short if one.learned.accuracy >= LEARNED]
    if learned:
        yield f"The task did not need all of it: {_names(learned)} learned it all the same."
    alone = [one for one in found.outcomes if one.reaches and one.layers is None and one.path and one.path > 2]
    for one in alone:
        outcome = "and it did" if one.learned.accuracy >= LEARNED else "and it did not"
        yield (
            f"In {one.name}, what was read first has to survive {one.path} steps inside of one state, {outcome} "
            f"({one.learned.accuracy:.0%} right)."
        )


def _steps(found: Comparison) -> Iterator[str]:
    """What waits for what."""
    rows = [one for one in found.outcomes if one.far_sequential > one.sequential]
    flat = [one for one in found.outcomes if one.far_sequential == one.sequential]
    if rows and flat:
        take = "takes" if len(rows) == 1 else "take"
        yield (
            f"At {FAR} positions {_names(rows)} {take} {rows[0].far_sequential} steps in a row, each waiting for the "
            f"one before; the other {_count(len(flat))} take {flat[0].far_sequential}."
        )


def _growth(found: Comparison) -> Iterator[str]:
    """Time against length."""
    lengths = sorted({cost.length for cost in found.costs})
    if not lengths:
        return
    last, own = lengths[-1], found.cost(SELF.name, lengths[-1])
    if len(lengths) > 1:
        grown = [(name, ratio) for name in _measured(found, last) if (ratio := _ratio(found, name, lengths[0], last))]
        low, high = min(grown, key=lambda each: each[1]), max(grown, key=lambda each: each[1])
        yield (
            f"From {lengths[0]} to {last} positions, {last / lengths[0]:.3g} times as many, time grew "
            f"{low[1]:.3g}-fold ({low[0]}) to {high[1]:.3g}-fold ({high[0]})."
        )
    if own is None or own.seconds is None:
        return
    others = {name: cost for name in _measured(found, last) if (cost := found.cost(name, last)) and name != SELF.name}
    faster = [name for name, cost in others.items() if (cost.seconds or 0) < own.seconds]
    rest = [name for name in others if name not in faster]
    yield f"There, self-attention takes {spoken(own.seconds)}; " + _beside(others, faster, rest, own.seconds) + "."


def _beside(others: dict[str, Cost], faster: list[str], rest: list[str], own: float) -> str:
    def said(names: list[str]) -> str:
        return _joined(f"{name} ({spoken(others[name].seconds or 0)})" for name in names)

    if not faster:
        return f"nobody is faster: {said(rest)}"
    return f"faster are {said(faster)}" + (f"; slower are {said(rest)}" if rest else "")


def _memory(found: Comparison) -> Iterator[str]:
    """The most and the least of it at the longest length."""
    last = max((cost.length for cost in found.costs), default=0)
    taken = [(cost.bytes, cost.name) for cost in found.costs if cost.length == last and cost.bytes is not None]
    if len(taken) > 1:
        (least, little), (most, much) = min(taken), max(taken)
        yield (
            f"At {last} positions memory runs from {least / 2**20:.1f} MiB ({little}) "
            f"to {most / 2**20:.1f} MiB ({much})."
        )


def _measured(found: Comparison, length: int) -> list[str]:
    return [cost.name for cost in found.costs if cost.length == length and cost.seconds is not None]


def _ratio(found: Comparison, name: str, low: int, high: int) -> float | None:
    before, after = found.cost(name, low), found.cost(name, high)
    if before is None or after is None or before.seconds is None or after.seconds is None:
        return None
    return after.seconds / before.seconds


def _named(some: list[Outcome], lead: str) -> str:
    return f"{lead}{_names(some)}" if some else ""


def _names(some: Iterable[Outcome]) -> str:
    return _joined(one.name for one in some)


def _scored(some: Iterable[Outcome]) -> str:
    return _joined(f"{one.name} ({one.learned.accuracy:.0%})" for one in some)


def _joined(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _count(number: int) -> str:
    words = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[number] if number < len(words) else str(number)
