"""The weights of an attention over several ranks, looked at: statistics of rows joined, sums over rows reduced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import torch
from torch import Tensor

from regard.distributed.agreement import digest
from regard.distributed.asked import Asked
from regard.distributed.attending import ringed
from regard.distributed.calls import Call, begin
from regard.distributed.levels import Levels, measured, with_sink
from regard.distributed.peers import Group, Messages, Peers
from regard.distributed.setup import Setup
from regard.distributed.weighed import Weighed, weighed
from regard.errors import EngineError, InputError
from regard.looking.results import Distance, HeadScores
from regard.rule import Rule
from regard.terms.normalize import NOTHING, Softmax
from regard.terms.tree import Term

__all__ = ["Look", "look"]

ELSEWHERE = ("top", "segments", "tile", "pyramid", "rows", "needle", "collect")


@dataclass(frozen=True)
class Look:
    """What the weights of all ranks say of this rank's rows and keys; as `regard.Look`, of a softmax.

    Args:
        call: the attention.
        levels: what rows say by themselves.
        sums: what was added up over rows, or None where the kernels can't look.
        refused: why not.
    """

    call: Call
    levels: Levels
    sums: Weighed | None
    refused: str

    @property
    def lse(self) -> Tensor:
        """`log(exp(sink) + Σ_j exp(s_ij))`, `[..., heads, local queries]`; −∞ in a row that sees no key."""
        return self._shaped(self.levels.full)

    def mass(self) -> Tensor:
        """`Σ_j w_ij`: 1 less the share of a sink, `[..., heads, local queries]`."""
        return self._shaped(self.levels.mass)

    def entropy(self) -> Tensor:
        """`−Σ_j w_ij log w_ij`, `[..., heads, local queries]`."""
        return self._shaped(self.levels.entropy)

    def effective_keys(self) -> Tensor:
        """`(Σ_j w_ij)² / Σ_j w_ij²`, `[..., heads, local queries]`."""
        square = self.levels.square
        return self._shaped(torch.where(square == 0, 0, 1 / square))

    def maximum(self) -> Tensor:
        """`max_j w_ij`, `[..., heads, local queries]`."""
        return self._shaped(self.levels.maximum)

    def received(self, per_query: bool = False) -> Tensor:
        """`Σ_i w_ij` over the queries of all ranks, `[..., heads, local keys]`.

        Args:
            per_query: over the number of rows that see the key.
        """
        sums = self._sums()
        return self._shaped(sums.received / sums.visible.clamp(min=1) if per_query else sums.received)

    def distance(self) -> Distance:
        """How far the weights reach: mass by distance over all ranks, and the mean distance of each local row."""
        sums = self._sums()
        return Distance(*(self._shaped(t) for t in (sums.before, sums.after, self.levels.distance)))

    def share(self, number: int = 0) -> Tensor:
        """`Σ_{j ∈ keys} w_ij`, `[..., heads, local queries]`, of a set that `look(shares=…)` was told of, by number."""
        shares = self._sums().shares
        if not 0 <= number < len(shares):
            raise InputError(f"look was told of {len(shares)} sets of keys (shares=…), there is no number {number}")
        return self._shaped(shares[number])

    def head_scores(self) -> HeadScores:
        """What each head does over all ranks: previous, next, same, sink (key 0), local; `[..., heads]` each."""
        sums = self._sums()
        previous, following, same, first, local = (self._shaped(one) for one in sums.scores.unbind(-1))
        return HeadScores(previous, following, same, None, None, first, local)

    def __getattr__(self, name: str) -> NoReturn:
        if name in ELSEWHERE:
            raise InputError(
                f"{name} is not made over several ranks; unshard query and key and call regard.look for it"
            )
        raise AttributeError(name)

    def __repr__(self) -> str:
        return f"Look({self.call.shard.keys.length} keys over {self.call.peers.size} ranks, {self.call.rule!r})"

    def _sums(self) -> Weighed:
        if self.sums is None:
            raise EngineError(f"over several ranks only the kernels add weights up, which can't here: {self.refused}")
        return self.sums

    def _shaped(self, found: Tensor) -> Tensor:
        return self.call.frame.shaped(found)


@torch.no_grad()
def look(
    query: Tensor,
    key: Tensor,
    rule: Rule | Term | None = None,
    *,
    group: Group = None,
    query_start: int | None = None,
    shares: Sequence[Tensor | Sequence[int]] = (),
    within: int = 8,
    setup: Setup | None = None,
) -> Look:
    """The weights of an attention over several ranks to look at: exact, in O(N / ranks) memory; every rank calls it.

    Two rounds of the keys: one for the statistics of rows, one for sums over rows, which go home to their keys.

    Args:
        query: this rank's rows, `[..., heads, local queries, dim]`.
        key: `[..., kv_heads, local keys, dim]`.
        rule: any rule of a softmax, the same on every rank.
        group: as in `attend`.
        query_start: as in `attend`.
        shares: sets of keys, bool `[keys]` or indices, over the whole sequence, for `share`; the same on every rank.
        within: up to which distance `head_scores` counts mass as local.
        setup: as in `attend`; a ring, whatever the layout.

    Errors: those of `attend`; InputError for a rule without softmax.
    """
    peers = Peers(group)
    setup = replace(setup or Setup(), layout="ring")
    sets = [torch.as_tensor(keys) for keys in shares]
    name = f"look within {within} at {len(sets)} sets of keys ({digest(sets)})"
    call = begin(peers, Asked(name, (query, key, key[..., :1]), rule, query_start, 0.0, 0, setup))
    if not isinstance(call.rule.normalize, Softmax):
        raise InputError(f"look over several ranks is for softmax, got {call.rule!r}; unshard and call regard.look")
    masks = [_set(keys, call) for keys in sets]
    levels = with_sink(measured(ringed(call, call.messages()), within), call.frame.sink)
    home = Messages(peers, torch.empty(0, dtype=call.frame.accumulate, device=query.device))
    sums, refused = weighed(ringed(call, call.messages()), home, levels, masks)
    told = peers.told(refused, "what all ranks saw")
    why = next((text for text in told if text), "")
    return Look(call, levels, None if why else _over_ranks(peers, levels, sums), why)


def _over_ranks(peers: Peers, levels: Levels, sums: Weighed) -> Weighed:
    """The sums that are no one's own, over all ranks."""
    live = (levels.full != NOTHING).sum(-1)
    parts = [sums.before, sums.after, sums.scores, sums.counted, levels.local.sum(-1), live]
    row = torch.cat([part.double().flatten() for part in parts])
    total = peers.gathered(row, "sums of all ranks").sum(0)
    pieces = total.split([part.numel() for part in parts])
    before, after, scores, counted, local, rows = (
        piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True)
    )
    scores = torch.cat((scores / counted.clamp(min=1), (local / rows.clamp(min=1))[..., None]), -1)
    own = sums.before
    return replace(sums, before=before.to(own), after=after.to(own), scores=scores.to(own))


def _set(ids: Tensor, call: Call) -> Tensor:
    """A set of keys as bool `[keys]`."""
    length = call.shard.keys.length
    if ids.dtype == torch.bool:
        if list(ids.shape) != [length]:
            raise InputError(f"a mask of keys must be [{length}], got {list(ids.shape)}")
        return ids
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < length:
        raise InputError(f"keys must be 0 to {length - 1}, got {int(ids.min())} to {int(ids.max())}")
    mask = torch.zeros(length, dtype=torch.bool)
    mask[ids.long()] = True
    return mask
