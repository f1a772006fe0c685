"""Looking takes memory in proportion to length: bytes are counted."""

from __future__ import annotations

from test_memory import MEGABYTE, linux, peak

EVERYTHING = """
def run(n, dtype=torch.float32, rule=rg.causal()):
    query, key = torch.randn(2, 1, n, 16).to(dtype)
    seen = rg.look(query, key, rule)
    seen.entropy(), seen.top(8)
    seen.collect(shares=[[0]], pyramid=64)
    seen.distance(), seen.pyramid(64), seen.tile((n // 3, n // 2), size=64)
    seen.head_scores(torch.arange(n) % 97), seen.rows([n // 3]), seen.needle(n - 1, [5])
def warm(): run(257)
def work(): run(LENGTH)
"""
TILED = EVERYTHING.replace("rule=rg.causal()", "rule=rg.relu()")
ROLLOUT = """
from regard.looking.layers import Layer, Run, Where
from regard.looking.measured import Posed
def run(n):
    layers = {}
    for number in range(2):
        query, key = torch.randn(2, 1, 1, n, 16)
        call = Posed(query, key, rg.Rule(pattern=rg.causal()), 0, 0, None, True)
        layers[number] = Layer(Where(number, "", "self", "", (0,)), calls=[call])
    seen = rg.Layers([Run(layers)], 2)
    seen.rollout(row=-1), seen.rollout(column=0, without_sink=True), seen.table()
def warm(): run(257)
def work(): run(LENGTH)
"""


def bytes_of(program: str, length: int) -> int:
    return peak(program.replace("LENGTH", str(length)))


@linux
def test_kernels_grow_with_length():
    """The square alone would be 1 GiB at 16,384, and four at 32,768."""
    assert bytes_of(EVERYTHING, 16384) < 70 * MEGABYTE
    assert bytes_of(EVERYTHING, 32768) < 140 * MEGABYTE
    assert bytes_of(EVERYTHING.replace("float32", "bfloat16"), 16384) < 70 * MEGABYTE


@linux
def test_tiles_grow_with_length():
    """Tiles grow to 4 MiB, at 8,192 keys, and no further; the square there would be 256 MiB, several times over."""
    less, more = (bytes_of(TILED, length) for length in (4096, 8192))
    assert more < 150 * MEGABYTE
    assert more < 3 * less


@linux
def test_rollout_grows_with_length():
    """The square of one layer would be 256 MiB at 8,192, and 1 GiB at 16,384."""
    assert bytes_of(ROLLOUT, 8192) < 40 * MEGABYTE
    assert bytes_of(ROLLOUT, 16384) < 80 * MEGABYTE


@linux
def test_the_count_can_fail():
    assert bytes_of(
        TILED.replace("work(): run(LENGTH)", "work(): rg.weights(*torch.randn(2, 1, LENGTH, 16))"), 8192
    ) > (200 * MEGABYTE)
