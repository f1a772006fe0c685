"""torch.compile(flex_attention): PyTorch's attention with formulas for pattern and bias."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from regard.bench.case import Pass
from regard.bench.task import Run, Task, Unable, of_torch, only

__all__ = ["prepare"]


def prepare(task: Task) -> Run:
    """Compiled for this task alone: a compiled function that met too many shapes runs uncompiled."""
    only(task, "pattern", "bias", "cap")
    if task.which is not Pass.FORWARD:
        raise Unable("it has no backward pass on a CPU")
    torch._dynamo.reset()
    grouped = task.case.shape.heads != task.case.shape.kv_heads
    options: dict[str, Any] = {"score_mod": _score(task), "block_mask": _mask(task), "enable_gqa": grouped}
    compiled: Any = torch.compile(flex_attention, dynamic=False)
    return of_torch(task, lambda query, key, value: compiled(query, key, value, **options))


def _mask(task: Task) -> Any:
    pattern, shape = task.case.rule.pattern, task.case.shape
    if pattern is None:
        return None

    def shown(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return pattern.allows(query, key, batch, head)

    return create_block_mask(shown, None, None, shape.queries, shape.keys, device="cpu")


def _score(task: Task) -> Any:
    cap, bias = task.cap, task.bias
    if cap is not None:
        return lambda score, batch, head, query, key: cap * torch.tanh(score / cap)
    if bias is not None:
        return lambda score, batch, head, query, key: score + bias[0, head, query, key]
    return None
