"""PyTorch Geometric's attention layers, computed by regard: the same constructors, the same weights, the same results.

    from regard.pyg import GATConv, GATv2Conv, TransformerConv        in place of torch_geometric.nn's
    model = regard.pyg.from_pyg(model)                                 or a whole model, its weights copied

`w_i = softmax_{j → i}(score(x_i, x_j))`, `out_i = Σ_{j → i} w_ij · v_j`; an edge that stands n times counts n
times. What stays with PyTorch Geometric, edge features first of all, is refused in one sentence (docs/fence.md).
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from regard.errors import InputError, MissingError
from regard.nn.edgewise import attend_edges, edge_weights, looped, static_score, touching_score
from regard.recent import Recent, contents
from regard.rule import Rule
from regard.terms.bias.given import Edges
from regard.terms.pattern import Pattern, edges

try:
    from torch_geometric import nn as geometric
except ImportError as missing:
    raise MissingError(
        "regard.pyg needs PyTorch Geometric, which is not installed: pip install 'regard[pyg]'"
    ) from missing

__all__ = ["GATConv", "GATv2Conv", "TransformerConv", "from_pyg"]

M = TypeVar("M", bound=nn.Module)


class GATConv(geometric.GATConv):  # type: ignore[misc]
    """`torch_geometric.nn.GATConv` by regard: `score = LeakyReLU(a_dst · W x_i + a_src · W x_j)`.

    Args: those of PyTorch Geometric's layer, without edge features; `forward(x, edge_index)` takes one tensor of
    nodes, or (sources, targets).

    Errors: InputError for what PyTorch Geometric alone can do.

    Source: Veličković et al. 2018, "Graph Attention Networks".
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        _refuse(self)

    def forward(
        self, x: Any, edge_index: Any, edge_attr: Any = None, size: Any = None, return_attention_weights: Any = None
    ) -> Any:
        """`[nodes, in_channels]` → `[nodes, out]`; with the weights: (out, (edge_index, `[edges, heads]`))."""
        source, target = _ends(self, x, edge_attr)
        key = self._split((self.lin_src if self.lin is None else self.lin)(source))
        query = key
        if target is not source or self.lin is None:
            query = self._split((self.lin_dst if self.lin is None else self.lin)(target))
        rule = Rule(score=static_score(self.att_dst[0], self.att_src[0], self.negative_slope))
        nodes = min(source.shape[0], target.shape[0]) if size is None else min(size)
        graph = _graph_of(self, edge_index, nodes)
        out = _joined(self, _along(self, query, key, key, rule, graph), target)
        return out if return_attention_weights is None else (out, _weights(self, query, key, rule, graph))

    def _split(self, rows: Tensor) -> Tensor:
        return rows.view(-1, self.heads, self.out_channels)


class GATv2Conv(geometric.GATv2Conv):  # type: ignore[misc]
    """`torch_geometric.nn.GATv2Conv` by regard: `score = a · LeakyReLU(W_r x_i + W_l x_j)`.

    Args: those of PyTorch Geometric's layer, without edge features, which stand inside the nonlinearity there.

    Errors: InputError for what PyTorch Geometric alone can do.

    Source: Brody et al. 2022, "How Attentive are Graph Attention Networks?".
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        _refuse(self)

    def forward(self, x: Any, edge_index: Any, edge_attr: Any = None, return_attention_weights: Any = None) -> Any:
        """`[nodes, in_channels]` → `[nodes, out]`; with the weights: (out, (edge_index, `[edges, heads]`))."""
        source, target = _ends(self, x, edge_attr)
        key = self.lin_l(source).view(-1, self.heads, self.out_channels)
        query = self.lin_r(target).view(-1, self.heads, self.out_channels)
        rule = Rule(score=touching_score(self.att[0], self.negative_slope))
        nodes = min(source.shape[0], target.shape[0])
        graph = _graph_of(self, edge_index, nodes)
        out = _joined(self, _along(self, query, key, key, rule, graph), target)
        return out if return_attention_weights is None else (out, _weights(self, query, key, rule, graph))


class TransformerConv(geometric.TransformerConv):  # type: ignore[misc]
    """`torch_geometric.nn.TransformerConv` by regard: `score = (W_q x_i) · (W_k x_j) / √d`.

    Args: those of PyTorch Geometric's layer, without edge features, which it adds to keys and values.

    Errors: InputError for what PyTorch Geometric alone can do.

    Source: Shi et al. 2021, "Masked Label Prediction".
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        _refuse(self)

    def forward(self, x: Any, edge_index: Any, edge_attr: Any = None, return_attention_weights: Any = None) -> Any:
        """`[nodes, in_channels]` → `[nodes, out]`; with the weights: (out, (edge_index, `[edges, heads]`))."""
        source, target = _ends(self, x, edge_attr)
        rows = (self.lin_query(target), self.lin_key(source), self.lin_value(source))
        query, key, value = (row.view(-1, self.heads, self.out_channels) for row in rows)
        graph = _graph_of(self, edge_index, None)
        out = self._rooted(_along(self, query, key, value, Rule(), graph), target)
        return out if return_attention_weights is None else (out, _weights(self, query, key, Rule(), graph))

    def _rooted(self, seen: Tensor, target: Tensor) -> Tensor:
        out = seen.flatten(1) if self.concat else seen.mean(1)
        if not self.root_weight:
            return out
        root: Tensor = self.lin_skip(target)
        if self.lin_beta is None:
            return out + root
        share: Tensor = self.lin_beta(torch.cat((out, root, out - root), -1)).sigmoid()
        return share * root + (1 - share) * out


OURS: dict[type, type] = {
    geometric.GATConv: GATConv,
    geometric.GATv2Conv: GATv2Conv,
    geometric.TransformerConv: TransformerConv,
}


def from_pyg(module: M) -> M:
    """A copy of a layer, or of a model, in which regard computes every GATConv, GATv2Conv and TransformerConv.

    Args:
        module: weights, their names and their training are those of PyTorch Geometric's.

    Errors: InputError where none of its layers is one of the three, and for what regard can't compute.
    """
    made = copy.deepcopy(module)
    found = [layer for layer in made.modules() if type(layer) in OURS]
    if not found:
        raise InputError(
            f"from_pyg found no {', '.join(kind.__name__ for kind in OURS)} in {type(module).__name__}; other layers "
            "are no attention along edges"
        )
    for layer in found:
        _refuse(layer)
        layer.__class__ = OURS[type(layer)]
    return made


def _refuse(layer: nn.Module) -> None:
    """InputError for a layer that is not this equation."""
    name = type(layer).__name__
    if layer.edge_dim is not None:
        raise InputError(
            f"{name}(edge_dim={layer.edge_dim}) puts edge features where the equation has no place for them; see "
            "docs/fence.md, and regard.nn.Graph(edge_dim=…) for numbers of edges outside of the score"
        )
    if type(layer.aggr_module).__name__ != "SumAggregation":
        raise InputError(f"{name} sums over edges, aggr='add'; it got {layer.aggr!r}: use PyTorch Geometric's layer")


def _ends(layer: nn.Module, nodes: Any, features: Any) -> tuple[Tensor, Tensor]:
    """Features of sources and of targets; InputError for those of edges."""
    if features is not None:
        raise InputError(f"{type(layer).__name__} takes no edge_attr, since it has no edge_dim; see docs/fence.md")
    source, target = nodes if isinstance(nodes, (tuple, list)) else (nodes, nodes)
    if not all(isinstance(rows, Tensor) and rows.ndim == 2 for rows in (source, target)):
        raise InputError(f"{type(layer).__name__} needs nodes [nodes, features], or such a pair (sources, targets)")
    return source, target


class _Graph(NamedTuple):
    """The edges, and as a pattern; where some stand more than once, the distinct ones and how often each does."""

    ends: Tensor
    pattern: Pattern
    distinct: Tensor
    repeats: Tensor | None


GRAPHS: Recent[_Graph] = Recent(count=64, nbytes=1 << 28)
"""By the numbers in edge_index: the layers of a model, and its steps, share their graph."""


def _graph_of(layer: Any, index: Any, nodes: int | None) -> _Graph:
    """The edges as a layer sees them; with as many self loops as nodes, where it adds any."""
    if not isinstance(index, Tensor) or index.layout != torch.strided:
        raise InputError(
            f"{type(layer).__name__} needs edge_index [2, edges], got {type(index).__name__}; "
            "torch_geometric.utils.to_edge_index turns a sparse matrix into it"
        )
    loops = nodes if nodes is not None and layer.add_self_loops else None
    return _graph(index, layer.flow == "target_to_source", loops)


def _graph(index: Tensor, turned: bool, loops: int | None) -> _Graph:
    """The graph as the layer sees it: `turned` exchanges both ends, `loops` is how many nodes see themselves."""
    numbers = contents((index,))
    key = (numbers, turned, loops)
    found = None if numbers is None else GRAPHS.get(key)
    if found is None:
        found = _made(index.flip(0) if turned else index, loops)
        if numbers is not None:
            numbers.keep()
            held = [tensor for tensor in (*found, *found.pattern.leaves()) if isinstance(tensor, Tensor)]
            GRAPHS.put(key, found, numbers.nbytes + sum(tensor.nbytes for tensor in held))
    return found


def _made(index: Tensor, loops: int | None) -> _Graph:
    if loops is not None and index.ndim == 2 and index.shape[0] == 2:
        index = looped(index[:, index[0] != index[1]], loops)
    pattern = edges(index)
    span = int(index.max()) + 1 if index.numel() else 1
    code, count = torch.unique(index[1].long() * span + index[0], return_counts=True)
    distinct = torch.stack((code % span, code // span))
    return _Graph(index, pattern, distinct, None if code.numel() == index.shape[1] else count)


def _along(layer: Any, query: Tensor, key: Tensor, value: Tensor, rule: Rule, graph: _Graph) -> Tensor:
    """Attention along the edges, each as often as it stands there; `[nodes, heads, channels]` in and out."""
    chance = layer.dropout if layer.training else 0.0
    return attend_edges(query, key, value, rule, graph.pattern, _repeated(graph, query), chance)


def _weights(layer: Any, query: Tensor, key: Tensor, rule: Rule, graph: _Graph) -> tuple[Tensor, Tensor]:
    """The edges as the layer was given them, and what each weighs before dropout, `[edges, heads]`."""
    weights = edge_weights(query, key, rule, graph.pattern, _repeated(graph, query), graph.ends)
    return graph.ends.flip(0) if layer.flow == "target_to_source" else graph.ends, weights


def _repeated(graph: _Graph, like: Tensor) -> Edges | None:
    """log n on an edge that stands n times: to a softmax it is n edges."""
    return None if graph.repeats is None else Edges(graph.distinct, graph.repeats.to(like).log())


def _joined(layer: Any, seen: Tensor, target: Tensor) -> Tensor:
    out = seen.flatten(1) if layer.concat else seen.mean(1)
    out = out if layer.res is None else out + layer.res(target)
    return out if layer.bias is None else out + layer.bias
