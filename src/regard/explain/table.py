"""The layers × heads table of one measure."""

from __future__ import annotations

from collections.abc import Iterator

from regard.explain.terminal import Terminal, pad, shade

__all__ = ["lines"]

_LABEL = 11
_NARROW = 3


def lines(values: list[list[float]], picked: tuple[int, int], terminal: Terminal) -> Iterator[str]:
    """One row a layer, one cell a head, in %; the picked one in brackets. Many heads: one shade each, no numbers."""
    heads = max(map(len, values))
    cell = min(5, (terminal.columns - _LABEL) // heads)
    if cell < _NARROW:
        yield from _shaded(values, picked, terminal)
        return
    most = max(max(row) for row in values) or 1.0
    yield terminal.faint(pad("   head", _LABEL) + "".join(f"{head:>{cell - 1}} " for head in range(heads)).rstrip())
    for layer, row in enumerate(values):
        said = [_cell(value, cell, (layer, head) == picked, value / most, terminal) for head, value in enumerate(row)]
        yield terminal.faint(pad(f"   layer {layer}", _LABEL)) + "".join(said).rstrip()


def _cell(value: float, columns: int, picked: bool, share: float, terminal: Terminal) -> str:
    number = f"{100 * value:.0f}"
    if not picked:
        return terminal.tint(f"{number:>{columns - 1}} ", share)
    return terminal.tint(f"{'[' + number:>{columns - 1}}]", share, marked=True)


def _shaded(values: list[list[float]], picked: tuple[int, int], terminal: Terminal) -> Iterator[str]:
    """One character a head, `×` where it is the picked one, in bands as wide as the terminal."""
    most = max(max(row) for row in values) or 1.0
    heads, room = max(map(len, values)), terminal.columns - _LABEL
    for first in range(0, heads, room):
        yield terminal.faint(f"   heads {first} to {min(first + room, heads) - 1}; · ░ ▒ ▓ █ up to {most:.0%}, × shown")
        for layer, row in enumerate(values):
            cells = "".join(
                "×" if (layer, first + head) == picked else shade(value / most)
                for head, value in enumerate(row[first : first + room])
            )
            yield terminal.faint(pad(f"   layer {layer}", _LABEL)) + cells.rstrip()
