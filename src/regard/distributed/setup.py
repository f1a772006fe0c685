"""How ranks work together, where a user has a say."""

from __future__ import annotations

from dataclasses import dataclass, field

from regard.distributed.cost import LAYOUTS, Machine
from regard.engines.ring import Sharding
from regard.errors import InputError
from regard.planning import ENGINES

__all__ = ["Setup"]


@dataclass(frozen=True)
class Setup:
    """How ranks work together; the same on all of them.

    Args:
        sharding: which positions stand on which rank, of queries as of keys; None is `zigzag`.
        layout: "ring", "all-gather", "ulysses", or None: what the cost model finds cheapest.
        engine: the engine on each rank, by name, or None for the best one.
        machine: what the cost model takes one machine for.
    """

    sharding: Sharding | None = None
    layout: str | None = None
    engine: str | None = None
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        for name, value, known in (("layout", self.layout, LAYOUTS), ("engine", self.engine, tuple(ENGINES))):
            if value is not None and value not in known:
                raise InputError(f"{name} must be one of {', '.join(known)} or None, got {value!r}")
