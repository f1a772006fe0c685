"""Processes that attend together: `python ranks.py WORLD SECONDS PORT PROGRAM [WORD …]` prints one JSON line a rank.

One process imports everything and forks the ranks: they share what has been imported and start in milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def run(world: int, program: str, *words: str, seconds: float = 60, limit: float = 600) -> list[dict[str, Any]]:
    """What a program says on every rank; {"died": exit code} for a rank that said nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(HERE / "ranks.py"), str(world), str(seconds), str(port), program, *words]
    # What is freed goes back at once, so that resident memory is what is in use and the same in every run.
    freed = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}
    env = {**os.environ, **freed, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=env, check=False)
    said = {line["rank"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert len(said) == world, f"{done.stdout}\n{done.stderr}"
    for line in said.values():
        assert "traceback" not in line, line["traceback"]
    return [said[rank] for rank in range(world)]


def rank_of(rank: int, world: int, seconds: float, port: int, program: str, words: list[str]) -> dict[str, Any]:
    """One rank, from its beginning to what it says."""
    import programs
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=seconds),
    )
    return getattr(programs, program)(*words)


def say(line: dict[str, Any]) -> None:
    """One line in one write: what ranks say at the same moment never mixes, however Python buffers."""
    os.write(1, (json.dumps(line) + "\n").encode())


def forked(rank: int, *asked: Any) -> int:
    """The process number of a rank, which writes its line and ends without a word to the others."""
    child = os.fork()
    if child:
        return child
    try:
        line = {"rank": rank, **rank_of(rank, *asked)}
    except BaseException:
        line = {"rank": rank, "traceback": traceback.format_exc()}
    say(line)
    os._exit(0)


def main() -> None:
    sys.path[:0] = [str(HERE), str(HERE.parent / "battery")]
    import programs  # noqa: F401 (imported once, for all ranks)

    world, seconds, port, program, *words = sys.argv[1:]
    asked = (int(world), float(seconds), int(port), program, words)
    ranks = {forked(rank, *asked): rank for rank in range(int(world))}
    stopped: set[int] = set()
    while ranks:
        if stopped == set(ranks):
            os.kill(next(iter(stopped)), signal.SIGKILL)
        child, status = os.waitpid(-1, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            stopped.add(child)
            continue
        stopped.discard(child)
        rank, code = ranks.pop(child), os.waitstatus_to_exitcode(status)
        if code:
            say({"rank": rank, "died": code})


if __name__ == "__main__":
    main()
