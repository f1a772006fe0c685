"""How gradients pass through an engine whose backward pass does not keep all of regard's promises.

Fused kernels let NaN leak from hidden pairs of the upstream gradient, and have no second derivatives; in these cases
the gradient is computed again by the fallback engine that is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function

from regard.parts import Partial
from regard.problem import Problem
from regard.products import finite

__all__ = ["Engine", "followed", "guarded", "pulled"]

Compute = Callable[[Problem], Partial]
Gradient = Callable[[Problem, Sequence[Tensor], Sequence[Tensor | None]], Sequence[Tensor | None] | None]
"""None stands for gradients that hidden pairs may have poisoned."""


@dataclass(frozen=True)
class Engine:
    """How an engine computes a problem, beside it what its gradient needs; no gradient where autograd follows it."""

    compute: Callable[[Problem], tuple[Partial, tuple[Tensor, ...]]]
    gradient: Gradient | None = None


def guarded(problem: Problem, engine: Engine, fallback: Compute) -> Partial:
    """`engine`, with the gradient of `fallback` where its own would break a promise."""
    if not torch.is_grad_enabled() or not any(t.requires_grad for t in problem.tensors):
        with torch.no_grad():
            return engine.compute(problem)[0]
    made: list[Partial] = []
    results = _Guarded.apply(problem, engine, fallback, made, *problem.tensors)  # type: ignore[no-untyped-call]
    log_sum = results[1] if len(results) > 1 else None
    sink = problem.sink if problem.parts and made[0].sink is not None else None
    return made[0].with_children({"values": results[0], "log_sum": log_sum, "sink": sink})


def followed(ready: Ready, query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
    """A prepared call as one node of autograd; None where it can't take these tensors."""
    made = ready.call.followed(query, key, value)
    return None if made is None else _apply(ready, made, query, key, value)


class Ready(Protocol):
    """A prepared call."""

    @property
    def call(self) -> Any:
        """Has `followed` and `backward`, see `engines.native.call`."""

    def again(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The same output by operations that have derivatives of every order."""


class _Prepared(Function):
    """The output is there already; what the node does is to remember, and the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, ready: Ready, made: tuple[Tensor, Tensor], query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        ctx.ready = ready
        ctx.save_for_backward(query, key, value, *made)
        return made[0]

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        saved, higher = ctx.saved_tensors, torch.is_grad_enabled()
        found = ctx.ready.call.backward(saved, upstream) if not higher else None
        if found is None:
            with torch.enable_grad():
                inside = saved[:3] if higher else _leaves(saved[:3])
                found = pulled((ctx.ready.again(*inside),), inside, (upstream,), higher)
        return (None, None, *found)


_apply: Callable[..., Tensor] = super(Function, _Prepared).apply
"""Without a look for transforms, which prepared calls have behind them."""


def _results(problem: Problem, part: Partial) -> tuple[Tensor, ...]:
    """Values and lse of a part; of all keys the output, in which the sink has its share."""
    if not problem.parts:
        return (part.out,)
    return (part.values,) if part.log_sum is None else (part.values, part.log_sum)


class _Guarded(Function):
    """One node of autograd: forward by the engine; backward by it where that is safe, else by the fallback."""

    @staticmethod
    def forward(
        ctx: Any, problem: Problem, engine: Engine, fallback: Compute, made: list[Partial], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.problem, ctx.engine, ctx.fallback = problem, engine, fallback
        ctx.set_materialize_grads(False)
        if engine.gradient is None:
            with torch.enable_grad():
                ctx.inside = _leaves(tensors)
                part, extra = engine.compute(problem.with_tensors(ctx.inside))
            ctx.followed = _results(problem, part)
        else:
            part, extra = engine.compute(problem)
        made.append(part)
        results = tuple(result.detach() for result in _results(problem, part))
        ctx.count = len(tensors)
        ctx.save_for_backward(*tensors, *results, *extra)
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        higher = torch.is_grad_enabled()
        kept = ctx.saved_tensors  # read once: recomputation gives each only once
        tensors, saved = kept[: ctx.count], kept[ctx.count :]
        found = None if higher else _own(ctx, tensors, saved, grads)
        if found is None:
            with torch.enable_grad():
                inside = tensors if higher else _leaves(tensors)
                again = ctx.problem.with_tensors(inside)
                results = _results(again, ctx.fallback(again))[: len(grads)]
            found = pulled(results, inside, grads, higher)
        return (None, None, None, None, *found)


def _own(
    ctx: Any, tensors: Sequence[Tensor], saved: Sequence[Tensor], grads: Sequence[Tensor | None]
) -> Sequence[Tensor | None] | None:
    """The gradients by the engine itself, or None where they would break a promise."""
    engine: Engine = ctx.engine
    if engine.gradient is not None:
        return engine.gradient(ctx.problem.with_tensors(_leaves(tensors)), saved, grads)
    if all(finite(grad) for grad in grads if grad is not None):
        return pulled(ctx.followed, ctx.inside, grads, False)
    return None


def _leaves(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(t.detach().requires_grad_(t.requires_grad) for t in tensors)


def pulled(
    results: Sequence[Tensor], tensors: Sequence[Tensor], grads: Sequence[Tensor | None], higher: bool
) -> list[Tensor | None]:
    """The gradient of every tensor that wants one."""
    pairs = [(result, grad) for result, grad in zip(results, grads, strict=True) if result.requires_grad]
    given = [(result, grad.to(result.dtype)) for result, grad in pairs if grad is not None]
    wanted = [n for n, tensor in enumerate(tensors) if tensor.requires_grad]
    found: list[Tensor | None] = [None] * len(tensors)
    if not given:
        return found
    pulled = torch.autograd.grad(
        [result for result, _ in given],
        [tensors[n] for n in wanted],
        [grad for _, grad in given],
        create_graph=higher,
        retain_graph=True,
        allow_unused=True,
    )
    for n, grad in zip(wanted, pulled, strict=True):
        found[n] = grad
    return found
