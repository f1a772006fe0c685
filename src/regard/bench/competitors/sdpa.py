"""torch.nn.functional.scaled_dot_product_attention: what a user of PyTorch calls; the base of every ratio."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from regard.bench.task import Run, Task, of_torch, only

__all__ = ["prepare"]


def prepare(task: Task) -> Run:
    """Causal by its own flag, any other pattern as a boolean mask, a bias as a mask of numbers."""
    only(task, "pattern", "bias")
    mask = task.bias if task.bias is not None else None if task.is_causal else task.visible
    grouped = task.case.shape.heads != task.case.shape.kv_heads

    def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=task.is_causal, enable_gqa=grouped
        )

    return of_torch(task, attention)
