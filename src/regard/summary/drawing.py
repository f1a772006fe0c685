"""The figures of `regard look`, and the most telling ones on one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from regard import plot
from regard.explain.terminal import clip
from regard.explain.tokens import shown
from regard.huggingface import watch
from regard.looking import Layer, Total
from regard.summary.findings import Best, bests, panels, telling
from regard.summary.gathering import Gathered, read
from regard.summary.page import NOTE, facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SUMMARY", "figures"]

SUMMARY = "summary"
_SHORT = 40
"""The longest text whose tokens are drawn with lines."""
_SHOWN = 6
_LONGEST = 14


@dataclass(frozen=True)
class Maps:
    """The telling heads over the first piece of text.

    Args:
        heads: which.
        layers: theirs, by number, their queries kept.
        labels: the tokens as they are drawn.
        name: of the text.
    """

    heads: list[Best]
    layers: dict[int, Layer]
    labels: list[str]
    name: str

    def draw(self, axes: Axes, best: Best) -> None:
        """One of them: lines over a short text, a map over a long one."""
        layer = self.layers[best.layer]
        if len(self.labels) <= _SHORT:
            plot.lines(axes, self.labels, layer, best.head)
        else:
            plot.tiles(axes, layer, best.head)
        axes.set_title(f"layer {best.layer} head {best.head}: {best.meaning}", fontsize=8)


def figures(found: Gathered, note: Callable[[str], None]) -> tuple[dict[str, Figure], list[str]]:
    """The figures by name, the last one the summary; and what they could not show."""
    table, maps, said = found.whole.table(), *_maps(found, note)
    some = _spread([total for total in found.whole if total.where.kind == "self"])
    title = " · ".join(facts(found)[:2])
    made = {}
    made["heads"], axes = _sheet(title, _SHOWN)
    for panel, measure in zip(axes, panels(table), strict=True):
        plot.heads(panel, table, measure)
    for name, draw in (("distance", plot.distance), ("received", plot.received)):
        made[name], axes = _sheet(title, len(some))
        for panel, total in zip(axes, some, strict=True):
            _titled(panel, total, draw)
    made["maps"], axes = _sheet(f"{facts(found)[0]} · {maps.name}, {len(maps.labels)} tokens", len(maps.heads))
    for panel, best in zip(axes, maps.heads, strict=True):
        maps.draw(panel, best)
    made[SUMMARY] = _summary(found, maps)
    return made, said


def _summary(found: Gathered, maps: Maps) -> Figure:
    """One page: what was read, four measures of all heads, how far one layer looks and at what, two maps."""
    table = found.whole.table()
    made = plot.figure(8.27, 11.69)
    axes: list[Any] = list(made.subplots(4, 2).flat)
    measures = [measure for measure in panels(table) if measure not in ("distance", "same", "duplicate")]
    for panel, measure in zip(axes[:4], measures, strict=True):
        plot.heads(panel, table, measure)
    far = next((best.layer for best in bests(table) if best.measure == "distance"), next(iter(found.whole)).where.layer)
    for panel, draw in zip(axes[4:6], (plot.distance, plot.received), strict=True):
        _titled(panel, found.whole[far], draw)
    for panel, best in zip(axes[6:], maps.heads[:2], strict=False):
        maps.draw(panel, best)
    for panel in axes[6 + len(maps.heads[:2]) :]:
        panel.set_axis_off()
    lines = [line for said in facts(found) for line in wrap(said, 105)]
    _, families, _ = plot.labelled(lines)
    made.suptitle("\n".join(lines), fontsize=8.5, x=0.02, ha="left", family=families)
    made.supxlabel(NOTE, fontsize=7.5)
    return made


def _maps(found: Gathered, note: Callable[[str], None]) -> tuple[Maps, list[str]]:
    """The telling heads looked at once more over the first piece, this time with what they are made of."""
    heads, piece = telling(found.whole.table(), _SHOWN), found.wish.pieces[0]
    loaded = found.wish.loaded
    note(f"{piece.name}: the heads to be drawn")
    with watch(loaded.model, layers=sorted({best.layer for best in heads}), keep="queries") as seen:
        read(loaded, piece.ids)
    tokens = [clip(shown(loaded.tokenizer.decode([one])), _LONGEST) for one in piece.ids[0].tolist()]
    _, _, said = plot.labelled(tokens[:_SHORT])
    layers = {layer.where.layer: layer for layer in seen}
    return Maps(heads, layers, tokens, piece.name), said if len(tokens) <= _SHORT else []


def _sheet(title: str, count: int) -> tuple[Figure, list[Any]]:
    """A figure for so many panels, at most three in a row."""
    rows, columns = -(-count // 3), min(count, 3)
    made = plot.figure(1 + 4 * columns, 0.8 + 3.6 * rows)
    axes: list[Any] = list(made.subplots(rows, columns, squeeze=False).flat)
    for panel in axes[count:]:
        panel.set_axis_off()
    lines = wrap(title, 42 * columns)
    made.suptitle("\n".join(lines), fontsize=9, family=plot.labelled(lines)[1])
    return made, axes[:count]


def _titled(axes: Axes, total: Total, draw: Callable[[Axes, Total], None]) -> None:
    draw(axes, total)
    axes.set_title(f"{total.where}", fontsize=8)


def _spread(layers: Sequence[Total]) -> list[Total]:
    """As many of the layers as are shown, from the first to the last."""
    if len(layers) <= _SHOWN:
        return list(layers)
    return [layers[round(place * (len(layers) - 1) / (_SHOWN - 1))] for place in range(_SHOWN)]
