"""Attention over a sequence that no single machine holds: exact, forward and backward, on `torch.distributed`.

Every process has some rows of query, key and value (`shard`), calls `attend`, and gets its rows of the output.
"""

from regard.distributed.attending import attend
from regard.distributed.cost import Machine
from regard.distributed.layers import context_parallel
from regard.distributed.outlook import Plan, plan
from regard.distributed.peers import GroupError
from regard.distributed.seen import Look, look
from regard.distributed.setup import Setup
from regard.distributed.shards import shard, unshard
from regard.engines.ring import Sharding, contiguous, zigzag

__all__ = [
    "GroupError",
    "Look",
    "Machine",
    "Plan",
    "Setup",
    "Sharding",
    "attend",
    "context_parallel",
    "contiguous",
    "look",
    "plan",
    "shard",
    "unshard",
    "zigzag",
]
