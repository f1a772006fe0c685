"""A pattern, brought to the problem at hand: key ranges in local positions, remembered from call to call."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np

from regard.problem.leaves import Extent
from regard.recent import Recent, contents
from regard.terms.pattern import Lists, Pattern
from regard.terms.pattern.ranges import Bits, Form

__all__ = ["lowered"]

LOWERED: Recent[Lists] = Recent(count=256, nbytes=1 << 27)
"""By what the pattern says, its tensors' numbers, and the positions: the layers of a model share their pattern."""


def lowered(pattern: Pattern, extent: Extent) -> Lists:
    """Ranges in local positions."""
    said, tensors = pattern.outline
    numbers = contents(tensors)
    if numbers is None:
        return _lower(pattern, extent)
    sizes = (math.prod(extent.batch), extent.heads, extent.queries, extent.keys)
    key = (said, numbers, *sizes, extent.query_start, extent.key_start)
    found = LOWERED.get(key)
    if found is None:
        found = _lower(pattern, extent)
        numbers.keep()
        LOWERED.put(key, found, found.nbytes + numbers.nbytes)
    return found


def _lower(pattern: Pattern, extent: Extent) -> Lists:
    """Ranges in local positions; each distinct pair of offsets of the batch entries is lowered once."""
    offsets = np.array(list(np.broadcast(extent.query_start, extent.key_start)), dtype=np.int64).reshape(-1, 2)
    distinct, which = np.unique(offsets, axis=0, return_inverse=True)
    made = []
    for query, key in distinct.tolist():
        rows, keys = np.arange(query, query + extent.queries), (key, key + extent.keys)
        lists = pattern.lower(rows, keys, math.prod(extent.batch), extent.heads)
        made.append(lists.map(partial(_moved, by=-key)) if key else lists)
    return made[0] if len(made) == 1 else Lists.chosen(made, which.reshape(-1, 1))


def _moved(form: Form, by: int) -> Form:
    """The form with every key moved by a number of positions, those that exist included."""
    keys = (form.keys[0] + by, form.keys[1] + by)
    if isinstance(form, Bits):
        return replace(form, keys=keys)
    return replace(form, low=form.low + by, high=form.high + by, keys=keys)
