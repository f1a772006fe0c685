"""One or more examples of every module that `regard.nn` exports, found by name: one without an example fails.

Sizes are distinct primes where the equation lets them be, so that a wrong transpose can't pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import regard as rg

BATCH, POSITIONS, SOURCES, DIM, KEY_DIM, VALUE_DIM = 2, 13, 17, 11, 7, 5
HEADS, KV_HEADS = 6, 3


@dataclass
class Example:
    """How to make a module, what to call it with, and what it must refuse.

    Tensors in `inputs` and `options` that are floating-point follow the module's dtype.
    """

    make: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Any, ...]]
    options: Callable[[], dict[str, Any]] = dict
    wrong: dict[str, Callable[[], tuple[Any, ...]]] = field(default_factory=dict)
    """Words of the message → inputs that raise it."""


def rows(*shape: int) -> Tensor:
    return 3 * torch.randn(*shape)


def learned(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape))


def every_term() -> rg.Rule:
    """A rule with a learned tensor in every term that can hold one."""
    return rg.Rule(
        rg.dot(learned(HEADS)), rg.causal(), rg.relative(learned(HEADS, 9)) + rg.alibi(), rg.softmax(learned(HEADS))
    )


def multihead(**options: Any) -> rg.nn.MultiHead:
    return rg.nn.MultiHead(DIM, HEADS, **{"kv_heads": KV_HEADS, "head_dim": (KEY_DIM, VALUE_DIM), **options})


def extra() -> rg.nn.MultiHead:
    made = multihead(rule=rg.softmax(sink=learned(HEADS)))
    made.learn_extra(2)
    return made


def block(**options: Any) -> rg.nn.Block:
    return rg.nn.Block(multihead(rule=rg.causal(), **options), hidden=23)


def crossing() -> rg.nn.Block:
    cross = multihead(source_dim=19)
    return rg.nn.Block(multihead(rule=rg.causal(), rotary=rg.rotary(4)), cross=cross, hidden=23)


def own() -> tuple[Tensor]:
    return (rows(BATCH, POSITIONS, DIM),)


def both() -> tuple[Tensor, Tensor]:
    return rows(BATCH, POSITIONS, DIM), rows(BATCH, SOURCES, 19)


def lengths() -> dict[str, Any]:
    return {"lengths": torch.tensor([11, 17])}


WRONG_OWN = {
    f"[..., positions, {DIM}]": lambda: (rows(BATCH, POSITIONS, DIM + 1),),
    "got torch.float32 [11]": lambda: (rows(DIM),),
    "got torch.float32 [1, 1, 2, 13, 11]": lambda: (rows(1, 1, BATCH, POSITIONS, DIM),),
    "torch.int64": lambda: (torch.ones(BATCH, POSITIONS, DIM, dtype=torch.int64),),
    "got list": lambda: ([[1.0] * DIM],),
}
WRONG_BOTH = {
    "query as floating-point [..., positions, 11]": lambda: (rows(BATCH, POSITIONS, 19), rows(BATCH, SOURCES, 19)),
    "as floating-point [..., positions, 19]": lambda: (rows(BATCH, POSITIONS, DIM), rows(BATCH, SOURCES, DIM)),
    "must broadcast": lambda: (rows(BATCH, POSITIONS, DIM), rows(3, SOURCES, 19)),
    "got torch.float32 [19]": lambda: (rows(BATCH, POSITIONS, DIM), rows(19)),
}


NODES, TARGETS, EDGES = 31, 13, 71


def edge_index() -> Tensor:
    """Every edge once; all nodes are below TARGETS, so that the graph may be bipartite too."""
    every = torch.cartesian_prod(torch.arange(TARGETS), torch.arange(TARGETS))
    return every[torch.randperm(TARGETS**2)[:EDGES]].T.contiguous()


def graph() -> tuple[Tensor, Tensor]:
    return rows(NODES, DIM), edge_index()


def ends() -> tuple[tuple[Tensor, Tensor], Tensor]:
    return (rows(NODES, DIM), rows(TARGETS, KEY_DIM)), edge_index()


def carried() -> tuple[Tensor, Tensor, Tensor]:
    return rows(NODES, DIM), edge_index(), rows(EDGES, 3)


def maps(channels: int = DIM) -> tuple[Tensor]:
    return (rows(BATCH, channels, 5, 7),)


def field_of_places() -> tuple[Tensor]:
    return (rows(BATCH, 5, 7, DIM),)


def points() -> tuple[Tensor, Tensor, Tensor]:
    return rows(BATCH, POSITIONS, 3), rows(BATCH, SOURCES, 3), rows(BATCH, SOURCES, VALUE_DIM)


def non_local(**options: Any) -> rg.nn.NonLocal:
    """It gives back its input until it has learned."""
    made = rg.nn.NonLocal(DIM, HEADS, heads=KV_HEADS, **options)
    nn.init.normal_(made.out.weight)
    return made


def kernel(**options: Any) -> rg.nn.ConvolutionAsAttention:
    return rg.nn.convolution_as_attention(nn.Conv2d(4, 6, (3, 2), **options))


WRONG_GRAPH = {
    f"sources as floating-point [nodes, {DIM}]": lambda: (rows(NODES, DIM + 1), edge_index()),
    "[2, edges], sources then targets": lambda: (rows(NODES, DIM), edge_index().T),
    "whole numbers": lambda: (rows(NODES, DIM), edge_index().double()),
    "has edge_dim=None": carried,
}
WRONG_MAPS = {
    f"[batch, {DIM}, ": lambda: (rows(BATCH, DIM + 1, 5, 7),),
    "got torch.float32 [11, 5]": lambda: (rows(DIM, 5),),
    "torch.int64": lambda: (torch.ones(BATCH, DIM, 5, 7, dtype=torch.int64),),
    "at least one place": lambda: (rows(BATCH, DIM, 0, 7),),
}
WRONG_FIELD = {
    f"·, {DIM}] on a grid of 2 axes": lambda: (rows(BATCH, 5, 7, DIM + 1),),
    "got torch.float32 [7, 11]": lambda: (rows(7, DIM),),
    "got list": lambda: ([[1.0] * DIM],),
}

EXAMPLES: dict[str, list[Example]] = {
    "Additive": [Example(lambda: rg.nn.Additive(DIM, 19, 23), both, lengths, WRONG_BOTH)],
    "Block": [
        Example(block, own, lambda: {"pattern": rg.padding(torch.tensor([11, 13]))}, WRONG_OWN),
        Example(crossing, both, wrong={"give it the memory": own}),
    ],
    "Decoder": [
        Example(lambda: rg.nn.Decoder([block(), block()]), own, wrong=WRONG_OWN),
        Example(lambda: rg.nn.Decoder([crossing(), crossing()]), both, wrong={"give it the memory": own}),
    ],
    "Encoder": [Example(lambda: rg.nn.Encoder(block() for _ in range(2)), own, wrong=WRONG_OWN)],
    "LearnedPositions": [Example(lambda: rg.nn.LearnedPositions(POSITIONS, DIM), own)],
    "Luong": [
        Example(lambda: rg.nn.Luong(DIM, 19), both, lengths, WRONG_BOTH),
        Example(lambda: rg.nn.Luong(DIM, 19, score=rg.nn.Luong.concat(DIM, 19, 23), reach=3), both, lengths),
        Example(lambda: rg.nn.Luong(DIM, 19, reach=3, predict=True, out_dim=29), both, lengths, WRONG_BOTH),
    ],
    "MultiHead": [
        Example(multihead, own, wrong=WRONG_OWN),
        Example(lambda: multihead(rule=every_term(), rotary=rg.rotary(4)), own),
        Example(
            lambda: multihead(source_dim=(19, 23)),
            lambda: (rows(BATCH, POSITIONS, DIM), rows(BATCH, SOURCES, 19), rows(BATCH, SOURCES, 23)),
            wrong={
                "key as floating-point [..., positions, 19]": own,
                "as many keys as values, got 17 and 13": lambda: (
                    rows(BATCH, POSITIONS, DIM),
                    rows(BATCH, SOURCES, 19),
                    rows(BATCH, POSITIONS, 23),
                ),
                "must broadcast": lambda: (rows(BATCH, POSITIONS, DIM), rows(3, SOURCES, 19), rows(3, SOURCES, 23)),
            },
        ),
        Example(extra, own),
    ],
    "Axial": [
        Example(lambda: rg.nn.Axial(DIM, HEADS, head_dim=KEY_DIM), field_of_places, wrong=WRONG_FIELD),
        Example(lambda: rg.nn.Axial(DIM, HEADS, 3, rule=every_term(), head_dim=KEY_DIM), lambda: (rows(2, 3, 5, DIM),)),
    ],
    "ChannelGate": [Example(lambda: rg.nn.ChannelGate(DIM, 2), maps, wrong=WRONG_MAPS)],
    "ConvolutionAsAttention": [
        Example(kernel, lambda: maps(4), wrong={"[batch, 4, rows, columns], got [2, 11, 5, 7]": maps}),
        Example(lambda: kernel(padding=(2, 1), stride=(1, 2), groups=2), lambda: maps(4)),
    ],
    "GAT": [
        Example(lambda: rg.nn.GAT(DIM, VALUE_DIM, HEADS), graph, wrong=WRONG_GRAPH),
        Example(lambda: rg.nn.GAT((DIM, KEY_DIM), VALUE_DIM, HEADS, concat=False), ends),
        Example(lambda: rg.nn.GAT(DIM, VALUE_DIM, HEADS, edge_dim=3, self_loops=False), carried),
    ],
    "GATv2": [
        Example(lambda: rg.nn.GATv2(DIM, VALUE_DIM, HEADS), graph, wrong=WRONG_GRAPH),
        Example(lambda: rg.nn.GATv2((DIM, KEY_DIM), VALUE_DIM, HEADS, concat=False), ends),
        Example(lambda: rg.nn.GATv2(DIM, VALUE_DIM, HEADS, edge_dim=3), carried, wrong={"pass edge_features": graph}),
    ],
    "Graph": [
        Example(lambda: rg.nn.Graph(DIM, VALUE_DIM, HEADS), graph, wrong=WRONG_GRAPH),
        Example(lambda: rg.nn.Graph((DIM, KEY_DIM), VALUE_DIM, HEADS, concat=False, self_loops=True), ends),
        Example(
            lambda: rg.nn.Graph(DIM, VALUE_DIM, HEADS, edge_dim=3, rule=every_term()),
            carried,
            wrong={
                "edge_features [71, 3], got [71, 2]": lambda: (*graph(), rows(EDGES, 2)),
                "every edge once": lambda: (rows(NODES, DIM), torch.zeros(2, 2, dtype=torch.int64), rows(2, 3)),
            },
        ),
    ],
    "NadarayaWatson": [
        Example(
            lambda: rg.nn.NadarayaWatson(3, float(torch.rand(())) + 0.5),
            points,
            wrong={
                "query as floating-point [..., positions, 3]": lambda: (rows(5, 2), rows(7, 3), rows(7, 1)),
                "as many positions, got 7 and 11": lambda: (rows(5, 3), rows(7, 3), rows(11, 1)),
                "value as floating-point": lambda: (rows(5, 3), rows(7, 3), torch.ones(7, 1, dtype=torch.int64)),
            },
        ),
        Example(lambda: rg.nn.NadarayaWatson(3, float(torch.rand(())) + 0.5, neighbors=5), points),
    ],
    "Neighborhood": [
        Example(
            lambda: rg.nn.Neighborhood(DIM, HEADS, (3, 5), head_dim=KEY_DIM),
            field_of_places,
            wrong={**WRONG_FIELD, "larger than the grid (5, 3)": lambda: (rows(BATCH, 5, 3, DIM),)},
        ),
        Example(lambda: rg.nn.Neighborhood(DIM, HEADS, 3, edge="clip", head_dim=KEY_DIM), own),
    ],
    "NonLocal": [
        Example(non_local, maps, wrong=WRONG_MAPS),
        Example(lambda: non_local(pool=2, rule=rg.dot(learned(KV_HEADS))), maps),
    ],
    "Pyramid": [
        Example(lambda: rg.nn.Pyramid(12, 3, 2, (1, 3)), lambda: (rows(BATCH, POSITIONS, 12),)),
        Example(
            lambda: rg.nn.Pyramid(12, 3, (1, 2, 5), (5, 1, 2), causal=True),
            lambda: (rows(BATCH, POSITIONS, 12),),
            lambda: {"present": torch.arange(POSITIONS) < torch.tensor([[11], [13]])},
            {
                "[..., positions, 12]": own,
                "booleans [2, 13], got torch.bool [13]": lambda: (
                    rows(BATCH, POSITIONS, 12),
                    torch.ones(POSITIONS, dtype=torch.bool),
                ),
            },
        ),
    ],
    "Spatial": [Example(lambda: rg.nn.Spatial(DIM, 2, 3), maps, wrong=WRONG_MAPS)],
    "SpatialGate": [
        Example(lambda: rg.nn.SpatialGate(3), maps, wrong={"rows, columns], got torch.float32 [2, 13, 11]": own})
    ],
}
