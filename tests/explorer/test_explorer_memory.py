"""What the server keeps of a text grows with its length: bytes are counted."""

from __future__ import annotations

from test_memory import MEGABYTE, linux, peak

LOOKED = """
from regard.looking.shown import of_looks
from regard.explorer.tiles import Place, Tiles
def run(n):
    query, key = torch.randn(2, 2, n, 16)
    shown = of_looks([rg.look(query, key, rg.causal())])
    tiles = Tiles(8 << 20)
    for zoom in range(4):
        tiles.tile("", shown.sights[0], Place(0, 1, "max", zoom, 0, 0))
    shown.sights[0].head(1), shown.sights[0].pair(0, n - 1, 3)
def warm(): run(257 * 8)
def work(): run(LENGTH)
"""


@linux
def test_a_head_takes_no_square() -> None:
    """The square alone would be 256 MiB at 8,192, and 1 GiB at 16,384; the map of a head is 5 MiB at any length."""
    less, more = (peak(LOOKED.replace("LENGTH", str(length))) for length in (8192, 16384))
    assert less < 70 * MEGABYTE
    assert more < 100 * MEGABYTE
