"""Models that tell the side of every node of a graph from a few known ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, elu, one_hot

from regard import data

__all__ = ["HEADS", "Layers", "attentive", "convolution", "located", "propagated", "trained"]

DIM, HIDDEN, HEADS = 4, 16, 4


class Layers(nn.Module):
    """Two layers on the graph, which know of every node where it is."""

    nodes: Tensor

    def __init__(self, nodes: Tensor, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.register_buffer("nodes", nodes)
        self.first, self.second = first, second

    def forward(self, links: Tensor) -> Tensor:
        """The sides' scores, `[nodes, sides]`."""
        rows = dropout(self.nodes, 0.5, self.training)
        rows = dropout(elu(self.first(rows, links)), 0.5, self.training)
        return self.second(rows, links)  # type: ignore[no-any-return]


@lru_cache(maxsize=4)
def located(graph: data.Network) -> Tensor:
    """Where every node is: the second to fifth eigenvectors of D^−½ A D^−½, each of spread 1; `[nodes, 4]`.

    Source: Dwivedi & Bresson 2021, "A Generalization of Transformer Networks to Graphs".
    """
    count = len(graph.labels)
    joined = torch.zeros(count, count, dtype=torch.float64)
    joined[graph.edges[0], graph.edges[1]] = 1
    scale = joined.sum(1).rsqrt()
    vectors = torch.linalg.eigh(scale[:, None] * joined * scale).eigenvectors
    return (count**0.5 * vectors[:, -1 - DIM : -1].flip(1)).float()  # type: ignore[no-any-return]


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


def convolution(nodes: Tensor, sides: int) -> Layers:
    """Two graph convolutions of PyTorch Geometric (Kipf & Welling 2017)."""
    layers: Any = data.extra("torch_geometric.nn", "PyTorch Geometric", "pyg")
    return Layers(nodes, layers.GCNConv(DIM, HIDDEN), layers.GCNConv(HIDDEN, sides))


def attentive(kind: type[nn.Module], **options: Any) -> Callable[[Tensor, int], Layers]:
    """Two layers of one kind: four heads side by side, then one."""

    def made(nodes: Tensor, sides: int) -> Layers:
        return Layers(nodes, kind(DIM, HIDDEN // HEADS, HEADS, **options), kind(HIDDEN, sides, **options))

    return made


def trained(graph: data.Network, known: Tensor, make: Callable[[Tensor, int], Layers], seed: int, steps: int) -> Layers:
    """A model that has seen the sides of the known nodes."""
    torch.manual_seed(seed)
    model = make(located(graph), len(graph.names))
    optimizer = torch.optim.Adam(model.parameters(), 0.02, weight_decay=5e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(graph.edges)[known], graph.labels[known]).backward()
        optimizer.step()
    return model.eval()
