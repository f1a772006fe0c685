"""Single rows and single entries of the weights P_ij = exp(s_ij − lse_i)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regard.engines.native.levels import RowStatistics, empty, inside, run
from regard.engines.native.request import Pass, asked
from regard.engines.native.statistics import Fields, levels_of
from regard.errors import InputError
from regard.problem import Problem

__all__ = ["entries", "rows"]


def rows(problem: Problem, indices: Sequence[int]) -> Tensor:
    """Exact weights of a few rows, `[batch, heads, rows, keys]`, 0 where hidden.

    `P_ij = exp(s_ij − lse_i)`, lse found on the way, or `σ(s_ij)`

    Args:
        problem: softmax or sigmoid.
        indices: which rows, local, in any order.
    """
    wanted = torch.as_tensor(indices, dtype=torch.int64).reshape(-1)
    inside(wanted, problem.queries, "rows")
    chosen, place = torch.unique(wanted, return_inverse=True)
    weights = torch.zeros(problem.batch, problem.heads, len(chosen), problem.keys, dtype=problem.accumulate)
    if len(chosen):
        request = asked(Pass.WEIGHTS, {"chosen": chosen, "chosen_count": len(chosen), "weights": weights})
        run(problem, empty(problem), request)
    return weights[:, :, place]


def entries(problem: Problem, pairs: Tensor, measured: RowStatistics | None = None) -> Tensor:
    """Single weights P_ij, `[batch, heads, pairs]`, in O(dim) each.

    Args:
        problem: softmax or sigmoid.
        pairs: a local row and a local key each, `[pairs, 2]`; `[batch, pairs, 2]` where batch entries have their own.
            The weight on key −1 is 0.
        measured: as in `collect`.
    """
    if pairs.ndim not in (2, 3) or pairs.shape[-1] != 2 or pairs.is_floating_point():
        raise InputError(
            f"pairs must be integers [pairs, 2] or [batch, pairs, 2], got {list(pairs.shape)} of {pairs.dtype}"
        )
    if pairs.ndim == 3 and pairs.shape[0] not in (1, problem.batch):
        raise InputError(f"pairs are of {pairs.shape[0]} batch entries, of which there are {problem.batch}")
    chosen, own = pairs.to(torch.int64).contiguous(), pairs.ndim == 3 and pairs.shape[0] > 1
    inside(chosen[..., 0], problem.queries, "rows")
    inside(chosen[..., 1], problem.keys, "keys", least=-1)
    count = chosen.shape[-2]
    weights = torch.empty(problem.batch, problem.heads, count, dtype=problem.accumulate)
    if count:
        fields: Fields = {"chosen": chosen, "chosen_count": count, "chosen_step": 2 * count * own, "weights": weights}
        run(problem, measured or levels_of(problem), asked(Pass.ENTRIES, fields))
    return weights
