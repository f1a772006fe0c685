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

from regard.engines.native.grouping import Grouped, Grouping, room
from regard.engines.native.levels import RowStatistics, empty, inside, run
from regard.engines.native.request import Pass, asked
from regard.errors import EngineError, InputError
from regard.problem import Problem
from regard.terms.normalize import Softmax

__all__ = ["MOST_TOP", "Sums", "collect", "levels_of", "measure", "profile", "survey"]

MOST_TOP = 64
MOST_KEYS = 1 << 31

Fields = dict[str, Tensor | int | None]


@dataclass(frozen=True)
class _Span:
    """Which heads, rows and keys a pass is over."""

    heads: Tensor
    rows: tuple[int, int]
    keys: tuple[int, int]

    @classmethod
    def of(
        cls,
        problem: Problem,
        heads: Sequence[int] | None,
        rows: tuple[int, int] | None,
        columns: tuple[int, int] | None,
    ) -> _Span:
        """From what a caller says, checked; None is all."""
        chosen = torch.arange(problem.heads) if heads is None else torch.as_tensor(heads, dtype=torch.int64).reshape(-1)
        inside(chosen, problem.heads, "heads")
        return cls(chosen, _span(rows, problem.queries, "rows"), _span(columns, problem.keys, "columns"))

    @property
    def fields(self) -> Fields:
        """As fields of the request."""
        rows, keys = (("first_query", "end_query"), self.rows), (("first_key", "end_key"), self.keys)
        spans = {name: number for names, span in (rows, keys) for name, number in zip(names, span, strict=True)}
        return {"heads": self.heads, "head_count": len(self.heads), **spans}


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
    found, fields = _row_room(problem, empty(problem), entropy=entropy, top=top, distance=distance, within=within)
    run(problem, found, asked(Pass.ROWS, fields))
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
    span = _Span.of(problem, heads, rows, columns)
    rooms = [room(problem, len(span.heads), wanted) for wanted in groups]
    found = _sum_room(problem, len(span.heads), received, distances, [each.found for each in rooms])
    if len(span.heads) and span.rows[0] < span.rows[1]:
        request = asked(Pass.SUMS, span.fields | _sum_fields(found), [each.packed for each in rooms])
        run(problem, measured or levels_of(problem), request)
    return found


def survey(problem: Problem, levels: RowStatistics, *, top: int = 0, within: int = 0) -> tuple[RowStatistics, Sums]:
    """What every row says by itself, what keys receive and from how far, in one pass, where lse is known already.

    What `measure` and `collect` find in two.

    Args:
        problem: one whose normalizer is softmax.
        levels: lse and rest of every row, a sink's share in them; the forward pass leaves them.
        top: as in `measure`.
        within: as in `measure`.
    """
    found, fields = _row_room(problem, levels, entropy=True, top=top, distance=True, within=within)
    sums = _sum_room(problem, problem.heads, True, True, ())
    fields |= _Span.of(problem, None, None, None).fields | _sum_fields(sums)
    run(problem, levels, asked(Pass.SUMS, fields))
    return found, sums


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


def _row_room(
    problem: Problem, levels: RowStatistics, *, entropy: bool, top: int, distance: bool, within: int | None
) -> tuple[RowStatistics, Fields]:
    """Where what rows say goes, and the same as fields of the request."""
    _check_rows(problem, top, within)

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
    fields: Fields = {name: getattr(found, name) for name in ("entropy", "square", "distance", "local")}
    return found, fields | {"top_weight": found.top_weights, "top_key": found.top_keys, "reach": within, "top": top}


def _sum_room(problem: Problem, heads: int, received: bool, distances: bool, groups: Sequence[Grouped]) -> Sums:
    """Where sums over rows go, zeros."""
    lead, real = (problem.batch, heads), problem.accumulate
    return Sums(
        torch.zeros(*lead, problem.keys, dtype=real) if received else None,
        torch.zeros(*lead, problem.keys, dtype=torch.int64) if received else None,
        torch.zeros(*lead, problem.queries + problem.keys - 1, dtype=real) if distances else None,
        tuple(groups),
    )


def _sum_fields(found: Sums) -> Fields:
    return {name: getattr(found, name) for name in ("received", "visible", "distances")}


def _check_rows(problem: Problem, top: int, within: int | None) -> None:
    if not isinstance(problem.rule.normalize, Softmax):
        raise EngineError(f"rows are measured by their lse, which {problem.rule.normalize!r} has not")
    if not 0 <= top <= MOST_TOP:
        raise InputError(f"top must be 0 to {MOST_TOP}, got {top}")
    if top and problem.keys >= MOST_KEYS:
        raise EngineError(f"the greatest weights are found among fewer than {MOST_KEYS:,} keys, not {problem.keys:,}")
    if within is not None and within < 0:
        raise InputError(f"within must be a distance ≥ 0, got {within}")


def levels_of(problem: Problem) -> RowStatistics:
    """The lse of every row, where weights are made of it."""
    softmax = isinstance(problem.rule.normalize, Softmax)
    return measure(problem, entropy=False) if softmax else empty(problem)


def _span(span: tuple[int, int] | None, length: int, name: str) -> tuple[int, int]:
    first, end = (0, length) if span is None else span
    if not 0 <= first <= end <= length:
        raise InputError(f"{name} must be a span within 0…{length}, got {first}…{end}")
    return first, end


def _summed(mass: npt.NDArray[np.floating], first: int, end: int) -> npt.NDArray[np.float64]:
    """`[heads, distances]` → the sum over some of them, each head's in one fixed order."""
    total: npt.NDArray[np.float64] = mass[:, max(first, 0) : max(end, 0)].sum(-1, dtype=np.float64)
    return total
