"""All weights of a head as a map of pooled cells, at any length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from regard.looking import Layer, Look
from regard.looking.asking import Span, edges, span
from regard.plot.canvas import COLOURS, HIDDEN, noted, scale
from regard.plot.picking import kept, nowhere, of_head, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["tiles"]

_DECADES = 1e-5


def tiles(
    axes: Axes,
    seen: Look | Layer,
    head: int = 0,
    *,
    entry: int = 0,
    rows: Span = None,
    columns: Span = None,
    size: int = 256,
    pool: str = "mean",
    without_sink: bool = False,
    log: bool = True,
) -> None:
    """A rectangle of the weights in size × size cells, queries downwards; grey where there is no weight.

    Args:
        axes: where to draw.
        seen: a `Look`, or a layer whose queries were kept. All heads of it are pooled to draw one: look at one.
        head: which.
        entry: of the batch.
        rows: (first, end) of the query rows; None is all.
        columns: (first, end) of the keys.
        size: cells a side.
        pool: "mean" or "max", see `Look.tile`.
        without_sink: leave out key 0; what it holds is written below.
        log: colours on a log scale, over five decades; what is less is the darkest.

    Errors: InputError for what is not there; MissingError without matplotlib.
    """
    from matplotlib.colors import LogNorm, Normalize

    drawn = _Pooled.of(seen, head, entry, (rows, columns), size, pool, without_sink)
    most, least = drawn.bounds
    norm = LogNorm(least, most) if log else Normalize(0, most)
    shown = drawn.cells.clamp(min=least if log else 0).masked_fill(drawn.cells == 0, float("nan"))
    (top, bottom), (left, right) = drawn.down, drawn.across
    edge = (left - 0.5, right - 0.5, bottom - 0.5, top - 0.5)
    image = axes.imshow(shown.tolist(), cmap=COLOURS, norm=norm, aspect="auto", extent=edge, interpolation="nearest")
    axes.set_facecolor(HIDDEN)
    axes.set_ylabel("query", fontsize=7.5)
    axes.tick_params(labelsize=7)
    scale(axes, image, f"{'mean' if pool == 'mean' else 'greatest'} weight of a cell{' (log)' * log}")
    noted(axes, "key", [*drawn.notes(log), nowhere(seen, head, entry)])


@dataclass(frozen=True)
class _Pooled:
    """A rectangle of one head's weights, and what it says of the rest.

    Args:
        cells: `[size, size]`.
        held: the mass in each.
        down: first row and end.
        across: first key and end.
        total: the mass of these rows on all keys.
        first: of it on key 0.
    """

    cells: Tensor
    held: Tensor
    down: tuple[int, int]
    across: tuple[int, int]
    total: float
    first: float

    @staticmethod
    def of(
        seen: Look | Layer, head: int, entry: int, spans: tuple[Span, Span], size: int, pool: str, without_sink: bool
    ) -> _Pooled:
        look, whole = kept(seen), spans == (None, None) and not without_sink
        if whole:
            look.collect(pyramid=size)
        mass, received = (of_head(seen, found, 1, head, entry).double() for found in (look.mass(), look.received()))
        down, across = span("rows", spans[0], len(mass)), span("columns", spans[1], len(received))
        if without_sink:
            across = span("columns without key 0", (max(1, across[0]), across[1]), len(received))
        cells = of_head(seen, look.tile(down, across, size, pool), 2, head, entry)
        mean = cells if pool == "mean" else of_head(seen, look.tile(down, across, size), 2, head, entry)
        tall, wide = (edges(run[1], run, size)[1] for run in (down, across))
        held = mean.double().cpu() * (tall[:, None] * wide)
        rows = slice(*down)
        all_ = spans[0] is None
        first = received[0] if all_ else of_head(seen, look.share([0]), 1, head, entry)[rows].double().sum()
        return _Pooled(cells.cpu(), held, down, across, float(mass[rows].sum()) or 1.0, float(first))

    @property
    def bounds(self) -> tuple[float, float]:
        """The most, and what is least of all that is told apart."""
        visible = self.cells[self.cells > 0]
        most = float(visible.max()) if len(visible) else 1.0
        least = max(most * _DECADES, float(visible.min()) if len(visible) else 0.0)
        return most, min(least, most / 1.01)

    def notes(self, log: bool) -> Iterator[str]:
        """What a cell is, what is hidden, what lies elsewhere."""
        tall, wide = (
            -(-(run[1] - run[0]) // n) for run, n in zip((self.down, self.across), self.cells.shape, strict=True)
        )
        yield f"exact, cells of up to {tall} × {wide} weights" if tall * wide > 1 else "exact, every weight"
        yield f"key 0{', not drawn,' * (self.across[0] > 0)} holds {percent(self.first / self.total)} of the mass"
        rest = 1 - float(self.held.sum()) / self.total - self.first / self.total * (self.across[0] > 0)
        if rest > 5e-4:
            yield f"other keys outside hold {percent(rest)}"
        dim = float(self.held[self.cells < self.bounds[1]].sum()) / self.total
        if log and dim > 0:
            yield f"cells under {self.bounds[1]:.0e} are the darkest: {percent(dim)} of the mass"
        if (self.cells == 0).any():
            yield "grey: no weight"
