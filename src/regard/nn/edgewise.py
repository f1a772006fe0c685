"""What layers on graphs share: nodes in, attention along the edges, nodes out; and their scores."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from regard.attention import attend, partial
from regard.equation import Listed
from regard.errors import InputError
from regard.nn.checks import check_sizes
from regard.problem.door import probability
from regard.rule import Rule
from regard.terms import bias as biases
from regard.terms.bias import Bias
from regard.terms.pattern import Pattern, edges
from regard.terms.pattern.graph import Edges
from regard.terms.score import Additive, additive

__all__ = ["Edgewise", "attend_edges", "edge_weights", "looped", "static_score", "touching_score"]

Nodes = Tensor | tuple[Tensor, Tensor]
"""Features of all nodes `[nodes, dim]`, or (of the sources, of the targets) of a bipartite graph."""


class Edgewise(nn.Module):
    """What the three layers share: nodes in, heads, the edges they look along, heads joined, nodes out."""

    def __init__(
        self,
        dim: int | tuple[int, int],
        head_dim: int,
        heads: int,
        concat: bool,
        self_loops: bool,
        edge_dim: int | None,
        dropout: float,
    ) -> None:
        super().__init__()
        self.source_dim, self.target_dim = dim if isinstance(dim, tuple) else (dim, dim)
        named = {"dim": self.source_dim, "target_dim": self.target_dim, "head_dim": head_dim, "heads": heads}
        check_sizes(type(self).__name__, **named, edge_dim=1 if edge_dim is None else edge_dim)
        self.head_dim, self.heads, self.concat, self.self_loops = head_dim, heads, concat, self_loops
        self.edge_dim, self.dropout = edge_dim, probability(dropout)
        self.out_dim = heads * head_dim if concat else head_dim
        self.edge = None if edge_dim is None else nn.Linear(edge_dim, heads, bias=False)

    def forward(self, nodes: Nodes, edge_index: Tensor, edge_features: Tensor | None = None) -> Tensor:
        """`[nodes, dim]` → `[nodes, out_dim]`.

        Args:
            nodes: features `[nodes, dim]`, or (sources `[·, dim]`, targets `[·, target_dim]`).
            edge_index: whole numbers `[2, edges]`, sources first; an edge that stands twice is one.
            edge_features: `[edges, edge_dim]` where the layer has an `edge_dim`, every edge once; a self loop that is
                not among them has the number 0.
        """
        source, target = nodes if isinstance(nodes, tuple) else (nodes, nodes)
        self._check(source, target, edge_index, edge_features)
        moved = None
        if self.edge is not None and edge_features is not None:
            moved = biases.edges(edge_index, self.edge(edge_features).mT)
        query, key, value, rule = self._met(source, target)
        count = min(source.shape[0], target.shape[0])
        pattern = edges(looped(edge_index, count) if self.self_loops else edge_index)
        seen = attend_edges(query, key, value, rule, pattern, moved, self.dropout if self.training else 0.0)
        return self._done(seen.flatten(1) if self.concat else seen.mean(1), target)

    @abstractmethod
    def _met(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Rule]:
        """Query, key, value `[nodes, heads, ·]`, and the rule but for the edges."""

    @abstractmethod
    def _done(self, seen: Tensor, target: Tensor) -> Tensor:
        """What is added after the heads are joined."""

    def _split(self, rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (self.heads, self.head_dim))  # type: ignore[no-any-return]

    def _check(self, source: Tensor, target: Tensor, index: Tensor, features: Tensor | None) -> None:
        name = type(self).__name__
        for what, rows, dim in (("sources", source, self.source_dim), ("targets", target, self.target_dim)):
            if not isinstance(rows, Tensor) or rows.ndim != 2 or rows.shape[1] != dim or not rows.is_floating_point():
                got = f"{rows.dtype} {list(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
                raise InputError(f"{name} needs {what} as floating-point [nodes, {dim}], got {got}")
        if (features is None) != (self.edge is None):
            say = "pass edge_features" if features is None else f"make it with {name}(edge_dim=…)"
            raise InputError(f"{name} has edge_dim={self.edge_dim}: {say}")
        wanted = (index.shape[-1], self.edge_dim) if isinstance(index, Tensor) and index.ndim else ()
        if features is not None and tuple(features.shape) != wanted:
            raise InputError(f"{name} needs edge_features {list(wanted)}, got {list(features.shape)}")

    def extra_repr(self) -> str:
        """Its sizes, as modules print them."""
        dim = self.source_dim if self.source_dim == self.target_dim else (self.source_dim, self.target_dim)
        said = [f"{dim}, {self.head_dim}, heads={self.heads}"]
        said += ["concat=False"] * (not self.concat) + ["self_loops=True"] * self.self_loops
        said += [] if self.edge_dim is None else [f"edge_dim={self.edge_dim}"]
        return ", ".join(said + [f"dropout={self.dropout:g}"] * bool(self.dropout))


def attend_edges(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rule: Rule,
    pattern: Pattern,
    bias: Bias | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """`[nodes, heads, dim]` → `[targets, heads, dim]` by a rule, with what one graph adds to its pattern and bias."""
    _check_ends(pattern, key.shape[0], query.shape[0])
    # Heads are computed one after the other, and a head's rows are read in any order: close together they stay near.
    query, key, value = (rows.transpose(0, 1).contiguous() for rows in (query, key, value))
    return attend(query, key, value, _on(rule, pattern, bias), query_start=0, dropout=dropout).transpose(0, 1)


def _check_ends(pattern: Pattern, sources: int, targets: int) -> None:
    """InputError for an edge to or from a node that is not there."""
    if not isinstance(pattern, Edges) or pattern.span <= min(sources, targets) or not pattern.codes.numel():
        return
    target, source = int(pattern.codes[-1]) // pattern.span, int((pattern.codes % pattern.span).max())
    for name, node, count in (("sources", source, sources), ("targets", target, targets)):
        if node >= count:
            raise InputError(f"the edges' {name} must be nodes from 0 to {count - 1}, got {node}")


def edge_weights(query: Tensor, key: Tensor, rule: Rule, pattern: Pattern, bias: Bias | None, index: Tensor) -> Tensor:
    """`w_ij = exp(score(q_i, k_j) − lse_i)` of every edge, `[edges, heads]`; what the bias adds is in lse alone."""
    query, key = query.transpose(0, 1), key.transpose(0, 1)
    lse = partial(query, key, key, _on(rule, pattern, bias), query_start=0).lse
    score = rule.score.pairs(query[None], key[None], Listed(index[1], index[0])).squeeze(-1)[0]
    return (score - lse.index_select(1, index[1])).exp().T.to(query.dtype)


def _on(rule: Rule, pattern: Pattern, bias: Bias | None) -> Rule:
    """The rule with what a graph adds to its pattern and bias."""
    seen = pattern if rule.pattern is None else rule.pattern & pattern
    moved = bias if rule.bias is None else rule.bias if bias is None else rule.bias + bias
    return Rule(rule.score, seen, moved, rule.normalize)


def looped(index: Tensor, nodes: int) -> Tensor:
    """The edges and, after them, one from every node to itself."""
    if not isinstance(index, Tensor) or index.ndim != 2 or index.shape[0] != 2:
        return index  # `edges` says what is wrong with it
    loops = torch.arange(nodes, device=index.device, dtype=index.dtype)
    return torch.cat((index, loops.expand(2, -1)), 1)


def static_score(from_target: Tensor, from_source: Tensor, negative_slope: float) -> Additive:
    """LeakyReLU(a_h · q_i + b_h · k_j), a and b `[heads, dim]`."""
    one = torch.ones(1, dtype=from_target.dtype, device=from_target.device)
    return additive(from_target[:, None], from_source[:, None], one, negative_slope=negative_slope)


def touching_score(vector: Tensor, negative_slope: float) -> Additive:
    """a_h · LeakyReLU(q_i + k_j), a `[heads, dim]`."""
    return additive(None, None, vector, negative_slope=negative_slope)
