"""One batch entry of a problem, as far as the kernels read it."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from regard.engines.native.statistics import RowStatistics
from regard.problem import Problem
from regard.terms.pattern import Lists
from regard.terms.tree import Role, aligned

__all__ = ["alone"]


def alone(problem: Problem, measured: RowStatistics | None, entry: int) -> tuple[Problem, RowStatistics | None]:
    """The problem of one batch entry, and what was measured of it.

    What was said of the pattern stays as it is: the kernels read its ranges.
    """
    here = slice(entry, entry + 1)

    def own(leaf: Tensor, roles: tuple[Role, ...]) -> Tensor:
        for axis, role in enumerate(aligned(roles, leaf.ndim)):
            if role == "batch" and leaf.shape[axis] > 1:
                leaf = leaf.narrow(axis, entry, 1)
        return leaf

    extent = problem.extent
    query_start, key_start = (
        starts[here] if len(starts) > 1 else starts for starts in (extent.query_start, extent.key_start)
    )
    ranges = problem.ranges
    if ranges is not None and ranges.index.shape[0] > 1:
        ranges = Lists(ranges.forms, ranges.index[here])
    one = replace(
        problem,
        query=problem.query[here],
        key=problem.key[here],
        value=problem.value[here],
        rule=problem.rule.map(own),
        ranges=ranges,
        extent=replace(extent, batch=(1,), query_start=query_start, key_start=key_start),
        lead=(1,),
    )
    levels = None if measured is None else RowStatistics(measured.lse[here], measured.rest[here])
    return one, levels
