"""The equation as a few lines of PyTorch, N × N: what a tutorial writes."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.bench.task import Run, Task, of_torch

__all__ = ["prepare"]


def prepare(task: Task) -> Run:
    """Every term, each as a plain operation."""
    hidden = None if task.visible is None else ~task.visible
    group = task.case.shape.heads // task.case.shape.kv_heads

    def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if group > 1:
            key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        scores = query @ key.mT * query.shape[-1] ** -0.5
        if task.cap is not None:
            scores = task.cap * torch.tanh(scores / task.cap)
        if task.bias is not None:
            scores = scores + task.bias
        if hidden is not None:
            scores = scores.masked_fill(hidden, float("-inf"))
        if task.sink is not None:
            sink = scores.new_full((), task.sink).expand(*scores.shape[:-1], 1)
            weights = torch.cat((scores, sink), -1).softmax(-1)[..., :-1]
        else:
            weights = scores.softmax(-1)
        out: Tensor = weights @ value
        return out

    return of_torch(task, attention)
