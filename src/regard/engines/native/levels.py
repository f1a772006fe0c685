"""What is known of each row of weights, and one call of the kernels that look at them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.engines import native
from regard.engines.native.lowering import lower
from regard.engines.native.request import Asked
from regard.engines.native.ticket import ticket
from regard.errors import EngineError, InputError
from regard.problem import Problem
from regard.problem.door import settled

__all__ = ["RowStatistics", "empty", "inside", "run"]


@dataclass(frozen=True)
class RowStatistics:
    """What each row of weights says, `[batch, heads, queries]`; None is what was not asked for.

    `lse + rest` is the log-sum-exp to twice the precision. A row that sees no key has lse −∞ and is 0 in all else.
    """

    lse: Tensor
    rest: Tensor
    entropy: Tensor | None = None
    square: Tensor | None = None
    distance: Tensor | None = None
    local: Tensor | None = None
    top_weights: Tensor | None = None
    top_keys: Tensor | None = None

    @property
    def effective_keys(self) -> Tensor | None:
        """`1 / Σ_j P_ij²`; 0 in a row that sees no key."""
        return None if self.square is None else torch.where(self.square == 0, 0, 1 / self.square)


def run(problem: Problem, levels: RowStatistics, request: Asked) -> None:
    """One pass of the kernels; lse and rest of `levels` are read or written, as the pass has it.

    Raises: EngineError where `native.refusal` has a reason; InputError for levels of another problem.
    """
    reason = native.refusal(problem)
    if reason is not None:
        raise EngineError(f"the kernels can't look at these weights: {reason}")
    shape = (problem.batch, problem.heads, problem.queries)
    if any(t.shape != shape or t.dtype != problem.accumulate for t in (levels.lse, levels.rest)):
        raise InputError(
            f"what was measured must be of the same problem, {list(shape)} in {problem.accumulate}, "
            f"got {list(levels.lse.shape)} in {levels.lse.dtype}"
        )
    with torch.no_grad(), settled(problem.query.device):
        lowered = lower(problem)
    made = ticket(problem, lowered, native._threads(), {"lse": levels.lse, "rest": levels.rest})
    native._kernels.statistics(made.problem, made.forms, request.request, request.groupings)


def empty(problem: Problem) -> RowStatistics:
    """Where lse and rest go, and nothing else."""
    shape = (problem.batch, problem.heads, problem.queries)
    return RowStatistics(*(torch.empty(shape, dtype=problem.accumulate) for _ in range(2)))


def inside(index: Tensor, length: int, name: str, least: int = 0) -> None:
    """Raises: InputError for an index that is not below `length`, or below `least`."""
    if index.numel() and not least <= int(index.min()) <= int(index.max()) < length:
        raise InputError(f"{name} must be {least}…{length - 1}, got {int(index.min())}…{int(index.max())}")
