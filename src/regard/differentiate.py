"""How gradients pass through an engine whose backward pass does not keep all of regard's promises.

PyTorch's kernels let NaN leak from hidden pairs of the upstream gradient, and have no second derivatives; in these
cases the gradient is computed again by the fallback engine that is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from regard.parts import Partial
from regard.problem import Problem

__all__ = ["guarded"]

Compute = Callable[[Problem], Partial]


def guarded(problem: Problem, compute: Compute, fallback: Compute) -> Partial:
    """`compute`, with the gradient of `fallback` where its own would break a promise."""
    if not torch.is_grad_enabled() or not any(t.requires_grad for t in problem.tensors):
        return compute(problem)
    made: list[Partial] = []

    def parts(engine: Compute, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        part = engine(problem.with_tensors(tensors))
        made.append(part)
        return (part.values,) if part.log_sum is None else (part.values, part.log_sum)

    results = _Guarded.apply(parts, compute, fallback, *problem.tensors)  # type: ignore[no-untyped-call]
    part = made[0]
    sink = None if part.sink is None else problem.sink
    return part.with_children({"values": results[0], "log_sum": results[1] if len(results) > 1 else None, "sink": sink})


class _Guarded(Function):
    @staticmethod
    def forward(ctx: Any, parts: Any, compute: Compute, fallback: Compute, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.parts, ctx.fallback = parts, fallback
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        with torch.enable_grad():
            ctx.inside = tuple(t.detach().requires_grad_(t.requires_grad) for t in tensors)
            ctx.results = parts(compute, ctx.inside)
        return tuple(result.detach() for result in ctx.results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        given = [(n, grad) for n, grad in enumerate(grads) if grad is not None]
        higher = torch.is_grad_enabled()
        safe = not higher and all(bool(grad.isfinite().all()) for _, grad in given)
        tensors = ctx.inside if safe else ctx.saved_tensors
        with torch.enable_grad():
            if not safe and not higher:
                tensors = tuple(t.detach().requires_grad_(t.requires_grad) for t in tensors)
            results = ctx.results if safe else ctx.parts(ctx.fallback, tensors)
        wanted = [n for n, needed in enumerate(ctx.needs_input_grad[3:]) if needed]
        found = torch.autograd.grad(
            [results[n] for n, _ in given],
            [tensors[n] for n in wanted],
            [grad.to(results[n].dtype) for n, grad in given],
            create_graph=higher,
            allow_unused=True,
            retain_graph=True,
        )
        result: list[Tensor | None] = [None] * (3 + len(tensors))
        for n, grad in zip(wanted, found, strict=True):
            result[3 + n] = grad
        return tuple(result)
