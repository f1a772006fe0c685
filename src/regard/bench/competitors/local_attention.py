"""local-attention: windows of blocks, each against the one before."""

from __future__ import annotations

from regard.bench.task import Run, Task, Unable, of_torch, only, wanted

__all__ = ["prepare"]


def prepare(task: Task) -> Run:
    """Its exact window of w looks at w keys before the query, and at the query's own."""
    only(task, "pattern")
    if task.window is None:
        raise Unable("it computes windows only")
    wanted("local_attention")
    from local_attention import LocalAttention

    layer = LocalAttention(
        window_size=task.window - 1,
        causal=True,
        look_backward=1,
        look_forward=0,
        exact_windowsize=True,
        autopad=True,
        use_rotary_pos_emb=False,
    )
    return of_torch(task, layer)
