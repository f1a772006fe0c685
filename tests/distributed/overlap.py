"""How much of a ring's messages computation hides, between hosts with slow links: `make overlap`.

Each host is a network namespace. They are joined once by a bridge behind token buckets (`tc … tbf`), so slow that the
messages alone take as long as the computation alone; and once by a relay that holds every frame back for a while.

    hidden = (computing + travelling − both) / min(computing, travelling)

Needs root, iproute2 and /dev/net/tun; where they are missing it says so and ends with code 0. Code 1: less than 70 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from network import Unable, bridge, limited, relay

HEADS, DIM, ROUNDS, LEAST = 4, 64, 9, 0.7


def main() -> int:
    parser = argparse.ArgumentParser(description="overlap of computing and messages between slow hosts")
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--length", type=int, default=12288, help="positions in all")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write what was measured")
    parser.add_argument("--host", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.host is not None:
        print(json.dumps(measured(asked.host, asked.hosts, asked.length)))
        return 0
    try:
        found = {"token buckets": by_buckets(asked), "a delaying relay": by_relay(asked)}
    except Unable as reason:
        print(f"skipped: {reason}")
        return 0
    lines = []
    for name, (said, how) in found.items():
        alone = f"computing {said['computing']:.3f} s, travelling {said['travelling']:.3f} s, both {said['both']:.3f} s"
        lines.append(
            f"{name} ({how}), {asked.hosts} hosts, {asked.length:,} positions: {alone}; hidden {hidden(said):.0%}"
        )
        print(lines[-1], flush=True)
    if asked.save is not None:
        asked.save.write_text(page(lines), encoding="utf-8")
    return int(any(hidden(said) < LEAST for said, _ in found.values()))


def page(lines: list[str]) -> str:
    from regard.bench.machine import machine

    here = machine()
    how = (
        f"Made by `make overlap` on {here.processor}, {here.cores} cores; kernels: {here.isa}. Each host is a network "
        "namespace with a slow link;\nwhat is hidden is of the smaller of computing and travelling. Medians over "
        f"{ROUNDS} forward passes of {HEADS} heads of {DIM}."
    )
    return "\n".join(
        ["# How much of a ring's messages computation hides", "", how, "", *(f"- {line}" for line in lines), ""]
    )


def hidden(said: dict[str, float]) -> float:
    return (said["computing"] + said["travelling"] - said["both"]) / min(said["computing"], said["travelling"])


def by_buckets(asked: argparse.Namespace) -> tuple[dict[str, float], str]:
    with bridge(asked.hosts) as names:
        free = run(names, asked)
        rate = int(8 * free["bytes"] / free["computing"])
        limited(names, rate)
        return run(names, asked), f"{rate / 1e6:.0f} Mbit/s"


def by_relay(asked: argparse.Namespace) -> tuple[dict[str, float], str]:
    with relay(asked.hosts, 0.0) as names:
        free = run(names, asked)
    delay = 0.5 * free["computing"] / asked.hosts
    with relay(asked.hosts, delay) as names:
        return run(names, asked), f"each frame {1000 * delay:.0f} ms later"


def run(names: list[str], asked: argparse.Namespace) -> dict[str, float]:
    """What the hosts measure, by the slowest of them."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0", "PYTHONWARNINGS": "ignore"}
    words = ["--hosts", str(asked.hosts), "--length", str(asked.length), "--host"]
    hosts = [
        subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, __file__, *words, str(n)],
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        for n, name in enumerate(names)
    ]
    said = [json.loads(host.communicate(timeout=900)[0].splitlines()[-1]) for host in hosts]
    return said[0]


# ------------------------------------------------------------------------------------------------------ one host


def measured(host: int, hosts: int, length: int) -> dict[str, float]:
    import torch
    import torch.distributed as dist

    import regard as rg
    import regard.distributed as rd
    from regard.distributed.asked import Asked
    from regard.distributed.attending import ringed
    from regard.distributed.calls import begin
    from regard.distributed.peers import Messages, Peers
    from regard.engines import ring

    torch.set_num_threads(1)
    dist.init_process_group("gloo", "tcp://10.77.0.1:29500", timedelta(seconds=300), hosts, host)
    peers = Peers()
    own = tuple(rd.shard(torch.randn(HEADS, length, DIM)) for _ in range(3))
    call = begin(peers, Asked("attend", own, rg.causal(), None, 0.0, None, rd.Setup(layout="ring")))
    at_hand = AtHand(peers, call.shard.key)

    def travelling() -> None:
        for _ in ringed(call, Messages(peers, call.shard.key)).stages():
            pass

    works = {
        "computing": lambda: ring.forward(ringed(call, at_hand)),
        "travelling": travelling,
        "both": lambda: ring.forward(ringed(call, Messages(peers, call.shard.key))),
    }
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            peers.finished("the next round")
            began = time.perf_counter()
            work()
            took[name].append(time.perf_counter() - began)
    row = torch.tensor([*(median(some) for some in took.values()), call.sent()], dtype=torch.float64)
    slowest = peers.gathered(row, "times").amax(0).tolist()
    return dict(zip((*works, "bytes"), slowest, strict=True))


class AtHand:
    """An exchange in which everything has already come: what is left is computation."""

    def __init__(self, peers: Any, like: Any) -> None:
        self.rank, self.size, self.like = peers.rank, peers.size, like
        self.made: dict[int, Any] = {}

    def swap(self, to: int, message: Any, source: int, count: int) -> AtHand:
        if count not in self.made:
            self.made[count] = self.like.new_zeros(count).normal_()
        self.come = self.made[count]
        return self

    def wait(self) -> Any:
        return self.come


if __name__ == "__main__":
    sys.exit(main())
