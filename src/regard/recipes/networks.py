"""Pictures of small graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regard import data

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["drawn", "placed"]

COLOURS, MARKS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7"), "os^D"
"""Okabe and Ito 2008: colour-blind eyes tell them apart; marks do so in grey."""


def placed(graph: data.Network) -> Tensor:
    """A place in the plane for every node, neighbours near: Fruchterman & Reingold 1991; `[nodes, 2]`."""
    count = len(graph.labels)
    generator = torch.Generator().manual_seed(7)
    place = torch.rand(count, 2, generator=generator)
    linked = torch.zeros(count, count)
    linked[graph.edges[0], graph.edges[1]] = 1
    near = count**-0.5
    for heat in torch.linspace(0.1, 0.001, 400).tolist():
        apart = place[:, None] - place
        distance = apart.norm(dim=-1, keepdim=True).clamp(min=1e-3)
        force = apart / distance * (near**2 / distance - linked[..., None] * distance**2 / near)
        moved = force.sum(1)
        place = place + moved / moved.norm(dim=-1, keepdim=True).clamp(min=1e-6) * heat
    return place


def drawn(axes: Axes, graph: data.Network, place: Tensor, seen: Tensor, known: Tensor, title: str) -> None:
    """Nodes by side, edges as strong as their weight; known nodes have a black ring.

    Args:
        axes: where to draw.
        graph: at most four sides.
        place: `[nodes, 2]`.
        seen: weights `[nodes, nodes]`, who looks at whom; of both ways of an edge the stronger shows.
        known: `[nodes]`.
        title: of the picture.
    """
    from matplotlib.collections import LineCollection

    source, target = graph.edges[:, graph.edges[0] < graph.edges[1]]
    strength = torch.maximum(seen[source, target], seen[target, source])
    order = strength.argsort()
    ends = torch.stack((place[source], place[target]), 1)[order]
    lines = LineCollection(
        list(ends.numpy()),
        cmap="cividis_r",
        linewidths=(0.5 + 3 * strength[order] / strength.max().clamp(min=1e-9)).tolist(),
    )
    lines.set_array(strength[order].numpy())
    axes.add_collection(lines)
    for side, name in enumerate(graph.names):
        some = graph.labels == side
        rings = ["black" if one else "white" for one in known[some].tolist()]
        look: dict[str, Any] = {"color": COLOURS[side], "marker": MARKS[side], "label": name}
        axes.scatter(place[some, 0], place[some, 1], s=70, edgecolors=rings, linewidths=1.5, zorder=3, **look)
    axes.set(title=title, xticks=[], yticks=[])
    axes.legend(frameon=False, fontsize=7, ncols=2, loc="lower left")
    owner = axes.get_figure()
    assert owner is not None
    owner.colorbar(lines, ax=axes, label="weight, mean of heads", shrink=0.8)
