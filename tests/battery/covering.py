"""Few rules in which every pair of terms meets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product


def all_pairs(axes: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Rows such that any value of any axis stands in some row with any value of any other axis; greedy, fixed."""
    open_pairs = {
        (a, x, b, y) for a, b in combinations(range(len(axes)), 2) for x, y in product(axes[a], axes[b])
    }  # fmt: skip
    rows: list[tuple[str, ...]] = []
    every = list(product(*axes))
    while open_pairs:
        row = max(every, key=lambda values: sum(pair in open_pairs for pair in pairs_of(values)))
        rows.append(row)
        open_pairs.difference_update(pairs_of(row))
    return rows


def pairs_of(row: Sequence[str]) -> list[tuple[int, str, int, str]]:
    return [(a, row[a], b, row[b]) for a, b in combinations(range(len(row)), 2)]
