"""What can be said of the weights P_ij = exp(s_ij − lse_i), a sink's share in lse_i, without keeping them.

One pass over the scores gives lse and what a row says by itself (`measure`); with lse, a second one gives sums over
rows (`collect`). Both take O(N) memory and give the same bits for any number of threads. Dropout plays no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from regard.engines import native
from regard.engines.native.grouping import Grouped, Grouping, room
from regard.engines.native.lowering import lower
from regard.engines.native.request import Asked, Pass, asked
from regard.engines.native.ticket import ticket
from regard.errors import EngineError, InputError
from regard.problem import Problem
from regard.problem.door import settled
from regard.terms.normalize import Softmax

__all__ = ["MOST_TOP", "RowStatistics", "Sums", "collect", "entries", "measure", "profile", "rows"]

MOST_TOP = 64
MOST_KEYS = 1 << 31


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


@dataclass(frozen=True)
class Sums:
    """Sums of weights over rows; None is what was not asked for.

    `received [batch, heads, keys]`, `visible` the same, how many rows see the key; `distances [batch, heads, queries +
    keys − 1]` by j − i in local positions, from −(queries − 1) up; `groups` in the order they were asked for.
    """

    received: Tensor | None
    visible: Tensor | None
    distances: Tensor | None
    groups: tuple[Grouped, ...]


def measure(
    problem: Problem, *, entropy: bool = True, top: int = 0, distance: bool = False, within: int | None = None
) -> RowStatistics:
    """What each row says by itself, in one pass over the scores.

    `lse_i`, `H_i = Σ_j P_ij (lse_i − s_ij)`, `Σ_j P_ij²`, the greatest P_ij and their keys, `Σ_j P_ij |i − j|`,
    `Σ_{|i − j| ≤ within} P_ij`; the sums are over keys alone, a sink is none.

    Args:
        problem: one whose normalizer is softmax.
        entropy: whether entropy and Σ P² are wanted.
        top: how many of the greatest weights, ≤ 64; falling, equal ones by key; 0 and key −1 where a row sees fewer.
        distance: whether the mean distance is wanted, in absolute positions.
        within: the distance up to which mass is counted.

    Raises: InputError for a `top` or `within` that can't be; EngineError where `native.refusal` has a reason.
    """
    _check_rows(problem, top, within)
    levels = _room(problem)

    def numbers(wanted: bool, *last: int) -> Tensor | None:
        return levels.lse.new_empty(*levels.lse.shape, *last) if wanted else None

    found = RowStatistics(
        lse=levels.lse,
        rest=levels.rest,
        entropy=numbers(entropy),
        square=numbers(entropy),
        distance=numbers(distance),
        local=numbers(within is not None),
        top_weights=numbers(top > 0, top),
        top_keys=torch.empty(*levels.lse.shape, top, dtype=torch.int64) if top else None,
    )
    outputs = {name: getattr(found, name) for name in ("entropy", "square", "distance", "local")}
    outputs |= {"top_weight": found.top_weights, "top_key": found.top_keys}
    _run(problem, found, asked(Pass.ROWS, {**outputs, "reach": within, "top": top}))
    return found


def collect(
    problem: Problem,
    measured: RowStatistics | None = None,
    *,
    received: bool = False,
    distances: bool = False,
    groups: Sequence[Grouping] = (),
    heads: Sequence[int] | None = None,
    rows: tuple[int, int] | None = None,
    columns: tuple[int, int] | None = None,
) -> Sums:
    """Sums of weights over rows, in one pass over the scores.

    `received_j = Σ_i P_ij`, `distances_d = Σ_{j − i = d} P_ij`, `sum_ab = Σ_{i ∈ a, j ∈ b} P_ij`

    Args:
        problem: softmax or sigmoid.
        measured: by `measure`, whose lse is used; None measures first, which is a pass of its own.
        received: whether what each key receives is wanted, and how many rows see it.
        distances: whether the mass at every distance is wanted.
        groups: by classes of queries and keys: `share`, `segments`, `pooled`.
        heads: which query heads; None is all.
        rows: first row and the row after the last; None is all. Only their weights are summed.
        columns: the same of keys.

    Raises: InputError for heads, rows or columns that are not there; EngineError where `native.refusal` has a reason.
    """
    chosen = _heads(problem, heads)
    first_query, end_query = _span(rows, problem.queries, "rows")
    first_key, end_key = _span(columns, problem.keys, "columns")
    rooms = [room(problem, len(chosen), wanted) for wanted in groups]
    lead, real = (problem.batch, len(chosen)), problem.accumulate
    found = Sums(
        torch.zeros(*lead, problem.keys, dtype=real) if received else None,
        torch.zeros(*lead, problem.keys, dtype=torch.int64) if received else None,
        torch.zeros(*lead, problem.queries + problem.keys - 1, dtype=real) if distances else None,
        tuple(each.found for each in rooms),
    )
    spans = {"first_query": first_query, "end_query": end_query, "first_key": first_key, "end_key": end_key}
    outputs = {name: getattr(found, name) for name in ("received", "visible", "distances")}
    fields = {"heads": chosen, "head_count": len(chosen), **spans, **outputs}
    if len(chosen) and first_query < end_query:
        request = asked(Pass.SUMS, fields, [each.packed for each in rooms])
        _run(problem, measured or _levels(problem), request)
    return found


def profile(problem: Problem, distances: Tensor) -> tuple[Tensor, Tensor]:
    """Mass by distance in logarithmic bins: keys at or before the query, and after it, `[batch, heads, bins]`.

    Bin 0 is `j = i`; bin b is `2^(b−1) ≤ |i − j| < 2^b`, in absolute positions.

    Args:
        problem: what was collected.
        distances: by `collect`.
    """
    extent = problem.extent
    zeros = np.broadcast_to(
        np.array(extent.query_start) - np.array(extent.key_start) + problem.queries - 1, problem.batch
    )
    last = distances.shape[-1] - 1
    bins = int(max(zeros.max(), (last - zeros).max(), 0)).bit_length() + 1
    before, after = (np.zeros((problem.batch, distances.shape[1], bins)) for _ in range(2))
    for batch, zero in enumerate(zeros.tolist()):
        mass = distances[batch].numpy()
        for n in range(bins):
            low, high = (1 << n) >> 1, 1 << n  # distances low … high − 1
            before[batch, :, n] = _summed(mass, zero - high + 1, zero - low + 1)
            if n:
                after[batch, :, n] = _summed(mass, zero + low, zero + high)
    return torch.from_numpy(before).to(distances.dtype), torch.from_numpy(after).to(distances.dtype)


def rows(problem: Problem, indices: Sequence[int]) -> Tensor:
    """Exact weights of a few rows, `[batch, heads, rows, keys]`, 0 where hidden.

    `P_ij = exp(s_ij − lse_i)`, lse found on the way, or `σ(s_ij)`

    Args:
        problem: softmax or sigmoid.
        indices: which rows, local, in any order.
    """
    wanted = torch.as_tensor(indices, dtype=torch.int64).reshape(-1)
    _within(wanted, problem.queries, "rows")
    chosen, place = torch.unique(wanted, return_inverse=True)
    weights = torch.zeros(problem.batch, problem.heads, len(chosen), problem.keys, dtype=problem.accumulate)
    if len(chosen):
        request = asked(Pass.WEIGHTS, {"chosen": chosen, "chosen_count": len(chosen), "weights": weights})
        _run(problem, _room(problem), request)
    return weights[:, :, place]


def entries(problem: Problem, pairs: Tensor, measured: RowStatistics | None = None) -> Tensor:
    """Single weights P_ij, `[batch, heads, pairs]`, in O(dim) each.

    Args:
        problem: softmax or sigmoid.
        pairs: `[pairs, 2]`, a local row and a local key each.
        measured: as in `collect`.
    """
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.is_floating_point():
        raise InputError(f"pairs must be integers [pairs, 2], got {list(pairs.shape)} of {pairs.dtype}")
    chosen = pairs.to(torch.int64).contiguous()
    _within(chosen[:, 0], problem.queries, "rows")
    _within(chosen[:, 1], problem.keys, "keys")
    weights = torch.empty(problem.batch, problem.heads, len(chosen), dtype=problem.accumulate)
    if len(chosen):
        request = asked(Pass.ENTRIES, {"chosen": chosen, "chosen_count": len(chosen), "weights": weights})
        _run(problem, measured or _levels(problem), request)
    return weights


def _check_rows(problem: Problem, top: int, within: int | None) -> None:
    if not isinstance(problem.rule.normalize, Softmax):
        raise EngineError(f"rows are measured by their lse, which {problem.rule.normalize!r} has not")
    if not 0 <= top <= MOST_TOP:
        raise InputError(f"top must be 0 to {MOST_TOP}, got {top}")
    if top and problem.keys >= MOST_KEYS:
        raise EngineError(f"the greatest weights are found among fewer than {MOST_KEYS:,} keys, not {problem.keys:,}")
    if within is not None and within < 0:
        raise InputError(f"within must be a distance ≥ 0, got {within}")


def _run(problem: Problem, levels: RowStatistics, request: Asked) -> None:
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


def _room(problem: Problem) -> RowStatistics:
    """Where lse and rest go, and nothing else."""
    shape = (problem.batch, problem.heads, problem.queries)
    return RowStatistics(*(torch.empty(shape, dtype=problem.accumulate) for _ in range(2)))


def _levels(problem: Problem) -> RowStatistics:
    """The lse of every row, where weights are made of it."""
    softmax = isinstance(problem.rule.normalize, Softmax)
    return measure(problem, entropy=False) if softmax else _room(problem)


def _heads(problem: Problem, heads: Sequence[int] | None) -> Tensor:
    chosen = torch.arange(problem.heads) if heads is None else torch.as_tensor(heads, dtype=torch.int64).reshape(-1)
    _within(chosen, problem.heads, "heads")
    return chosen


def _span(span: tuple[int, int] | None, length: int, name: str) -> tuple[int, int]:
    first, end = (0, length) if span is None else span
    if not 0 <= first <= end <= length:
        raise InputError(f"{name} must be a span within 0…{length}, got {first}…{end}")
    return first, end


def _within(index: Tensor, length: int, name: str) -> None:
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < length:
        raise InputError(f"{name} must be 0…{length - 1}, got {int(index.min())}…{int(index.max())}")


def _summed(mass: npt.NDArray[np.floating], first: int, end: int) -> npt.NDArray[np.float64]:
    """`[heads, distances]` → the sum over some of them, each head's in one fixed order."""
    total: npt.NDArray[np.float64] = mass[:, max(first, 0) : max(end, 0)].sum(-1, dtype=np.float64)
    return total
