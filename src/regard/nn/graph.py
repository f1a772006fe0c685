"""Attention along the edges of a graph: the transformer's, GAT's and GATv2's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regard.nn.edgewise import Edgewise, static_score, touching_score
from regard.nn.held import Held
from regard.rule import Rule, as_rule
from regard.terms.tree import Term

__all__ = ["GAT", "GATv2", "Graph"]


class Graph(Edgewise):
    """The transformer on a graph: every node looks at the nodes that have an edge to it.

    `out_i = W_s x_i + [head_1 … head_n]`, `head_h = Σ_{j → i} w_ij · W_v,h x_j`,
    `w_i = normalize_j(score(W_q,h x_i, W_k,h x_j) + b_h · e_ij)`

    Edge features enter as one number a head, outside of the score; those on keys or on values are no part of the
    equation (docs/fence.md).

    Args:
        dim: components of a node, or (of a source, of a target).
        head_dim: components of a head.
        heads: how many.
        concat: heads side by side, or their mean.
        self_loops: whether every node sees itself, besides its edges.
        edge_dim: components of an edge, or None.
        rule: score, bias and normalizer, learned ones too; None is softmax over scaled dot products.
        dropout: probability with which a weight is dropped in training, in [0, 1).

    Errors: InputError for shapes that don't fit.

    Source: Shi et al. 2021, "Masked Label Prediction"; Dwivedi & Bresson 2021, "A Generalization of Transformer
    Networks to Graphs".
    """

    def __init__(
        self,
        dim: int | tuple[int, int],
        head_dim: int,
        heads: int = 1,
        *,
        concat: bool = True,
        self_loops: bool = False,
        edge_dim: int | None = None,
        rule: Rule | Term | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, head_dim, heads, concat, self_loops, edge_dim, dropout)
        self.query = nn.Linear(self.target_dim, heads * head_dim)
        self.key = nn.Linear(self.source_dim, heads * head_dim)
        self.value = nn.Linear(self.source_dim, heads * head_dim)
        self.skip = nn.Linear(self.target_dim, self.out_dim)
        self.rule = Held(as_rule(rule))

    def _met(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Rule]:
        query, key, value = self.query(target), self.key(source), self.value(source)
        return self._split(query), self._split(key), self._split(value), self.rule()

    def _done(self, seen: Tensor, target: Tensor) -> Tensor:
        skipped: Tensor = self.skip(target)
        return seen + skipped


class GAT(Edgewise):
    """Graph attention.

    `w_i = softmax_j(LeakyReLU(a · W_t x_i + b · W_s x_j) + c · e_ij)`, `out_i = Σ_{j → i} w_ij · W_s x_j`

    Args:
        dim: components of a node, its matrix shared by both ends of an edge (W_t = W_s); or (of a source, of a target).
        head_dim: components of a head.
        heads: how many.
        concat: heads side by side, or their mean.
        self_loops: whether every node sees itself, besides its edges.
        edge_dim: components of an edge, or None; see `Graph`.
        negative_slope: of the leaky ReLU.
        dropout: probability with which a weight is dropped in training, in [0, 1).

    Errors: InputError for shapes that don't fit.

    Source: Veličković et al. 2018, "Graph Attention Networks".
    """

    def __init__(
        self,
        dim: int | tuple[int, int],
        head_dim: int,
        heads: int = 1,
        *,
        concat: bool = True,
        self_loops: bool = True,
        edge_dim: int | None = None,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, head_dim, heads, concat, self_loops, edge_dim, dropout)
        self.negative_slope = negative_slope
        self.source = nn.Linear(self.source_dim, heads * head_dim, bias=False)
        self.target = nn.Linear(self.target_dim, heads * head_dim, bias=False) if isinstance(dim, tuple) else None
        self.from_target, self.from_source = (nn.Parameter(torch.empty(heads, head_dim)) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(self.out_dim))
        for weight in (self.from_target, self.from_source):
            nn.init.xavier_uniform_(weight)

    def _met(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Rule]:
        key = self._split(self.source(source))
        own = self.source if self.target is None else self.target
        query = key if target is source and self.target is None else self._split(own(target))
        return query, key, key, Rule(score=static_score(self.from_target, self.from_source, self.negative_slope))

    def _done(self, seen: Tensor, target: Tensor) -> Tensor:
        return seen + self.bias


class GATv2(Edgewise):
    """Graph attention whose ranking of the neighbours depends on the node that looks.

    `w_i = softmax_j(a · LeakyReLU(W_t x_i + W_s x_j) + c · e_ij)`, `out_i = Σ_{j → i} w_ij · W_s x_j`

    Args:
        dim: components of a node, or (of a source, of a target).
        head_dim: components of a head.
        heads: how many.
        concat: heads side by side, or their mean.
        self_loops: whether every node sees itself, besides its edges.
        edge_dim: components of an edge, or None; they enter outside of the LeakyReLU (docs/fence.md).
        negative_slope: of the leaky ReLU.
        dropout: probability with which a weight is dropped in training, in [0, 1).

    Errors: InputError for shapes that don't fit.

    Source: Brody et al. 2022, "How Attentive are Graph Attention Networks?".
    """

    def __init__(
        self,
        dim: int | tuple[int, int],
        head_dim: int,
        heads: int = 1,
        *,
        concat: bool = True,
        self_loops: bool = True,
        edge_dim: int | None = None,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, head_dim, heads, concat, self_loops, edge_dim, dropout)
        self.negative_slope = negative_slope
        self.source = nn.Linear(self.source_dim, heads * head_dim)
        self.target = nn.Linear(self.target_dim, heads * head_dim)
        self.vector = nn.Parameter(torch.empty(heads, head_dim))
        self.bias = nn.Parameter(torch.zeros(self.out_dim))
        nn.init.xavier_uniform_(self.vector)

    def _met(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Rule]:
        key, query = self._split(self.source(source)), self._split(self.target(target))
        return query, key, key, Rule(score=touching_score(self.vector, self.negative_slope))

    def _done(self, seen: Tensor, target: Tensor) -> Tensor:
        return seen + self.bias
