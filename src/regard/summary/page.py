"""What was seen, as a page for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from regard.explain.terminal import Terminal, bar, clip, pad, percent, wrapped
from regard.summary.findings import bests, layers
from regard.summary.gathering import Gathered

__all__ = ["NOTE", "facts", "page"]

NOTE = "Weights are not explanations: they say where heads looked, not why."
_INDENT = "   "
_NAMED = 3
_ROOMY = 90
"""Columns from which there is room for bars."""


def page(found: Gathered, terminal: Terminal) -> str:
    """The whole page, no line wider than the terminal."""
    parts = [_title, _bests, _layers]
    lines = [line for part in parts for line in (*part(found, terminal), "")]
    return "\n".join([*lines, terminal.faint(NOTE)])


def facts(found: Gathered) -> list[str]:
    """What was read by what, in sentences."""
    wish, totals = found.wish, found.whole
    done = [piece for piece in wish.pieces if piece.key in set(found.done)]
    tokens, texts = sum(piece.ids.shape[1] for piece in done), len({piece.name for piece in done})
    heads = {len(total.where.heads) for total in totals}
    several = f"{min(heads)}" if len(heads) == 1 else f"{min(heads)}–{max(heads)}"
    kind = type(wish.loaded.model).__name__
    made = [
        f"{wish.loaded.name} ({kind}) · {len(totals)} layers × {several} heads",
        f"{_counted(texts, 'text')}, {_counted(tokens, 'token')} in {_counted(len(done), 'piece')} "
        f"of at most {max(piece.ids.shape[1] for piece in done):,}; "
        "every weight looked at, means over all tokens",
    ]
    if wish.skipped:
        some = list(wish.skipped.values())
        more = f"; and {len(some) - _NAMED} more" if len(some) > _NAMED else ""
        made.append(f"left out: {'; '.join(some[:_NAMED])}{more}")
    return made


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _title(found: Gathered, terminal: Terminal) -> Iterator[str]:
    first, *more = facts(found)
    yield terminal.bold(clip(first, terminal.columns))
    for said in more:
        yield from wrapped(said, terminal.columns)


def _bests(found: Gathered, terminal: Terminal) -> Iterator[str]:
    yield terminal.heading("Which head does it most")
    room = terminal.columns - 77 if terminal.columns >= _ROOMY else 0
    for best in bests(found.whole.table()):
        where = f"layer {best.layer} head {best.head}"
        if best.measure == "distance":
            value, second, share = f"{best.value:.1f}", f"{best.second:.1f}", 0.0
        else:
            value, second, share = percent(best.value), percent(best.second), best.value
        drawn = f" {bar(share, room)}" if room else ""
        yield f"{_INDENT}{pad(best.meaning, 31)} {pad(where, 16)} {value:>7}{drawn} the next {second}".rstrip()


def _layers(found: Gathered, terminal: Terminal) -> Iterator[str]:
    yield terminal.heading("Layers, means over their heads")
    names = ("entropy", "eff. keys", "distance", "first token", "greatest", "beyond 8")
    yield terminal.faint(f"{_INDENT}{pad('layer', 5)}" + "".join(f"{name:>12}" for name in names))
    for line in layers(found.whole.table()):
        shares = [_cell(line[name], percent) for name in ("sink", "maximum", "uncovered")]
        numbers = [
            _cell(line[name], lambda number: f"{number:.2f}") for name in ("entropy", "effective_keys", "distance")
        ]
        yield f"{_INDENT}{line['layer']:<5}" + "".join(f"{cell:>12}" for cell in (*numbers, *shares))
    said = (
        "entropy in nats; effective keys 1/Σw²; distance in tokens; of the mass: on the first token, the greatest "
        "weight of a row, what lies beyond its 8 greatest"
    )
    for part in wrapped(said, terminal.columns - len(_INDENT)):
        yield _INDENT + terminal.faint(part)


def _cell(value: float | None, said: Callable[[float], str]) -> str:
    return "" if value is None else said(value)
