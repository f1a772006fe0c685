"""How far heads look, and which keys get most of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regard.errors import InputError
from regard.plot.canvas import FLOOR, INK, LINE, MARK, noted
from regard.plot.families import labelled
from regard.plot.picking import Seen, numbers, of_entry, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["distance", "received"]

_POINTS = 2000
_NAMED = 5


def distance(axes: Axes, seen: Seen, heads: Sequence[int] | None = None, *, entry: int | None = None) -> None:
    """Mass by distance, in bins that double, on a log scale: a thin line a head, a thick one for their mean.

    Args:
        axes: where to draw.
        seen: a `Look`, a layer, or a `Total`; of one sequence, not cross-attention.
        heads: which; None is all.
        entry: of the batch; None is all of it.
    """
    found = seen.distance()
    chosen = _chosen(seen, heads)
    before, after = (of_entry(part, 1, entry)[chosen].double() for part in found[:2])
    total = (before.sum(-1) + after.sum(-1)).clamp(min=1e-30)[:, None]
    sides = [before.flip(-1), after[:, 1:]] if (after > 0).any() else [before.flip(-1)]
    share = torch.cat(sides, -1) / total
    place = torch.arange(share.shape[1]) - (before.shape[1] - 1)
    _curves(axes, place, share, seen, chosen)
    bins = before.shape[1]
    some = [bin for bin in range(-bins + 1, share.shape[1] - bins + 1) if bin % (1 + bins // 7) == 0]
    axes.set_xticks(some, [_distance(bin) for bin in some], fontsize=7)
    axes.set_ylabel("share of the mass (log)", fontsize=7.5)
    first = of_entry(seen.received(), 1, entry)[chosen].double()
    sunk = float(first[:, 0].sum() / first.sum().clamp(min=1e-30)) if first.numel() else 0.0
    small = float(torch.where(share < FLOOR, share, 0).sum(-1).mean())
    noted(axes, "distance to the key, keys before left of 0; n stands for n to 2n − 1", [
        f"key 0, at whatever distance, holds {percent(sunk)} of the mass",
        f"bins under {FLOOR:.0e} lie on the axis: {percent(small)}" if small > 0 else "",
    ])  # fmt: skip


def received(
    axes: Axes,
    seen: Seen,
    heads: Sequence[int] | None = None,
    *,
    entry: int | None = None,
    tokens: Sequence[str] | None = None,
    without_sink: bool = False,
) -> None:
    """The mean weight that each key gets from the rows that see it, on a log scale.

    Args:
        axes: where to draw.
        seen: a `Look`, a layer, or a `Total`.
        heads: which; None is all: their mean, and the most of any.
        entry: of the batch; None is the mean over it.
        tokens: the texts of all keys, to name those that get most.
        without_sink: leave out key 0; what it holds is written below.
    """
    chosen = _chosen(seen, heads)
    found = seen.received(per_query=True)
    per_row = of_entry(found, 1, entry)[chosen].double()
    per_row = per_row / (1 if entry is not None else max(1, found.numel() // max(1, of_entry(found, 1, 0).numel())))
    mass = of_entry(seen.received(), 1, entry)[chosen].double()
    first = int(without_sink)
    mean, most = per_row.mean(0)[first:], per_row.amax(0)[first:]
    if not len(mean):
        raise InputError(f"there are {per_row.shape[-1]} keys, and without key 0 none is left to draw")
    place, (low, high) = _thinned(first, mean, most)
    if len(chosen) > 1:
        axes.plot(place, high.clamp(min=FLOOR / 100), color=MARK, linewidth=0.6, label="the head that gives most")
    axes.plot(place, low.clamp(min=FLOOR / 100), color=LINE, linewidth=1.2, label="mean of heads")
    axes.set(yscale="log", xlim=(first - 0.02 * len(mean) - 0.5, first + 1.02 * len(mean) - 0.5))
    axes.set_ylabel("mean weight (log)", fontsize=7.5)
    axes.locator_params(axis="x", integer=True)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    if len(chosen) > 1:
        axes.legend(frameon=False, fontsize=7)
    if tokens is not None:
        _name(axes, tokens, mean, first)
    sunk = float(mass[:, 0].sum() / mass.sum().clamp(min=1e-30))
    thinned = f"the most of each {-(-len(mean) // len(place))} keys" if len(place) < len(mean) else ""
    noted(axes, "key", [f"key 0{', not drawn,' * without_sink} holds {percent(sunk)} of the mass", thinned])


def _chosen(seen: Seen, heads: Sequence[int] | None) -> list[int]:
    """The places of some heads among those that were looked at."""
    known = numbers(seen)
    wrong = [head for head in heads or () if head not in known]
    if wrong or (heads is not None and not heads):
        raise InputError(f"heads must be some of {', '.join(map(str, known))}, got {list(heads or ())}")
    return [known.index(head) for head in (known if heads is None else heads)]


def _curves(axes: Axes, place: Tensor, share: Tensor, seen: Seen, chosen: list[int]) -> None:
    from matplotlib import colormaps

    known, shades = numbers(seen), colormaps["cividis"]
    few = len(chosen) <= 6
    for line, (at, row) in enumerate(zip(chosen, share, strict=True)):
        colour, label = shades(0.9 * line / max(1, len(chosen) - 1)), f"head {known[at]}" if few else None
        (drawn,) = axes.plot(place, row.clamp(min=FLOOR), color=colour, linewidth=1.2 if few else 0.6, label=label)
        drawn.set(marker="o" if few else "", markersize=2.5)
    if len(chosen) > 1:
        axes.plot(place, share.mean(0).clamp(min=FLOOR), color=INK, linewidth=2, label="mean of heads")
    axes.axvline(0, color=INK, linewidth=0.5, linestyle=":")
    axes.set(yscale="log", ylim=(FLOOR * 0.9, 1.3))
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)


def _distance(bin: int) -> str:
    """The least distance of a bin: 0, 1, 2, 4, …"""
    return f"{'−' if bin < 0 else '+'}{1 << (abs(bin) - 1)}" if bin else "0"


def _thinned(first: int, *lines: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Positions and lines of at most so many points that they can be told apart: of each stretch the most."""
    length = len(lines[0])
    wide = -(-length // _POINTS)
    place = torch.arange(first, first + length)[::wide]
    padded = [torch.nn.functional.pad(line, (0, -length % wide)) for line in lines]
    return place, [line.unflatten(0, (-1, wide)).amax(-1) for line in padded]


def _name(axes: Axes, tokens: Sequence[str], mean: Tensor, first: int) -> None:
    """The keys that get most, by their texts."""
    labels, families, _ = labelled(tokens)
    for at in mean.argsort(descending=True)[:_NAMED].tolist():
        axes.annotate(
            labels[first + at], (first + at, float(mean[at])), xytext=(0, 4), textcoords="offset points", ha="center",
            fontsize=7, family=families, color=INK,
        )  # fmt: skip
