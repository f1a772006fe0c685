"""Figures of attention, in PNG, SVG or PDF, on no screen. Extra: plot.

Of what was looked at (`regard.look`, a layer of `watch`, `Totals`): `tiles`, a map of pooled weights; `lines` from
token to token; `distance` and `received`; `heads`, layers × heads by a measure. Of one query: `links`, `curve`; of a
short text: `weights`; `table`, of any numbers.

    made = plot.figure(6, 5)
    plot.tiles(made.subplots(), rg.look(q, k, rule), head=3)
    made.savefig("map.svg")

Functions draw on axes that they are given and change nothing else. Colours are matplotlib's cividis, which reads the
same for colour-blind eyes and in grey; scales are logarithmic unless told, since a sink hides all else on a linear one.
What is hidden or not covered is written below.
"""

from regard.plot.canvas import COLOURS, figure
from regard.plot.families import fonts, labelled
from regard.plot.grids import table, weights
from regard.plot.maps import tiles
from regard.plot.overview import MEANINGS, heads
from regard.plot.pairs import lines
from regard.plot.profiles import distance, received
from regard.plot.tokens import curve, links

__all__ = [
    "COLOURS",
    "MEANINGS",
    "curve",
    "distance",
    "figure",
    "fonts",
    "heads",
    "labelled",
    "lines",
    "links",
    "received",
    "table",
    "tiles",
    "weights",
]
