"""What the methods of `Look` return where it is more than one tensor."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["Cells", "Distance", "HeadScores", "Needle", "Pooled", "Top"]


class Top(NamedTuple):
    """The greatest weights of each row.

    Args:
        weights: falling, `[..., heads, queries, k]`; 0 where a row sees fewer keys.
        keys: which keys they are on, counted from 0 in `key`; equal weights by key; −1 where a row sees fewer.
        uncovered: mass on all other keys, `[..., heads, queries]`.
    """

    weights: Tensor
    keys: Tensor
    uncovered: Tensor


class Distance(NamedTuple):
    """How far the weights reach, in absolute positions.

    Args:
        before: mass on keys at or before the query, `[..., heads, bins]`: bin 0 is the query's own position, bin b the
            distances 2^(b−1) … 2^b − 1; summed over rows.
        after: the same of keys after the query; its bin 0 is empty.
        mean: `Σ_j w_ij |i − j| / Σ_j w_ij`, `[..., heads, queries]`; 0 for a row without mass.
    """

    before: Tensor
    after: Tensor
    mean: Tensor


class Cells(NamedTuple):
    """Weights between classes of queries and classes of keys, `[..., heads, query classes, key classes]`.

    Args:
        sum: `Σ_{i ∈ a, j ∈ b} w_ij`.
        pairs: how many visible pairs that is.
        mean: `sum / pairs`, 0 where no pair is visible.
    """

    sum: Tensor
    pairs: Tensor
    mean: Tensor


class HeadScores(NamedTuple):
    """What a head does, a mean over the rows that see any key and for which the key in question exists; `[..., heads]`.

    Args:
        previous: weight on position i − 1.
        next: on i + 1.
        same: on i itself.
        duplicate: on the last earlier key with the query's own token; None without tokens.
        induction: on the key after that one; None without tokens.
        sink: on one key, the first unless told.
        local: on all keys up to `within` positions away.
    """

    previous: Tensor
    next: Tensor
    same: Tensor
    duplicate: Tensor | None
    induction: Tensor | None
    sink: Tensor
    local: Tensor


class Needle(NamedTuple):
    """How well some queries find some keys, `[..., heads, queries asked for]`.

    Args:
        mass: `Σ_{j ∈ needle} w_ij`.
        rank: how many keys outside of the needle have more weight than its greatest; 0 is found.
    """

    mass: Tensor
    rank: Tensor


class Pooled(NamedTuple):
    """Square cells of the weights, `[..., heads, cells down, cells across]`.

    Args:
        mean: over all pairs of a cell, hidden ones being 0.
        maximum: the greatest of them.
        area: how many pairs a cell holds, `[cells down, cells across]`: the last ones may hold fewer.
    """

    mean: Tensor
    maximum: Tensor
    area: Tensor
