"""The simulation of many machines: what it says is seen and sent, against positions written out; times by hand."""

from __future__ import annotations

import pytest
import torch

from regard.bench.scale.document import page, spoken
from regard.bench.scale.measured import Real
from regard.bench.scale.report import LAYOUTS, LENGTHS, LINKS, MACHINES, Checked, Point, Report
from regard.bench.scale.simulation import CAUSAL, Layer, Link, Speed, simulated, steps_of
from regard.engines.ring import zigzag

LAYER = Layer(heads=3, kv_heads=1, dim=5, width=2)
LINK = Link("test", bandwidth=100.0, latency=0.25)


def written_out(length: int, machines: int, window: int) -> tuple[list[list[int]], list[list[int]]]:
    """Pairs, and keys that come in, by step and machine, from the positions of each shard."""
    place = torch.arange(length)
    seen = place[:, None] >= place
    if window:
        seen &= place[:, None] - place < window
    own = [[p for a, b in runs for p in range(a, b)] for runs in zigzag(length, machines).runs]
    blocks = [[seen[own[r]][:, own[(r - s) % machines]] for r in range(machines)] for s in range(machines)]
    pairs = [[int(block.sum()) for block in step] for step in blocks]
    return pairs, [[int(block.any(0).sum()) if s else 0 for block in step] for s, step in enumerate(blocks)]


@pytest.mark.parametrize("window", [CAUSAL, 2, 7, 23])
@pytest.mark.parametrize("machines", [1, 2, 3, 5])
def test_steps_are_those_of_the_shards(machines, window):
    length = 14 * machines
    steps = steps_of(length, machines, window)
    pairs, keys = written_out(length, machines, window)
    for row, number in enumerate(steps.number):
        assert steps.pairs[row].tolist() == pairs[number]
        assert steps.keys[row].tolist() == keys[number]
    assert steps.pairs.sum() == sum(map(sum, pairs))


def test_balance():
    assert steps_of(8 * 64, 8).balance == pytest.approx(1)


def test_two_machines_by_hand():
    """Four positions, one a chunk: 3 pairs of the own keys, 2 of the other's."""
    steps = steps_of(4, 2)
    assert steps.pairs.tolist() == [[3, 3], [2, 2]]
    assert steps.keys.tolist() == [[0, 0], [2, 1]]
    # 60 operations a pair, 20 bytes a position: computing 1.8 s and 1.2 s, the longer message 0.25 + 40 / 100 = 0.65 s.
    ring = simulated(steps, "ring", LAYER, Speed(100.0), LINK)
    assert ring.seconds == pytest.approx(1.8 + 1.2)
    assert ring.hidden == pytest.approx(1)
    gathered = simulated(steps, "all-gather", LAYER, Speed(100.0), LINK)
    assert gathered.seconds == pytest.approx(0.65 + 3.0)
    assert gathered.hidden == pytest.approx(0)
    slow = simulated(steps, "ring", LAYER, Speed(1000.0), LINK)
    assert slow.seconds == pytest.approx(0.65 + 0.12)
    assert simulated(steps, "ulysses", LAYER, Speed(100.0), LINK) is None


def test_the_page_says_what_is_simulated():
    points = tuple(
        Point(name, link.name, count, length, layout, simulated(steps, layout, Layer(), Speed(1e11), link))
        for name in ("causal",)
        for count in MACHINES[:2]
        for length in LENGTHS
        for steps in [steps_of(length, count)]
        for link in LINKS
        for layout in LAYOUTS
    )
    points += tuple(Point(p.pattern, p.link, n, p.length, p.layout, None) for p in points for n in MACHINES[2:])
    real = Real(2, Speed(1e9), LINK, {4: 0.5})
    said = "\n".join(page(Report("today", "here", 1e11, 2, (real,), (Checked(2, 4, 0.5, 0.6),), points)))
    assert "**Simulated**, not run" in said
    assert "| 2 | 4 | 500 ms | 600 ms | 1.20 |" in said
    assert max(map(len, said.splitlines())) < 160
    assert spoken(7200) == "2 h"
