"""How far an answer is from what it needs, in steps of a model."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["longest"]


def longest(links: Tensor) -> int | None:
    """The most steps that anything in the first half needs to reach anything in the second half.

    `min t: (I + A)^t [i, j] > 0` for all i ≥ n/2, j < n/2

    Args:
        links: A, which position (row) reads which (column) in one step: bool `[n, n]`.

    Returns: t, or None where some never get there.
    """
    count = len(links)
    one = torch.eye(count)
    powers = [_seen(links.float() + one)]
    while not _whole(powers[-1]) and 2 ** len(powers) < 2 * count:
        powers.append(_seen(powers[-1] @ powers[-1]))
    if not _whole(powers[-1]):
        return None
    reached, steps = one, 0  # the most steps that are not enough, from the largest power downwards
    for exponent in reversed(range(len(powers))):
        further = _seen(reached @ powers[exponent])
        if not _whole(further):
            reached, steps = further, steps + 2**exponent
    return steps + 1


def _seen(products: Tensor) -> Tensor:
    return (products > 0).float()


def _whole(reached: Tensor) -> bool:
    half = len(reached) // 2
    return bool((reached[half:, :half] > 0).all())
