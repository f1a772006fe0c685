"""One layer of a model as it was seen, by what was kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from regard.attention import weights
from regard.errors import InputError
from regard.looking import asking
from regard.looking.measured import SCORES, Measured, Posed, measure
from regard.looking.results import Distance, HeadScores, Top
from regard.looking.seen import Look
from regard.looking.source import Source, by_kernels
from regard.problem import pose

__all__ = ["Layer", "Run", "Where", "continued"]


@dataclass(frozen=True)
class Where:
    """Which attention of a model this is.

    Args:
        layer: its number, in the order in which the model runs them.
        name: of its module.
        kind: "self", or "cross" where queries and keys are of two sequences.
        stack: the part of the model that it belongs to, such as "encoder".
        heads: which heads were looked at.
    """

    layer: int
    name: str
    kind: str
    stack: str
    heads: tuple[int, ...]

    def __str__(self) -> str:
        return f"layer {self.layer} ({self.name})"

    @property
    def told(self) -> dict[str, Any]:
        """In JSON's words."""
        return asdict(self)

    @staticmethod
    def of(told: Mapping[str, Any]) -> Where:
        """From JSON's words."""
        heads = tuple(int(head) for head in told["heads"])
        return Where(int(told["layer"]), str(told["name"]), str(told["kind"]), str(told["stack"]), heads)


class Layer:
    """The weights of one layer: `[batch, heads, queries, …]`, the rows of prefill and of decoded tokens joined.

    Made by `watch`. What its methods give, and in which shapes, is as in `Look`; heads are those that were asked for.

    Args:
        where: which layer.
        measured: its statistics, where they were taken while the model ran.
        calls: its queries and keys, where they were kept.
        top: how many of the greatest weights of a row are kept.
        within: up to which distance mass is local.
    """

    def __init__(
        self,
        where: Where,
        measured: Measured | None = None,
        calls: Sequence[Posed] = (),
        top: int = 8,
        within: int = 8,
    ) -> None:
        self.where, self.calls, self.top_kept, self.within = where, tuple(calls), top, within
        if measured is not None:
            self.measured = measured

    def __repr__(self) -> str:
        kept = "queries" if self.calls else "statistics"
        return (
            f"Layer({self.where.layer}, {self.where.name!r}, {self.where.kind}, {len(self.where.heads)} heads, {kept})"
        )

    def joined(self, measured: Measured | None = None, call: Posed | None = None) -> Layer:
        """This layer and another call of it, which goes on where the last one ended."""
        calls = self.calls if call is None else (*_under(self.calls, call), call)
        whole = None if measured is None else self.measured + measured
        return Layer(self.where, whole, calls, self.top_kept, self.within)

    @cached_property
    def measured(self) -> Measured:
        """All that is kept, or made now of the queries that are."""
        with torch.no_grad():
            return reduce(add, [measure(call, self.top_kept, self.within) for call in self.calls])

    # ------------------------------------------------------------------------------------------------- by rows

    @property
    def live(self) -> Tensor:
        """Which rows count in means, `[batch, heads, queries]`: those that see a key and are not of padding."""
        return self.measured.by_row("live")

    @property
    def lse(self) -> Tensor:
        """`log(exp(sink) + Σ_j exp(s_ij))`; InputError where the normalizer has none."""
        if any(part.lse is None for part in self.measured.parts):
            raise InputError(f"{self.where} has no log-sum-exp: only softmax divides by a sum of exponentials")
        return self.measured.by_row("lse")

    def mass(self) -> Tensor:
        """`Σ_j w_ij`: 1 less the share of a learned sink."""
        return self.measured.by_row("mass")

    def entropy(self) -> Tensor:
        """`−Σ_j w_ij log w_ij`, in nats."""
        return self.measured.by_row("entropy")

    def effective_keys(self) -> Tensor:
        """`(Σ_j w_ij)² / Σ_j w_ij²`."""
        return self.measured.by_row("effective")

    def maximum(self) -> Tensor:
        """`max_j w_ij`."""
        return self.measured.by_row("weights")[..., 0]

    def top(self, k: int = 8) -> Top:
        """The k greatest weights of each row, their keys, and the mass on all other keys; k up to what was kept."""
        greatest, keys = self.measured.by_row("weights"), self.measured.by_row("keys")
        if isinstance(k, int) and k > greatest.shape[-1]:
            raise InputError(
                f"{self.where} kept the {greatest.shape[-1]} greatest weights of a row, not {k}; "
                f"ask for them before the model runs: watch(model, top={k})"
            )
        asking.count("k", k, greatest.shape[-1])
        rest = self.measured.by_row("uncovered") + greatest[..., k:].sum(-1)
        return Top(greatest[..., :k], keys[..., :k], rest)

    # ---------------------------------------------------------------------------------------------- over rows

    def received(self, per_query: bool = False) -> Tensor:
        """`Σ_i w_ij`, `[batch, heads, keys]`; or over the number of rows that see the key."""
        sums = self.measured.sums
        return sums.received / sums.visible.clamp(min=1) if per_query else sums.received

    def distance(self) -> Distance:
        """Mass by distance in logarithmic bins, and the mean distance of each row."""
        self._of_one_sequence("no distance")
        return Distance(self.measured.sums.before, self.measured.sums.after, self.measured.by_row("distance"))

    def head_scores(self) -> HeadScores:
        """What each head does, `[batch, heads]`; duplicate and induction where the model was given token ids.

        A mean over real tokens: other than in `Look`, padding doesn't count as a query.
        """
        self._of_one_sequence("no previous, next or same key")
        sums = self.measured.sums
        means = (sums.scores / sums.counted.clamp(min=1)).unbind(-1)
        found: dict[str, Tensor | None] = dict.fromkeys(SCORES)
        found.update(zip(SCORES, means, strict=False))
        return HeadScores(**found)  # type: ignore[arg-type]

    # ----------------------------------------------------------------------------------- what needs the queries

    @property
    def looks(self) -> list[Look]:
        """A `Look` for each call, prefill first: all that can be asked of weights. Needs `keep="queries"`."""
        return [look_at(call, self.top_kept, self.within) for call in self.posed]

    def rows(self, indices: Tensor | Sequence[int] | int) -> Tensor:
        """The weights of some rows as they are, `[batch, heads, rows, keys]`. Needs `keep="queries"`."""
        calls = self.posed
        index = asking.indices("rows", indices, sum(call.query.shape[2] for call in calls))
        first = min(call.key_start for call in calls)
        keys = max(call.key_start + call.key.shape[2] for call in calls) - first
        query = calls[0].query
        made = query.new_zeros(*query.shape[:2], len(index), keys, dtype=torch.promote_types(query.dtype, torch.float))
        begin = 0
        for call, look in zip(calls, self.looks, strict=True):
            mine = (index >= begin) & (index < begin + call.query.shape[2])
            if mine.any():
                left = call.key_start - first
                made[:, :, mine, left : left + call.key.shape[2]] = look.rows(index[mine] - begin)
            begin += call.query.shape[2]
        return made

    @property
    def posed(self) -> tuple[Posed, ...]:
        """The calls whose queries were kept."""
        if not self.calls:
            raise InputError(
                f'the queries of {self.where} were not kept, only statistics; watch(model, keep="queries") keeps them'
            )
        return self.calls

    def _of_one_sequence(self, what: str) -> None:
        if self.where.kind == "cross":
            raise InputError(
                f"{self.where} is cross-attention: queries and keys are of two sequences, so it has {what}"
            )


@dataclass
class Run:
    """One reading of a sequence: a forward, or prefill and the tokens decoded after it.

    Args:
        layers: by number.
        stopped: the error that ended it early, in a few words.
    """

    layers: dict[int, Layer] = field(default_factory=dict)
    stopped: str | None = None


def look_at(call: Posed, top: int, within: int) -> Look:
    """The weights of one call to look at."""
    start, first = call.query_start, call.key_start
    problem = pose(call.query, call.key, call.key, call.rule, query_start=start, key_start=first)
    rows = partial(weights, call.query, call.key, call.rule, query_start=start, key_start=first)
    return Look(Source(problem, rows, by_kernels(problem, None, differentiable=False), False, top, within))


def continued(before: Posed, after: Posed) -> bool:
    """Whether the keys of one call are still there in the next: not where entries of a cache changed places."""
    if before.key.data_ptr() == after.key.data_ptr():
        return True
    first, end = max(before.key_start, after.key_start), before.key_start + before.key.shape[2]
    if before.key.shape[2] == after.key.shape[2] and before.key_start == after.key_start:
        # A static cache is as long from the start; what is not written yet no query sees.
        end = min(end, before.query_start + before.query.shape[2])
    old, new = (call.key[:, :, first - call.key_start : end - call.key_start] for call in (before, after))
    return torch.equal(old, new)


def _under(calls: Sequence[Posed], last: Posed) -> list[Posed]:
    """Earlier calls with their keys as views of the last one's, where that holds the same: N keys, not N a token."""
    before = calls[-1]
    shorter = before.key_start == last.key_start and before.key.shape[2] <= last.key.shape[2]
    if not (shorter and continued(before, last)):
        return list(calls)
    at = before.key.data_ptr()
    return [
        replace(call, key=last.key[:, :, : call.key.shape[2]]) if call.key.data_ptr() == at else call for call in calls
    ]
