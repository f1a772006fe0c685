"""Models that tell the side of every node of a graph from a few known ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, elu, one_hot

from regard import data

__all__ = ["HEADS", "Layers", "attentive", "convolution", "propagated", "trained"]

DIM, HIDDEN, HEADS = 32, 16, 4


class Layers(nn.Module):
    """A learned vector for every node, and two layers on the graph."""

    def __init__(self, nodes: int, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.nodes = nn.Embedding(nodes, DIM)
        self.first, self.second = first, second

    def forward(self, links: Tensor) -> Tensor:
        """The sides' scores, `[nodes, sides]`."""
        rows = dropout(self.nodes.weight, 0.5, self.training)
        rows = dropout(elu(self.first(rows, links)), 0.5, self.training)
        return self.second(rows, links)  # type: ignore[no-any-return]


def propagated(graph: data.Network, known: Tensor, seed: int, steps: int) -> Tensor:
    """Y ← 0.9 D^−½ A D^−½ Y + 0.1 Y_known (Zhou et al. 2004)."""
    told = one_hot(graph.labels, len(graph.names)).double() * known[:, None]
    source, target = graph.edges
    degree = torch.bincount(target, minlength=len(known)).double()
    weight = (degree[source] * degree[target]).rsqrt()[:, None]
    spread = told
    for _ in range(200):
        spread = 0.9 * torch.zeros_like(told).index_add(0, target, weight * spread[source]) + 0.1 * told
    return spread.argmax(-1)


def convolution(nodes: int, sides: int) -> Layers:
    """Two graph convolutions of PyTorch Geometric (Kipf & Welling 2017)."""
    layers: Any = data.extra("torch_geometric.nn", "PyTorch Geometric", "pyg")
    return Layers(nodes, layers.GCNConv(DIM, HIDDEN), layers.GCNConv(HIDDEN, sides))


def attentive(kind: type[nn.Module], **options: Any) -> Callable[[int, int], Layers]:
    """Two layers of one kind: four heads side by side, then one."""

    def made(nodes: int, sides: int) -> Layers:
        return Layers(nodes, kind(DIM, HIDDEN // HEADS, HEADS, **options), kind(HIDDEN, sides, **options))

    return made


def trained(graph: data.Network, known: Tensor, make: Callable[[int, int], Layers], seed: int, steps: int) -> Layers:
    """A model that has seen the sides of the known nodes."""
    torch.manual_seed(seed)
    model = make(len(graph.labels), len(graph.names))
    optimizer = torch.optim.Adam(model.parameters(), 0.02, weight_decay=5e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(graph.edges)[known], graph.labels[known]).backward()
        optimizer.step()
    return model.eval()
