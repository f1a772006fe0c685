"""The cases, in the order of the table that they fill."""

from __future__ import annotations

import torch

from regard.bench.case import Case, Pass, Shape
from regard.rule import Rule
from regard.terms.bias import alibi, relative
from regard.terms.normalize import softmax
from regard.terms.pattern import Pattern, blocks, causal, documents, mask, prefix, window
from regard.terms.score import dot, softcap

__all__ = ["cases"]

ONLY_FORWARD = (Pass.FORWARD,)
TINY = (Pass.FORWARD, Pass.RECORDED, Pass.BOTH)


def cases(shrink: int = 1) -> tuple[Case, ...]:
    """All cases, their sequences shorter by a factor, a power of two up to 16."""
    length, heads = 2048 // shrink, 8
    long, wide = Shape.square(1, heads, length, 64), Shape.square(1, heads, length, 128)
    short, many = Shape.square(1, heads, 512 // shrink, 64), Shape.square(8, 12, 128 // shrink, 64)
    plain, past, half = Rule(), Rule(pattern=causal()), torch.bfloat16
    return (
        Case("dense-64", long, plain),
        Case("dense-128", wide, plain),
        Case("causal", long, past),
        Case("causal-short", short, past),
        Case("batch", many, plain),
        Case("batch-causal", many, past),
        Case("window", long, Rule(pattern=window(128 // shrink))),
        Case("documents", long, Rule(pattern=documents(_lengths(length)))),
        Case("prefix", long, Rule(pattern=prefix(length // 8) | causal())),
        Case("blocks", long, Rule(pattern=blocks(length // 32, _layout()))),
        Case("random", long, Rule(pattern=_half(length))),
        Case("dense-bf16", long, plain, half),
        Case("causal-bf16", long, past, half),
        *(
            Case(name, Shape(batch, 32, 8, 1, 8192 // shrink, 128), plain, dtype, ONLY_FORWARD, memory=True)
            for name, batch, dtype in (
                ("decode", 1, torch.float32),
                ("decode-batch", 8, torch.float32),
                ("decode-bf16", 1, half),
            )
        ),
        Case("alibi", long, Rule(bias=alibi(heads)), plainer=plain),
        Case("table", long, Rule(bias=relative(_table(heads))), plainer=plain),
        Case("softcap", long, Rule(softcap(dot(), 30.0)), plainer=plain),
        Case("sink", long, Rule(normalize=softmax(sink=0.5)), plainer=plain),
        Case("tiny", Shape.square(1, 1, 16, 16), plain, passes=TINY),
    )


def _lengths(total: int) -> list[int]:
    """Sixteen documents of lengths from a half to one and a half of the mean."""
    mean = total // 16
    return [mean + mean * (2 * n - 15) // 32 if n % 2 else mean - mean * (2 * (n + 1) - 15) // 32 for n in range(16)]


def _layout() -> torch.Tensor:
    """32 × 32 blocks, 27 % of them shown, the diagonal among them."""
    made = torch.rand(32, 32, generator=torch.Generator().manual_seed(27))
    made.fill_diagonal_(-1.0)
    return made <= made.flatten().kthvalue(round(0.27 * 32 * 32)).values


def _half(length: int) -> Pattern:
    shown = torch.rand(length, length, generator=torch.Generator().manual_seed(50)) < 0.5
    return mask(shown.logical_or_(torch.eye(length, dtype=torch.bool)))


def _table(heads: int) -> torch.Tensor:
    return torch.randn(heads, 65, generator=torch.Generator().manual_seed(65))
