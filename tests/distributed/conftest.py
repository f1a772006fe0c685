"""The tests of ranks find their programs, and the battery's members."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "battery")]
