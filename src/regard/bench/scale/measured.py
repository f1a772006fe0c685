"""Real processes on this machine: how fast parts are computed, how fast messages travel, how long a ring takes.

All processes of a number of ranks measure at once, so that they share the cores as they do in the ring.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from regard.attention import partial
from regard.bench.scale.simulation import Layer, Link, Speed
from regard.distributed import Setup, attend, shard
from regard.distributed.peers import Messages, Peers
from regard.parts import merge
from regard.terms.pattern import causal

__all__ = ["CHECKED", "Real", "real"]

CHECKED = Layer(heads=4, kv_heads=4, dim=64, width=4)
"""The layer of the real runs, in float32."""
ROUNDS = 7


@dataclass(frozen=True)
class Real:
    """What some processes measured.

    Args:
        ranks: how many.
        speed: of one, while all compute.
        link: between two, while all exchange.
        seconds: of a causal forward pass by a ring, by length.
    """

    ranks: int
    speed: Speed
    link: Link
    seconds: dict[int, float]


def real(ranks: int, lengths: tuple[int, ...]) -> Real:
    """Start the ranks, let them measure.

    Args:
        ranks: how many processes.
        lengths: of the sequences.
    """
    with socket.socket() as free, TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        path = os.path.join(folder, "measured")
        threads = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = "1"
        try:
            spawn(_rank, (ranks, port, lengths, path), ranks)
        finally:
            os.environ.pop("OMP_NUM_THREADS")
            if threads is not None:
                os.environ["OMP_NUM_THREADS"] = threads
        return torch.load(path, weights_only=False)  # type: ignore[no-any-return]


def _rank(rank: int, ranks: int, port: int, lengths: tuple[int, ...], path: str) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", address, timedelta(seconds=600), ranks, rank)
    peers = Peers()
    short, long = (_computing(peers, length) for length in (64, 1024))
    work = [n * n * CHECKED.heads * 4 * CHECKED.dim for n in (64, 1024)]
    rate = (work[1] - work[0]) / (long - short)
    small, large = (_travelling(peers, count) for count in (1, 1 << 20))
    link = Link("loopback", (1 << 22) / max(1e-9, large - small), small)
    rings = {length: _ring(peers, length) for length in lengths}
    begin = _ring(peers, 2 * ranks)
    found = Real(ranks, Speed(rate, max(0.0, begin / ranks)), link, rings)
    if rank == 0:
        torch.save(found, path)
    dist.destroy_process_group()


def _timed(peers: Peers, call: Callable[[], object]) -> float:
    """The median round of the slowest rank, all beginning together."""
    took = []
    for _ in range(ROUNDS + 1):
        peers.finished("the next round")
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return float(peers.gathered(torch.tensor([median(took[1:])], dtype=torch.float64), "times").max())


def _computing(peers: Peers, length: int) -> float:
    query, key, value = (torch.randn(CHECKED.heads, length, CHECKED.dim) for _ in range(3))
    so_far = partial(query, key, value)
    return _timed(peers, lambda: merge(so_far, partial(query, key, value)))


def _travelling(peers: Peers, count: int) -> float:
    message = torch.zeros(count)
    messages = Messages(peers, message)
    to, source = (peers.rank + 1) % peers.size, (peers.rank - 1) % peers.size
    return _timed(peers, lambda: messages.swap(to, message, source, count).wait())


def _ring(peers: Peers, length: int) -> float:
    rows = [shard(torch.randn(CHECKED.heads, length, CHECKED.dim)) for _ in range(3)]
    setup = Setup(layout="ring")
    return _timed(peers, lambda: attend(rows[0], rows[1], rows[2], causal(), setup=setup))
