"""What the passes found, kept, so that nothing is computed twice."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from regard.engines.native.grouping import Grouped, Grouping
from regard.looking import passes
from regard.looking.passes import Rows, Sums
from regard.looking.source import Source
from regard.terms.normalize import Softmax

__all__ = ["Kept"]

Spans = tuple[tuple[int, int], tuple[int, int]]


class Kept:
    """The results of the passes over the weights of a source, each made when it is first asked for."""

    def __init__(self, source: Source) -> None:
        self._source, self._problem = source, source.problem
        self._rows: Rows | None = None
        self._sums: Sums | None = None
        self._groups: dict[tuple[object, ...], Grouped] = {}

    def rows(self, top: int = 1) -> Rows:
        """The pass over rows, made again only where more of the greatest weights are asked for."""
        if self._rows is None or self._rows.top.weights.shape[-1] < top:
            most = max(top, min(self._source.top, max(1, self._problem.keys)))
            with torch.set_grad_enabled(self._source.differentiable):
                self._rows = passes.rows(self._problem, self._source.kernels, most, self._source.within)
        return self._rows

    def levels(self) -> Rows | None:
        """What the second pass of the kernels needs from the first."""
        softmax = isinstance(self._problem.rule.normalize, Softmax)
        return self.rows() if self._source.kernels and softmax else None

    def sums(self) -> Sums:
        """What is received, and the profile of distances."""
        if self._sums is None:
            self.collect([])
        assert self._sums is not None
        return self._sums

    def group(self, wanted: Grouping, spans: Spans | None = None) -> Grouped:
        """What a grouping found; outside of the spans of rows and columns it has no class."""
        name = _named(wanted)
        if name not in self._groups:
            self._groups[name] = self._pass([wanted], False, spans).groups[0]
        return self._groups[name]

    def collect(self, groups: Sequence[Grouping]) -> None:
        """One pass for these groupings and `sums`, as far as they are not there yet."""
        missing = {_named(one): one for one in groups if _named(one) not in self._groups}
        if missing or self._sums is None:
            found = self._pass(list(missing.values()), self._sums is None)
            self._sums = self._sums or found
            self._groups |= dict(zip(missing, found.groups, strict=True))

    def fresh(self, wanted: Grouping, spans: Spans, heads: Sequence[int] | None) -> Grouped:
        """The same for some heads, None for all; not kept."""
        return self._pass([wanted], False, spans, heads).groups[0]

    def _pass(
        self,
        groups: Sequence[Grouping],
        over_rows: bool,
        spans: Spans | None = None,
        heads: Sequence[int] | None = None,
    ) -> Sums:
        with torch.set_grad_enabled(self._source.differentiable):
            return passes.sums(
                self._problem,
                self._source.kernels,
                self.levels(),
                groups,
                over_rows=over_rows,
                spans=spans or (None, None),
                heads=heads,
            )


def _named(wanted: Grouping) -> tuple[object, ...]:
    """What tells one grouping from another: its numbers."""
    ids = [None if t is None else (tuple(t.shape), t.long().numpy().tobytes()) for t in (wanted.keys, wanted.queries)]
    return (*ids, wanted.key_classes, wanted.query_classes, wanted.greatest)
