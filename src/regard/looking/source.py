"""What is looked at, and who looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from regard.engines import native
from regard.errors import EngineError, InputError
from regard.problem import Problem
from regard.terms.normalize import Softmax

__all__ = ["Source", "by_kernels"]


@dataclass(frozen=True)
class Source:
    """The weights of a problem.

    Args:
        problem: posed with `key` in place of values.
        weights: from indices of rows to these rows of weights, `[..., heads, rows, keys]`.
        kernels: whether the kernels take what they can.
        differentiable: whether autograd follows.
        top: how many of the greatest weights the pass over rows keeps.
        within: the distance up to which mass is local.
    """

    problem: Problem
    weights: Callable[[Tensor], Tensor]
    kernels: bool
    differentiable: bool
    top: int
    within: int

    @property
    def engines(self) -> str:
        """Who makes the pass over rows, and who the others, for print."""
        if not self.kernels:
            return "tiled"
        return "native" if isinstance(self.problem.rule.normalize, Softmax) else "tiled (rows) and native"


def by_kernels(problem: Problem, engine: str | None, differentiable: bool) -> bool:
    """Whether the kernels look at the weights, or the error where a named engine can't."""
    if engine not in (None, "native", "tiled"):
        raise InputError(f'engine must be "native", "tiled" or None, got {engine!r}')
    why = "their statistics have no gradients" if differentiable else native.refusal(problem)
    if engine != "native":
        return engine is None and why is None
    if why is None and not isinstance(problem.rule.normalize, Softmax):
        why = f"they measure rows by their lse, which {problem.rule.normalize!r} has not"
    if why is not None:
        raise EngineError(
            f"the kernels can't look at {problem.said!r} alone: {why}; engine=None takes who can for each pass"
        )
    return True
