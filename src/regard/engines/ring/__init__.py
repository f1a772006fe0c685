"""Exact attention over a sequence that lies on several machines, for every rule whose parts merge.

Logic alone: what travels is said to an `Exchange`, what is computed is done by the `Inner` engine, and both are given.
"""

from regard.engines.ring.exchange import Exchange, Held, Pending
from regard.engines.ring.needs import MOST, Needs, needs_of, seen
from regard.engines.ring.passes import Home, Inner, Round, backward, forward
from regard.engines.ring.shard import Shard
from regard.engines.ring.sharding import Run, Sharding, contiguous, zigzag

__all__ = [
    "MOST",
    "Exchange",
    "Held",
    "Home",
    "Inner",
    "Needs",
    "Pending",
    "Round",
    "Run",
    "Shard",
    "Sharding",
    "backward",
    "contiguous",
    "forward",
    "needs_of",
    "seen",
    "zigzag",
]
