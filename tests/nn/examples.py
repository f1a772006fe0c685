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
}
