"""Threads: as many as torch has been told, at any moment, from any Python thread, and after a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import regard as rg

COUNTED = """
import os, torch, regard as rg
x = torch.randn(2, 4, 521, 16, requires_grad=True)
counts = []
for threads in (1, 3, 2):
    torch.set_num_threads(threads)
    rg.attend(x, x, x, rg.causal(), engine=ENGINE).sum().backward()
    counts.append(len(os.listdir("/proc/self/task")))
print(counts[0] - BEFORE, max(counts) - BEFORE)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
@pytest.mark.parametrize("engine", ["native", "tiled"])
def test_as_many_threads_as_torch_has_been_told(engine: str) -> None:
    """In a process of its own, whose pool is new: with one thread none are started, with three two."""
    begin = "import torch, os; torch.set_num_threads(1); torch.ones(1, requires_grad=True).sum().backward()\n"
    begin += 'BEFORE = len(os.listdir("/proc/self/task"))\n'
    program = begin + COUNTED.replace("ENGINE", repr(engine))
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    first, most = map(int, said.split())
    assert first == 0
    assert most <= 2
    assert engine != "native" or most == 2, "a pool that never grows would not be counted"


def told(inputs: list[Tensor]) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in inputs]
    out = rg.attend(*leaves, rg.causal() & rg.window(67))
    return [out.detach(), *torch.autograd.grad(out.sin().sum(), leaves)]


def test_many_python_threads_at_once() -> None:
    """Each has its own problem; results are those of one after the other, bit for bit."""
    problems = [[torch.randn(1, 4, 131 + n, 16) for _ in range(3)] for n in range(5)]
    expected = [told(inputs) for inputs in problems]
    found: dict[int, list[Tensor]] = {}
    together = threading.Barrier(len(problems))

    def work(n: int) -> None:
        together.wait()
        for _ in range(7):
            found[n] = told(problems[n])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(problems))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, want in enumerate(expected):
        assert all(torch.equal(a, b) for a, b in zip(found[n], want, strict=True))


class Attended(Dataset[Tensor]):
    """Rows that are attended to as they are loaded."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Tensor:
        query = torch.randn(4, 257, 16, generator=torch.Generator().manual_seed(index))
        return rg.attend(query, query, query, rg.causal())


def test_a_loader_that_forks_after_threads_have_run() -> None:
    data = Attended()
    expected = torch.stack([data[index] for index in range(5)])
    loader = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert torch.equal(torch.stack(list(loader)), expected)
