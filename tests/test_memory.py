"""Memory grows with N: bytes are counted, tiles are counted."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import regard as rg

MEGABYTE = 1 << 20

linux = pytest.mark.skipif(sys.platform != "linux", reason="the highest resident memory is read from /proc")


def peak(body: str) -> int:
    """Bytes that a program's resident memory grew by, at its highest, while `work()` ran, in a fresh process."""
    program = """
    import torch
    import regard as rg
    torch.set_num_threads(1)
    {body}
    def kilobytes(name):
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(name))
    warm()
    with open("/proc/self/clear_refs", "w") as marks:
        marks.write("5")  # the highest mark so far starts again from what is in use
    before = kilobytes("VmRSS")
    work()
    print((kilobytes("VmHWM") - before) * 1024)
    """
    text = textwrap.dedent(program).replace("{body}", textwrap.dedent(body).strip())
    return int(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout)


DENSE = """
def run(n, rule=None):
    q, k, v = (torch.randn(1, n, 64, requires_grad=True) for _ in range(3))
    rg.attend(q, k, v, rule).sum().backward()
def warm(): run(257)
def work(): run(16384)
"""


@linux
def test_dense_forward_and_backward_at_16384():
    """The square alone would be 1 GiB in float32."""
    assert peak(DENSE) < 200 * MEGABYTE


@linux
def test_the_count_can_fail():
    assert peak(DENSE.replace("work(): run(16384)", "work(): torch.ones(16384, 16384)")) > 1000 * MEGABYTE


@linux
def test_a_window_over_131072_positions():
    work = DENSE.replace("run(16384)", "run(131072, rg.causal() & rg.window(256))").replace("64", "8", 1)
    assert peak(work) < 250 * MEGABYTE


@linux
def test_second_derivatives_do_not_keep_the_square():
    """Keeping one square of 8,192² would take 256 MiB; a graph of second derivatives would keep several."""
    body = """
    def run(n):
        q, k, v = (torch.randn(1, n, 16, requires_grad=True) for _ in range(3))
        out = rg.attend(q, k, v)
        first = torch.autograd.grad(out.square().sum(), (q, k, v), create_graph=True)
        torch.autograd.grad(sum(g.square().sum() for g in first), (q, k, v))
    def warm(): run(257)
    def work(): run(8192)
    """
    assert peak(body) < 250 * MEGABYTE


def visited(rule: object, queries: int, keys: int | None = None, **options: object) -> int:
    query, key = torch.zeros(1, queries, 4), torch.zeros(1, keys or queries, 4)
    return rg.plan(query, key, key, rule, **options).visited


def test_tiles_that_a_pattern_empties_are_never_computed():
    n = 4096
    assert visited(None, n) == n * n
    assert visited(rg.causal(), n) <= 0.52 * n * n
    assert visited(rg.causal() & rg.window(128), n) <= n * (128 + 128)
    assert visited(rg.documents([n // 8] * 8), n) == n * n // 8
    assert visited(rg.causal(), 128, n, query_start=-500) == 0
    assert visited(rg.padding(1000), n) == n * 1000
    assert visited(rg.mask(torch.zeros(n, n, dtype=torch.bool)), n) == 0


@pytest.mark.parametrize("length", [8192, 16384, 32768])
def test_a_window_costs_in_proportion_to_length(length):
    assert visited(rg.causal() & rg.window(256), length) / length == pytest.approx(384, rel=0.05)


def test_heads_that_see_little_do_not_pay_for_heads_that_see_all():
    """One head of eight sees everything, seven a window of 64."""
    query = torch.zeros(1, 8, 4096, 4)
    pattern = rg.per_head(rg.everything(), *[rg.causal() & rg.window(64)] * 7)
    assert rg.plan(query, query, query, pattern).visited <= 4096**2 + 7 * 4096 * (64 + 128)


def test_padding_of_each_batch_entry_is_skipped():
    query = torch.zeros(3, 1, 2048, 4)
    assert rg.plan(query, query, query, rg.padding(torch.tensor([64, 2048, 640]))).visited == 2048 * (64 + 2048 + 640)


@linux
def test_causal_linear_attention_keeps_a_sum_for_each_chunk_only():
    """Forward and backward; a sum of 64 × 64 for each of 65,536 positions would be 1 GiB."""
    body = """
    def run(n):
        q, k, v = (torch.randn(1, n, 64, requires_grad=True) for _ in range(3))
        rg.approximate.linear(q, k, v, rg.causal()).sum().backward()
    def warm(): run(257)
    def work(): run(65536)
    """
    assert peak(body) < 450 * MEGABYTE


GREAT = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(
    not GREAT.exists() or "[madvise]" not in GREAT.read_text(encoding="ascii"),
    reason="this system has no great pages, or gives them unasked",
)
def test_a_large_result_comes_in_great_pages():
    program = """
    import resource
    import torch
    import regard as rg
    q, k, v = torch.randn(3, 1, 1, 1 << 18, 64)
    def touched(make):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        kept = make()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    attend = lambda: rg.attend(q, k, v, rg.window(16), engine="native")
    attend()
    print(touched(attend), touched(lambda: torch.empty_like(q).fill_(1.0)))
    """
    text = textwrap.dedent(program)
    said = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    ours, plain = map(int, said.split())
    pages = (1 << 18) * 64 * 4 // 4096
    assert ours < pages // 4
    assert plain >= pages  # without asking, every page is touched by itself
