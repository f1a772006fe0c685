"""The engine inside of a ring: whichever `planning` chooses for a part, and its gradient given the whole's lse.

With the log-sum-exp and the output of all keys known, the kernels' backward pass of one part is exact as it is:
`P_ij = exp(s_ij − lse_i)`, `dS_ij = P_ij (dO_i · v_j − dO_i · O_i + dlse_i)`. For any other engine the part is computed
again, and its share of the whole, `exp(lse_part − lse)`, gives the gradients that reach its values and its lse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.differentiate import pulled
from regard.engines import native
from regard.parts import Partial
from regard.planning import chosen, solve
from regard.problem import Problem
from regard.problem.door import settled
from regard.terms.normalize import NOTHING

__all__ = ["Parts"]


@dataclass(frozen=True)
class Parts:
    """An engine for parts.

    Args:
        engine: by name, or None for the best one.
    """

    engine: str | None = None

    def forward(self, problem: Problem) -> Partial:
        """The part."""
        with torch.no_grad():
            return solve(problem, self.engine)

    def backward(self, problem: Problem, whole: Partial, upstream: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """The gradients of `problem.tensors`."""
        with settled(problem.query.device):
            if whole.log_sum is not None and chosen(problem, self.engine) == "native":
                # A row of nothing has lse −∞; the kernels see no key in it.
                with torch.no_grad():
                    saved = (whole.values, whole.log_sum, whole.log_sum, torch.zeros_like(whole.log_sum))
                    found = native.gradient(problem, saved, _filled(whole, upstream))
                if found is not None:
                    return found
            return self._again(problem, whole, upstream)

    def _again(self, problem: Problem, whole: Partial, upstream: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """By computing the part once more."""
        tensors = [t.detach().requires_grad_(t.requires_grad) for t in problem.tensors]
        with torch.enable_grad():
            part = solve(problem.with_tensors(tensors), self.engine)
        if part.log_sum is None or whole.log_sum is None:
            return pulled((part.values,), tensors, upstream[:1], False)
        to_values, to_lse = _shared(part, whole, upstream)
        return pulled((part.values, part.log_sum), tensors, (to_values, to_lse), False)


def _filled(whole: Partial, upstream: Sequence[Tensor | None]) -> tuple[Tensor, Tensor | None]:
    to_values = upstream[0]
    return torch.zeros_like(whole.values) if to_values is None else to_values.contiguous(), upstream[1]


def _shared(part: Partial, whole: Partial, upstream: Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
    """Gradients of a part's values and lse: `share · dO`, `share · (dO · (V_part − O) + dlse)`."""
    assert part.log_sum is not None
    assert whole.log_sum is not None
    empty = part.log_sum == NOTHING
    share = torch.where(empty, 0, (part.log_sum - torch.where(empty, 0, whole.log_sum)).exp()).detach()
    to_values, to_lse = upstream
    if to_values is None:
        to_values = torch.zeros_like(whole.values)
    slope = (to_values * (part.values.detach() - whole.values)).sum(-1)
    slope = slope if to_lse is None else slope + to_lse
    return torch.where(empty[..., None], 0, share[..., None] * to_values), torch.where(empty, 0, share * slope)
