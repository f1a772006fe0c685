"""This machine: every engine and every competitor side by side, against the ceiling: `regard bench`."""

from __future__ import annotations

from regard.bench.document import Report
from regard.bench.quiet import BusyError
from regard.bench.run import Wish, bench, calibrated, kept, saved

__all__ = ["BusyError", "Report", "Wish", "bench", "calibrated", "kept", "saved"]
