"""JAX: `jax.nn.dot_product_attention`, compiled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from regard.bench.case import Pass
from regard.bench.task import Run, Task, Unable, only, wanted

__all__ = ["prepare"]


def prepare(task: Task) -> Run:
    """Its layout `[batch, tokens, heads, dim]` is made beforehand."""
    only(task, "pattern", "bias")
    wanted("jax", "psutil")
    import psutil

    if torch.get_num_threads() < (psutil.cpu_count(logical=False) or 1):
        raise Unable("it takes every core: its number of threads is fixed when the process starts")
    import jax

    options = _options(task)

    def attention(query: Any, key: Any, value: Any) -> Any:
        return jax.nn.dot_product_attention(query, key, value, **options)

    inputs = tuple(map(_given, task.inputs))
    if task.which in (Pass.FORWARD, Pass.RECORDED):
        if task.which is Pass.RECORDED:
            raise Unable("it records no operations: gradients are compiled with the forward pass")
        return _run(jax.jit(attention), inputs)
    upstream = _given(task.upstream)
    if task.which is Pass.BOTH:
        return _run(jax.jit(lambda *all_of: jax.vjp(attention, *all_of[:3])[1](all_of[3])), (*inputs, upstream))
    pull = jax.jit(lambda *leaves: jax.vjp(attention, *leaves)[1])(*inputs)
    return _run(jax.jit(lambda pull, upstream: pull(upstream)), (pull, upstream))


def _options(task: Task) -> dict[str, Any]:
    if task.is_causal:
        return {"is_causal": True}
    if task.window is not None:
        return {"is_causal": True, "local_window_size": (task.window - 1, 0)}
    bias = None if task.bias is None else _array(task.bias)
    return {"bias": bias, "mask": None if task.visible is None else _array(task.visible)}


def _run(function: Any, inputs: tuple[Any, ...]) -> Run:
    import jax

    def back(made: Any) -> tuple[Tensor, ...]:
        some = made if isinstance(made, tuple) else (made,)
        return tuple(from_dlpack(each).transpose(1, 2) for each in some)

    return Run(lambda: jax.block_until_ready(function(*inputs)), back)


def _given(tensor: Tensor) -> Any:
    return _array(tensor.transpose(1, 2))


def _array(tensor: Tensor) -> Any:
    import jax.numpy as jnp

    plain = jnp.asarray(tensor.float().contiguous().numpy()) if tensor.is_floating_point() else jnp.asarray(tensor)
    return plain.astype(jnp.bfloat16) if tensor.dtype == torch.bfloat16 else plain
