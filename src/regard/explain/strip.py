"""The tokens in a row, each tinted by its weight, its share beneath."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from regard.explain.terminal import Terminal, clip, pad, percent, width
from regard.explain.tokens import Token, Tokens

__all__ = ["lines"]

_INDENT = 3
_LONGEST = 18
_ALL = 160
_AROUND, _TOP, _BESIDE = 8, 8, 3
_SMALL = 4
_TINTED = 0.05
_LEVELS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Cell:
    """A token, or the gap where some are left out: its text, what stands beneath, and its share from 0 to 1."""

    text: str
    below: str
    share: float
    marked: bool = False

    @property
    def columns(self) -> int:
        """How wide it is."""
        return max(width(self.text), width(self.below))


def lines(tokens: Tokens, weights: list[float], query: int, terminal: Terminal) -> Iterator[str]:
    """Two lines a row: the tokens, the query in ‹›, and their weight in %. Of a long text only what matters."""
    row: list[Cell] = []
    used = _INDENT
    for cell in _cells(tokens, weights, query):
        if row and used + cell.columns + 1 > terminal.columns:
            yield from _row(row, terminal)
            row, used = [], _INDENT
        row.append(cell)
        used += cell.columns + 1
    yield from _row(row, terminal)


def _row(row: list[Cell], terminal: Terminal) -> Iterator[str]:
    above = " ".join(terminal.tint(pad(cell.text, cell.columns), cell.share, cell.marked) for cell in row)
    below = " ".join(pad(cell.below, cell.columns) for cell in row)
    indent = " " * _INDENT
    yield indent + (above if terminal.colour else above.rstrip())
    if below.strip():
        yield indent + below.rstrip()


def _cells(tokens: Tokens, weights: list[float], query: int) -> Iterator[Cell]:
    most = max(weights) or 1.0
    end = 0
    for low, high in _runs(weights, query):
        if low > end:
            yield _gap(weights, end, low)
        for token in tokens.each[low:high]:
            yield _cell(token, weights[token.index], most, token.index == query)
        end = high
    if end < len(weights):
        yield _gap(weights, end, len(weights))


def _cell(token: Token, weight: float, most: float, is_query: bool) -> Cell:
    text = clip(token.label, _LONGEST)
    percent = round(100 * weight)
    level = _LEVELS[min(8, round(8 * weight / most))]
    below = f"{level}{percent}".strip() if percent else level.strip()
    return Cell(f"‹{text}›" if is_query else text, below, weight / most if weight / most >= _TINTED else 0.0, is_query)


def _gap(weights: list[float], low: int, high: int) -> Cell:
    return Cell(f"⋯ {high - low} tokens ⋯", percent(sum(weights[low:high])), 0.0)


def _runs(weights: list[float], query: int) -> list[tuple[int, int]]:
    """What is shown of a text: all of a short one, else what stands around the query and around the strongest keys."""
    count = len(weights)
    if count <= _ALL:
        return [(0, count)]
    strongest = sorted(range(count), key=lambda place: (-weights[place], place))[:_TOP]
    spans = [(query - _AROUND, query + _AROUND + 1)]
    spans += [(place - _BESIDE, place + _BESIDE + 1) for place in strongest]
    runs: list[tuple[int, int]] = []
    for low, high in sorted((max(0, low), min(count, high)) for low, high in spans):
        low, high = low if low > _SMALL else 0, high if high < count - _SMALL else count
        if runs and low <= runs[-1][1] + _SMALL:
            runs[-1] = (runs[-1][0], max(runs[-1][1], high))
        else:
            runs.append((low, high))
    return runs
