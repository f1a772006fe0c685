"""The two passes of a ring: keys and values come round while the last ones are attended to.

At step s rank r has what it needs of the keys of rank r − s, and asks for those of rank r − s − 1. Each goes from its
owner to who needs it, directly; what a pattern empties is neither sent nor computed. Parts merge by their log-sum-exp.
The backward pass lets keys and values come round again, and sends their gradients home.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from regard.engines.ring.exchange import Exchange, Held, Pending, joined, packed, unpacked
from regard.engines.ring.needs import Needs
from regard.engines.ring.shard import Shard
from regard.engines.ring.sharding import Run
from regard.parts import Partial, merge
from regard.problem import Problem
from regard.terms.normalize import NOTHING, Softmax

__all__ = ["Home", "Inner", "Round", "backward", "forward"]

Grads = Sequence[Tensor | None]


class Inner(Protocol):
    """The engine that computes the parts."""

    def forward(self, problem: Problem) -> Partial:
        """The part."""

    def backward(self, problem: Problem, whole: Partial, upstream: Grads) -> Grads:
        """The gradients of `problem.tensors`.

        Args:
            problem: a part; its tensors that want a gradient are followed by autograd.
            whole: of all parts, for the part's queries.
            upstream: gradients of the whole's values and, where there is one, of its lse.
        """


@dataclass(frozen=True)
class Round:
    """One rank's part in one attention.

    Args:
        shard: what the rank brings.
        needs: what it needs of the others.
        asked: by rank, which of its own keys it needs of this one.
        exchange: between the ranks.
        inner: computes the parts.
        groups: steps whose keys come together, in order, every step once; the same on every rank.
    """

    shard: Shard
    needs: Needs
    asked: tuple[tuple[Run, ...], ...]
    exchange: Exchange
    inner: Inner
    groups: tuple[tuple[int, ...], ...]

    def before(self, step: int) -> int:
        """The rank whose keys are here at a step."""
        return (self.exchange.rank - step) % self.exchange.size

    def after(self, step: int) -> int:
        """The rank that has this one's keys at a step."""
        return (self.exchange.rank + step) % self.exchange.size

    def stages(self) -> Iterator[tuple[tuple[int, ...], Held]]:
        """Steps and the keys that they bring; the next ones are on their way before the last are given."""
        coming = self._asked_for(self.groups[0])
        for number, group in enumerate(self.groups):
            held = joined([self._arrived(step, pending) for step, pending in zip(group, coming, strict=True)])
            coming = self._asked_for(self.groups[number + 1]) if number + 1 < len(self.groups) else []
            yield group, held

    def _asked_for(self, group: tuple[int, ...]) -> list[Pending | None]:
        return [self._fetched(step) if step else None for step in group]

    def _fetched(self, step: int) -> Pending:
        to, source = self.after(step), self.before(step)
        message = packed(self.shard.own(self.asked[to]), self.shard.key.dtype)
        return self.exchange.swap(to, message, source, self.shard.count(self.needs.travel[source]))

    def _arrived(self, step: int, pending: Pending | None) -> Held:
        runs = self.needs.travel[self.before(step)]
        if pending is None:
            return self.shard.own(runs)
        return unpacked(pending.wait(), runs, self.shard.key, self.shard.value)

    def returned(self, step: int, grads: Held) -> Pending:
        """Send the gradients of a step's keys to whose they are; those of this rank's keys come in the same way."""
        to, source = self.before(step), self.after(step)
        message = packed(grads.of(self.needs.travel[to]), self.shard.key.dtype)
        return self.exchange.swap(to, message, source, self.shard.count(self.asked[source]))


class Home:
    """Sums over a step's keys, on their way to whose the keys are, while the next step is computed.

    Args:
        round: whose shard has the shapes of these sums.
        mine: the sums over this rank's own keys, to which all others are added.
    """

    def __init__(self, round: Round, mine: Held) -> None:
        self._round, self._mine = round, mine
        self._coming: list[tuple[int, Pending]] = []

    def send(self, steps: Sequence[int], sums: Held) -> None:
        """What a stage found goes home; what the last one sent here is added up."""
        self.arrive()
        self._coming = [(step, self._round.returned(step, sums)) for step in steps if step]
        if 0 in steps:
            self._kept(sums.of(self._round.needs.travel[self._round.shard.rank]))

    def arrive(self) -> None:
        """Wait for what is under way, and add it up."""
        shard = self._round.shard
        for step, pending in self._coming:
            runs = self._round.asked[self._round.after(step)]
            self._kept(unpacked(pending.wait(), runs, shard.key, shard.value))
        self._coming = []

    def _kept(self, sums: Held) -> None:
        for run, key, value in zip(sums.runs, sums.keys, sums.values, strict=True):
            self._mine.add(run, key, value)


def forward(round: Round) -> Partial:
    """Values and lse of all keys for the rank's own queries, `[batch, heads, local queries, ·]`."""
    shard = round.shard
    totals = [_nothing(shard.frame(None), end - first) for first, end in shard.queries]
    for steps, held in round.stages():
        owners = [round.before(step) for step in steps]
        for run in range(len(shard.queries)):
            for keys in round.needs.of(run, owners):
                totals[run] = merge(totals[run], round.inner.forward(shard.part(run, keys, held)))
    whole = _nothing(shard.frame(None), 0)
    return _rows_joined([whole, *totals])


def backward(round: Round, whole: Partial, upstream: Grads) -> list[Tensor | None]:
    """The gradients of the shard's tensors, in their dtypes; those of the rule's are this rank's queries' share.

    Args:
        round: as in `forward`.
        whole: what `forward` gave.
        upstream: gradients of its values and, where there is one, of its lse.
    """
    shard = round.shard.detached()
    wide = whole.values.dtype
    mine = shard.own(shard.keys.runs[shard.rank]).zeros(wide)
    sums = [torch.zeros(t.shape, dtype=wide, device=t.device) if t.requires_grad else None for t in shard.tensors]
    home = Home(round, mine)
    for steps, held in round.stages():
        grads = held.zeros(wide)
        owners = [round.before(step) for step in steps]
        for run in range(len(shard.queries)):
            for keys in round.needs.of(run, owners):
                _add_part(round, shard, (run, keys), held, (whole, upstream), (sums, grads))
        home.send(steps, grads)
    home.arrive()
    _in_rows(sums, mine)
    return [None if total is None else total.to(t.dtype) for total, t in zip(sums, shard.tensors, strict=True)]


def _add_part(
    round: Round,
    shard: Shard,
    place: tuple[int, Run],
    held: Held,
    known: tuple[Partial, Grads],
    sums: tuple[list[Tensor | None], Held],
) -> None:
    """Add the gradients of one part to the sums."""
    (run, keys), (whole, upstream), (totals, grads) = place, known, sums
    rows = shard.rows(run)
    key, value = (t.detach().requires_grad_(own.requires_grad) for t, own in zip(
        held.at(keys), (shard.key, shard.value), strict=True
    ))  # fmt: skip
    with torch.enable_grad():
        problem = shard.part(run, keys, Held((keys,), (key,), (value,)))
        found = round.inner.backward(problem, _rows_of(whole, rows), [_at(grad, rows) for grad in upstream])
        inputs = [shard.query, key, value, *shard.rule.leaves()]
        query_grad, key_grad, value_grad, *rest = _pulled(problem.tensors, inputs, found)
    grads.add(keys, key_grad, value_grad)
    if query_grad is not None and totals[0] is not None:
        totals[0] += query_grad
    for total, grad in zip(totals[3:], rest, strict=True):
        if total is not None and grad is not None:
            total += grad


def _pulled(results: Sequence[Tensor], inputs: Sequence[Tensor], grads: Grads) -> list[Tensor | None]:
    """From gradients of a part's tensors to those of what they were made of."""
    given = [(r, g.to(r.dtype)) for r, g in zip(results, grads, strict=True) if g is not None and r.requires_grad]
    wanted = [n for n, tensor in enumerate(inputs) if tensor.requires_grad]
    found: list[Tensor | None] = [None] * len(inputs)
    if not given or not wanted:
        return found
    pulled = torch.autograd.grad(
        [r for r, _ in given], [inputs[n] for n in wanted], [g for _, g in given], allow_unused=True
    )
    for n, grad in zip(wanted, pulled, strict=True):
        found[n] = grad
    return found


def _in_rows(sums: list[Tensor | None], mine: Held) -> None:
    """The gradients of the rank's own keys and values, run by run, in the order of its rows."""
    for place, parts in ((1, mine.keys), (2, mine.values)):
        if sums[place] is not None and parts:
            sums[place] = torch.cat(parts, -2)


def _nothing(frame: Problem, rows: int) -> Partial:
    """A part of no keys: values 0, lse −∞."""
    shape = (frame.batch, frame.heads, rows)
    values = frame.query.new_zeros((*shape, frame.value.shape[-1]), dtype=frame.accumulate)
    softmax = isinstance(frame.rule.normalize, Softmax)
    lse = values.new_full(shape, NOTHING) if softmax else None
    return Partial(values, lse, None, frame.query.dtype, repr(frame.said))


def _rows_joined(parts: Sequence[Partial]) -> Partial:
    first = parts[0]
    sums = [part.log_sum for part in parts if part.log_sum is not None]
    return first.with_children(
        {"values": torch.cat([part.values for part in parts], -2)} | ({"log_sum": torch.cat(sums, -1)} if sums else {})
    )


def _rows_of(whole: Partial, rows: slice) -> Partial:
    """The part of some rows; children that are not there stay away."""
    cut = {"values": whole.values[..., rows, :]}
    return whole.with_children(cut | ({} if whole.log_sum is None else {"log_sum": whole.log_sum[..., rows]}))


def _at(grad: Tensor | None, rows: slice) -> Tensor | None:
    if grad is None:
        return None
    return grad[..., rows, :] if grad.ndim == 4 else grad[..., rows]
