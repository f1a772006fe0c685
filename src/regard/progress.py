"""What a command says while it works."""

from __future__ import annotations

import sys
import time

__all__ = ["Progress"]

_SLOW = 1.0


class Progress:
    """One line on standard error that says what takes long; only on a terminal, and gone at the end."""

    def __init__(self) -> None:
        self.shown = 0
        self._began = time.monotonic()

    def __call__(self, said: str) -> None:
        """Say what happens now."""
        if sys.stderr.isatty() and time.monotonic() - self._began >= _SLOW:
            line = f"{said} …"[:78]
            print(f"\r{line:<{self.shown}}", end="", file=sys.stderr, flush=True)
            self.shown = len(line)

    def print(self, said: str) -> None:
        """Print for good, and go on."""
        self.clear()
        print(said, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self.shown:
            print(f"\r{' ' * self.shown}\r", end="", file=sys.stderr, flush=True)
            self.shown = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *problem: object) -> None:
        self.clear()
