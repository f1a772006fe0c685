"""NATTEN: neighbourhoods; without a GPU it goes through flex_attention, uncompiled."""

from __future__ import annotations

from torch import Tensor

from regard.bench.case import Pass
from regard.bench.task import Run, Task, Unable, of_torch, only, wanted

__all__ = ["prepare"]


def prepare(task: Task) -> Run:
    """A causal neighbourhood of w is a window of w; its layout `[batch, tokens, heads, dim]` is made beforehand."""
    only(task, "pattern")
    if task.window is None:
        raise Unable("it computes neighbourhoods only")
    if task.which is not Pass.FORWARD:
        raise Unable("it has no backward pass on a CPU")
    wanted("natten")
    from natten import na1d

    query, key, value = (tensor.transpose(1, 2).contiguous() for tensor in task.inputs)

    def attention(*unused: Tensor) -> Tensor:
        out: Tensor = na1d(query, key, value, kernel_size=task.window, is_causal=True)
        return out

    run = of_torch(task, attention)
    return Run(run.call, lambda out: (out.transpose(1, 2),))
