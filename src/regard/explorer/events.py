"""Server-sent events: how far a run is, whenever it gets further."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from regard.explorer.bell import Bell
from regard.explorer.desk import Desk
from regard.explorer.reading import Reading
from regard.looking import documents
from regard.looking.shown import Shown

__all__ = ["events"]

ALIVE = 15.0
"""Seconds after which a comment is sent, so that a lost listener is noticed."""


async def events(reading: Shown, desk: Desk) -> AsyncIterator[str]:
    """One event a change, the state as it is first; the last one when nothing more will come."""
    bell = reading.bell if isinstance(reading, Reading) else Bell()
    with bell.listening() as rung:
        while True:
            rung.clear()
            ended = reading.ended or desk.jobs.stopped
            yield f"data: {json.dumps(documents.run(reading), ensure_ascii=False, allow_nan=False)}\n\n"
            if ended:
                return
            while not await _within(rung, ALIVE):
                yield ": alive\n\n"


async def _within(rung: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(rung.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True
