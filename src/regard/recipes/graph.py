"""Graph: does attention along the edges say better than fixed weights which side a node is on?

The equation: out_i = Σ_{j → i} w_ij · W x_j, w_i = softmax over the neighbours of a learned score: GAT's, GATv2's, or
the transformer's product of query and key.

The data: the karate club (34 nodes, 4 communities, one known member each) and the political blogs (the largest
connected part, 1,222 nodes, 2 sides, ten known blogs each); ten splits a seed, by the hash of the node's number; all
other nodes are judged. Nodes have no features; what is known of each is where it lies, by four eigenvectors of the
graph. Beside: the largest side, label propagation, a graph convolution (GCN), whose weights are given by degrees. The
number of vectors and how models are trained was chosen by other known nodes than those of any split here; a graph has
no other nodes to judge by, so most of those that judge here judged then, too.

The result (recipes/RESULTS.md): no. On the blogs attention and GCN are level; on the club, with one known member a
community, GCN is ahead, for it has no weights of neighbours to learn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import regard
from regard import data
from regard.attention import weights
from regard.nn.edgewise import looped
from regard.recipes.graph_models import HEADS, Layers, attentive, convolution, propagated, trained
from regard.recipes.networks import drawn, placed
from regard.recipes.recipe import ATTENTION, BASELINE, Family, Measure, Recipe, Work
from regard.recipes.splits import chosen
from regard.terms.pattern import edges

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLITS = 10
KNOWN = {"karate": 1, "polblogs": 10}
"""Nodes a side whose side is told."""

Say = Callable[[data.Network, Tensor, int, int], Tensor]
"""Graph, which nodes are known, seed, steps of training → the side of every node."""


def learn(work: Work, seed: int) -> None:
    """Every model on every split."""
    count, steps = (2, 10) if work.quick else (SPLITS, 60)
    for graph in (data.karate(), data.polblogs()):
        splits = [chosen(graph.labels, KNOWN[graph.name], f"{graph.name}/{seed}/{split}") for split in range(count)]
        for name, family, say in MODELS:
            shares = []
            for number, known in enumerate(splits):
                work.note(f"{graph.name}, {name}, split {number + 1} of {count}")
                said = say(graph, known, seed * SPLITS + number, steps)
                shares.append(100 * (said == graph.labels)[~known].double().mean())
            share = torch.stack(shares)
            work.add(graph.name, name, family, seed, [float(share.mean()), float(share.std())])
    karate = data.karate()
    known = chosen(karate.labels, KNOWN["karate"], f"karate/{seed}/0")
    work.show(graph=karate, known=known, model=trained(karate, known, _transformer, seed, steps))


def largest(graph: data.Network, known: Tensor, seed: int, steps: int) -> Tensor:
    """The side that most nodes are on, as if that were known."""
    return graph.labels.mode().values.expand(len(graph.labels))


def _by(make: Callable[[Tensor, int], Layers]) -> Say:
    def say(graph: data.Network, known: Tensor, seed: int, steps: int) -> Tensor:
        model = trained(graph, known, make, seed, steps)
        with torch.no_grad():
            return model(graph.edges).argmax(-1)  # type: ignore[no-any-return]

    return say


_transformer = attentive(regard.nn.Graph, self_loops=True)

MODELS: tuple[tuple[str, Family, Say], ...] = (
    ("the largest side", BASELINE, largest),
    ("label propagation", BASELINE, propagated),
    ("GCN", BASELINE, _by(convolution)),
    ("GAT", ATTENTION, _by(attentive(regard.nn.GAT))),
    ("GATv2", ATTENTION, _by(attentive(regard.nn.GATv2))),
    ("transformer on edges", ATTENTION, _by(_transformer)),
)


@torch.no_grad()
def draw(figure: Figure, shown: dict[str, Any]) -> None:
    """The karate club: edges by attention in the first layer, and what one member looks at."""
    graph, model, known = shown["graph"], shown["model"], shown["known"]
    layer, rows = model.first, model.nodes
    query, key = (part(rows).unflatten(-1, (HEADS, -1)).transpose(0, 1) for part in (layer.query, layer.key))
    seen = weights(query, key, edges(looped(graph.edges, len(known))), query_start=0).mean(0)
    one = int(torch.bincount(graph.edges[0]).argmax())
    only = torch.zeros_like(seen).index_copy(0, torch.tensor([one]), seen[one : one + 1])
    place, panels = placed(graph), figure.subplots(1, 2)
    drawn(panels[0], graph, place, seen, known, "who looks at whom (the stronger way of each edge)")
    drawn(panels[1], graph, place, only, known, f"what member {one} looks at")


RECIPE = Recipe(
    "graph",
    "Does attention along the edges say better than fixed weights which side a node is on?",
    "The karate club, one known member a community; the political blogs, ten known a side; ten splits a seed.",
    (Measure("right, %", ".1f", "more"), Measure("± over splits", ".1f")),
    learn,
    draw,
    (12, 5),
    "Where a node lies in these graphs nearly tells its side, to all models alike; which neighbours count more must be "
    "learned from a handful of known nodes; label propagation and GCN need not learn it.",
)
