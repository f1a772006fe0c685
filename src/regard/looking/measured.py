"""What is kept of the weights of one attention: numbers by row, by key and by head, that join and add up."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from regard.looking import asking, heads, passes
from regard.looking.source import by_kernels
from regard.problem import Problem, pose
from regard.rule import Rule

__all__ = ["SCORES", "SUMS", "ByRow", "Measured", "Posed", "Summed", "measure"]

SCORES = ("previous", "next", "same", "sink", "local", "duplicate", "induction")
"""The order of `Summed.scores`; the last two only where tokens were known."""


@dataclass(frozen=True)
class Posed:
    """One call of an attention: query `[batch, heads, queries, dim]`, key `[batch, kv_heads, keys, dim]`, the rule.

    Args:
        query: the queries.
        key: the keys.
        rule: the rule.
        query_start: absolute position of the first query.
        key_start: absolute position of the first key.
        tokens: of all positions up to the last key, `[batch, key_start + keys]`, where they are known.
        alike: whether queries and keys are of one sequence.
        lse: of every row, without a sink, `[batch, heads, queries]`, where the forward pass has left it.
    """

    query: Tensor
    key: Tensor
    rule: Rule
    query_start: int
    key_start: int
    tokens: Tensor | None
    alike: bool
    lse: Tensor | None = None


@dataclass(frozen=True)
class ByRow:
    """What rows say by themselves, `[batch, heads, queries]`, as in `Look`.

    Args:
        lse: `log Σ_j exp(s_ij)`, the sink in it; None where there is none.
        mass: `Σ_j w_ij`.
        entropy: in nats.
        effective: effective keys.
        distance: the mean distance.
        weights: the greatest, `[batch, heads, queries, top]`.
        keys: their absolute positions; −1 for none.
        uncovered: mass on all other keys.
        live: whether the row counts in means: it sees a key, and its own token is no padding.
    """

    lse: Tensor | None
    mass: Tensor
    entropy: Tensor
    effective: Tensor
    distance: Tensor
    weights: Tensor
    keys: Tensor
    uncovered: Tensor
    live: Tensor


@dataclass(frozen=True)
class Summed:
    """What is added up over rows.

    Args:
        received: `Σ_i w_ij`, `[batch, heads, keys]`.
        visible: how many rows see the key, the same shape.
        before: mass by distance, `[batch, heads, bins]`, as in `Distance`.
        after: the same.
        scores: the sums that `HeadScores` are means of, `[batch, heads, 5 or 7]`, in the order of `SCORES`.
        counted: over how many rows, the same shape.
        key_start: absolute position of the first key.
    """

    received: Tensor
    visible: Tensor
    before: Tensor
    after: Tensor
    scores: Tensor
    counted: Tensor
    key_start: int

    def __add__(self, other: Summed) -> Summed:
        """The sums over the rows of both, whose keys lie on one line of positions."""
        first = min(self.key_start, other.key_start)
        end = max(one.key_start + one.received.shape[-1] for one in (self, other))
        bins = max(self.before.shape[-1], other.before.shape[-1])
        known = min(self.scores.shape[-1], other.scores.shape[-1])

        def along(one: Summed, name: str) -> Tensor:
            numbers: Tensor = getattr(one, name)
            if name in ("before", "after"):
                return functional.pad(numbers, (0, bins - numbers.shape[-1]))
            if name in ("received", "visible"):
                left = one.key_start - first
                return functional.pad(numbers, (left, end - first - left - numbers.shape[-1]))
            return numbers[..., :known]

        return Summed(**{name: along(self, name) + along(other, name) for name in SUMS}, key_start=first)


SUMS = tuple(field.name for field in fields(Summed) if field.name != "key_start")
"""The tensors of `Summed`."""


@dataclass(frozen=True)
class Measured:
    """The rows of one or several calls, one after another, and their sums."""

    parts: tuple[ByRow, ...]
    sums: Summed

    def __add__(self, other: Measured) -> Measured:
        return Measured((*self.parts, *other.parts), self.sums + other.sums)

    def by_row(self, name: str) -> Tensor:
        """A field of `ByRow`, the rows of all calls; keys are counted from the first that any row could see."""
        numbers = torch.cat([getattr(part, name) for part in self.parts], 2)
        return torch.where(numbers < 0, -1, numbers - self.sums.key_start) if name == "keys" else numbers

    @property
    def rows(self) -> int:
        """How many rows there are, all calls together."""
        return sum(part.mass.shape[2] for part in self.parts)


def measure(call: Posed, top: int = 8, within: int = 8) -> Measured:
    """All statistics of the weights of one call: a pass or two over its scores, and single weights; O(N) memory.

    Args:
        call: tensors and rule.
        top: how many of the greatest weights of each row.
        within: up to which distance mass is local.
    """
    start, first = call.query_start, call.key_start
    problem = pose(call.query, call.key, call.key, call.rule, query_start=start, key_start=first)
    kernels = by_kernels(problem, None, differentiable=False)
    rows, sums = passes.both(problem, kernels, call.lse, max(1, min(top, problem.keys)), within)
    short = (0, top - rows.top.keys.shape[-1])
    assert sums.received is not None
    assert sums.visible is not None
    assert sums.before is not None
    assert sums.after is not None
    live = _live(problem, rows, sums.visible, call.alike)
    keys = functional.pad(torch.where(rows.top.keys < 0, -1, rows.top.keys + first), short, value=-1)
    greatest, rest = functional.pad(rows.top.weights, short), rows.top.uncovered
    lines = ByRow(rows.lse, rows.mass, rows.entropy, rows.effective, rows.distance, greatest, keys, rest, live)
    scores, counted = _scores(problem, kernels, rows, live, call.tokens)
    return Measured((lines,), Summed(sums.received, sums.visible, sums.before, sums.after, scores, counted, first))


def _live(problem: Problem, rows: passes.Rows, visible: Tensor, alike: bool) -> Tensor:
    """Rows that see a key, less those of padding: of tokens that no row sees as a key."""
    sees = rows.top.keys[..., 0] >= 0
    if not (alike and problem.keys):
        return sees
    own = asking.local_keys(problem).to(visible.device)
    there = (own >= 0) & (own < problem.keys)
    shown = visible.gather(-1, own.clamp(0, problem.keys - 1)[:, None].expand(sees.shape)) > 0
    return sees & (shown | ~there[:, None])


def _scores(
    problem: Problem, kernels: bool, rows: passes.Rows, live: Tensor, tokens: Tensor | None
) -> tuple[Tensor, Tensor]:
    first = problem.extent.key_start[0]
    ids = None if tokens is None else asking.ids_of(problem, "tokens", tokens, first + problem.keys)

    def totals(targets: Tensor) -> tuple[Tensor, Tensor]:
        # A key that a sliding cache has forgotten has no weight, as one outside of a window has none.
        keys = torch.where(targets < first, -1, targets - first)
        return heads.totals(passes.given(problem, kernels, rows, keys), targets, live)

    parts = [totals(heads.targets(problem, 0, None, first))]  # the same keys in all batch entries
    parts.append(((rows.local * live).sum(-1, keepdim=True), live.sum(-1, keepdim=True)))
    if ids is not None:
        parts.append(totals(heads.targets(problem, 0, ids, first)[..., 4:]))
    sums, counts = zip(*parts, strict=True)
    return torch.cat(sums, -1), torch.cat(counts, -1)
