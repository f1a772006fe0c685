"""News from the worker's thread to those who wait in the server's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["Bell"]


class Bell:
    """Rung in any thread, heard in the event loops of all who listen."""

    def __init__(self) -> None:
        self._ears: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._ears)

    def ring(self) -> None:
        """There is something new."""
        with self._lock:
            ears = list(self._ears)
        for loop, event in ears:
            with suppress(RuntimeError):  # a loop that has ended listens no more
                loop.call_soon_threadsafe(event.set)

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event that is set by every ring while this is open."""
        ear = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._ears.append(ear)
        try:
            yield ear[1]
        finally:
            with self._lock:
                self._ears.remove(ear)
