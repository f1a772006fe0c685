"""The ranks of a group: small agreements, messages point to point, and one clear error where a rank is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from regard.errors import InputError, RegardError

__all__ = ["Group", "GroupError", "Messages", "Peers"]

Group = Any
"""A `torch.distributed.ProcessGroup`, a `DeviceMesh` of one axis, or None: all processes."""


class GroupError(RegardError, RuntimeError):
    """Another rank died, stalled or failed; no rank has a result."""


class Peers:
    """The ranks that attend together.

    Args:
        group: a process group, a `DeviceMesh` of one axis, or None for all processes.

    Errors: InputError where there is no group, or this process is not in it.
    """

    def __init__(self, group: Group = None) -> None:
        if not dist.is_available() or not dist.is_initialized():
            raise InputError(
                "there is no process group: call torch.distributed.init_process_group() first, in a program that "
                "torchrun has started"
            )
        self.group = _process_group(group)
        self.rank, self.size = dist.get_rank(self.group), dist.get_world_size(self.group)
        if self.rank < 0:
            raise InputError("this process is not in the group; only the group's ranks may call this")
        gpu = dist.get_backend(self.group) == "nccl"
        self.device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")

    def global_rank(self, rank: int) -> int:
        """The number of a rank among all processes."""
        return dist.get_global_rank(self.group, rank)

    def gathered(self, row: Tensor, what: str) -> Tensor:
        """`[n]` of every rank → `[ranks, n]`."""
        with self.watched(what):
            made = [torch.empty_like(row, device=self.device) for _ in range(self.size)]
            dist.all_gather(made, row.to(self.device), group=self.group)
            return torch.stack(made).to(row.device)

    def told(self, said: object, what: str) -> list[Any]:
        """What every rank says, by rank."""
        with self.watched(what):
            made: list[Any] = [None] * self.size
            dist.all_gather_object(made, said, group=self.group)
            return made

    def transposed(self, rows: Tensor, what: str) -> Tensor:
        """`[ranks, …]`, one entry for each rank → one entry from each."""
        with self.watched(what):
            made = torch.empty_like(rows, device=self.device)
            dist.all_to_all_single(made, rows.to(self.device).contiguous(), group=self.group)
            return made.to(rows.device)

    def finished(self, what: str) -> None:
        """Return only when every rank is here: no rank has a result where another has none."""
        self.gathered(torch.zeros(1, dtype=torch.int64), what)

    @contextmanager
    def watched(self, what: str) -> Iterator[None]:
        """Say in one sentence what a broken connection means."""
        try:
            yield
        except (RuntimeError, ConnectionError) as error:
            if isinstance(error, RegardError):
                raise
            raise GroupError(
                f"rank {self.rank} of {self.size} waited in vain for {what}: another rank has died, or has stalled for "
                f"longer than the group's timeout; there is no result, start anew ({_shortly(error)})"
            ) from error


def _shortly(error: Exception) -> str:
    """What the backend says, without the place in its source."""
    said = (str(error).splitlines() or ["no reason given"])[0]
    return re.sub(r"^\[\S*\] ", "", said).split(". ")[0][:160]


def _process_group(group: Group) -> Any:
    if group is None:
        return dist.group.WORLD
    mesh = getattr(group, "get_group", None)
    if mesh is None:
        return group
    if group.ndim != 1:
        raise InputError(
            f"the DeviceMesh has {group.ndim} axes, {group.mesh_dim_names}; give the one along which the sequence "
            'lies, as mesh["context"]'
        )
    return mesh()


@dataclass
class _Pending:
    """Messages on their way; both are held until they have arrived."""

    messages: Messages
    works: Sequence[Any]
    sent: Tensor | None
    received: Tensor
    what: str

    def wait(self) -> Tensor:
        with self.messages.peers.watched(self.what):
            for work in self.works:
                work.wait()
        self.messages.held -= self.received.nbytes + (0 if self.sent is None else self.sent.nbytes)
        return self.received


@dataclass
class Messages:
    """Messages of one attention between the ranks, counted.

    Args:
        peers: the ranks.
        like: a tensor of the dtype and device of all messages.
        sent: bytes that this rank has sent.
        held: bytes of messages under way.
        peak: the most of them at once.
    """

    peers: Peers
    like: Tensor
    sent: int = 0
    held: int = 0
    peak: int = field(default=0)

    @property
    def rank(self) -> int:
        """This one."""
        return self.peers.rank

    @property
    def size(self) -> int:
        """How many ranks."""
        return self.peers.size

    def swap(self, to: int, message: Tensor | None, source: int, count: int) -> _Pending:
        """Send a message to one rank and receive one of `count` numbers from another; None and 0 are no message."""
        received = torch.empty(count, dtype=self.like.dtype, device=self.like.device)
        group, what = self.peers.group, f"keys and values of rank {source}"
        wanted = []
        with self.peers.watched(what):
            if count:
                wanted.append(dist.P2POp(dist.irecv, received, self.peers.global_rank(source), group))
            if message is not None:
                wanted.append(dist.P2POp(dist.isend, message, self.peers.global_rank(to), group))
            works = dist.batch_isend_irecv(wanted) if wanted else []
        self.sent += 0 if message is None else message.nbytes
        self.held += received.nbytes + (0 if message is None else message.nbytes)
        self.peak = max(self.peak, self.held)
        return _Pending(self, works, message, received, what)
