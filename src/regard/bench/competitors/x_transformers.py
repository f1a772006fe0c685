"""x-transformers: its `Attend`, with `flash=True` (PyTorch's SDPA under it) wherever it allows that."""

from __future__ import annotations

from torch import Tensor

from regard.bench.task import Run, Task, Unable, of_torch, only, wanted

__all__ = ["prepare"]


def prepare(task: Task) -> Run:
    """Causal by its own flag, any other pattern as a mask."""
    only(task, "pattern", "bias", "cap")
    if task.case.shape.heads != task.case.shape.kv_heads:
        raise Unable("its query head h reads key head h mod kv_heads, not h // (heads / kv_heads)")
    wanted("x_transformers")
    from x_transformers.attend import Attend

    capped = {"softclamp_logits": True, "logit_softclamp_value": task.cap} if task.cap is not None else {"flash": True}
    attend = Attend(causal=task.is_causal, **capped)
    mask = None if task.is_causal else task.visible

    def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out: Tensor = attend(query, key, value, mask=mask, attn_bias=task.bias)[0]
        return out

    return of_torch(task, attention)
