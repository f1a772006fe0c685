"""What the server holds: models, runs, tiles, and the worker that makes them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from time import perf_counter

from regard.errors import InputError
from regard.explorer.jobs import Busy, Job, Jobs
from regard.explorer.models import Models
from regard.explorer.reading import Reading, name_of
from regard.explorer.tiles import Place, Tiles
from regard.looking.shown import Shown
from regard.looking.told import Sight

__all__ = ["Desk"]

RUNS, BYTES = 16, 2 << 30
"""How many runs are kept, and how many bytes of them."""
WAITING = 64
"""How many may wait or run."""


class Desk:
    """Runs by id, the latest last; what was not asked for longest goes first where they take too much memory.

    Args:
        models: that may be asked for.
    """

    def __init__(self, models: Models) -> None:
        self.models, self.jobs, self.tiles = models, Jobs(), Tiles()
        self._runs: OrderedDict[str, Shown] = OrderedDict()
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self.start: str | None = None

    def begin(self, text: str, model: str) -> Shown:
        """The run of a text: the one that is there, or a new one."""
        known = self.models.known(model)
        if not text.strip():
            raise InputError("the text is empty; give a sentence")
        with self._lock:
            there = self._runs.get(name_of(known.name, text))
            if there is not None and there.state not in ("failed", "cancelled"):
                return there
            if sum(not one.ended for one in self._runs.values()) >= WAITING:
                raise Busy
            reading = Reading(known.name, text)
            self._runs.pop(reading.id, None)
            self._runs[reading.id] = reading
            for one in self._too_many(reading):
                if not one.sights:  # cancelled before it saw anything; `_read` lets go of the others
                    del self._runs[one.id]
                    self._jobs.pop(one.id, None)
            self._jobs[reading.id] = self.jobs.ask_model(("run", reading.id), lambda job: self._read(reading, job))
        return reading

    def add(self, shown: Shown) -> None:
        """A run that is there already."""
        with self._lock:
            self._runs[shown.id] = shown

    def warm(self, shown: Shown) -> None:
        """Make the map of the head to begin with, so that it is there when it is asked for."""
        told = shown.telling
        if told is not None:
            place = Place(told["layer"], told["head"], "mean", 0, 0, 0)
            self.jobs.ask(("tile", shown.id, place), lambda job: self.tile(shown.id, shown.sights[place.layer], place))

    def tile(self, run: str, sight: Sight, place: Place) -> tuple[bytes, float]:
        """A tile, and the seconds that it took."""
        began = perf_counter()
        return self.tiles.tile(run, sight, place), perf_counter() - began

    def find(self, run: str) -> Shown:
        """A run by its id; KeyError where there is none."""
        with self._lock:
            self._runs.move_to_end(run)
            return self._runs[run]

    def cancel(self, shown: Shown) -> None:
        """Nobody wants it any more."""
        with self._lock:
            job = self._jobs.pop(shown.id, None)
        if job is not None and isinstance(shown, Reading) and not shown.ended:
            self.jobs.withdraw(job)
            shown.cancelled()

    def stop(self) -> None:
        """End: what runs, what waits, and who listens."""
        self.jobs.stop()
        with self._lock:
            listened = [one for one in self._runs.values() if isinstance(one, Reading)]
        for reading in listened:
            reading.bell.ring()

    def _read(self, reading: Reading, job: Job) -> None:
        reading.read(self.models, lambda: self.jobs.breathe(job))
        self.warm(reading)
        with self._lock:
            gone = self._too_many(reading)
            for one in gone:
                del self._runs[one.id]
                self._jobs.pop(one.id, None)
        for one in gone:  # in the worker's thread, whose tiles they are
            self.tiles.forget(one.id)
            one.drop()

    def _too_many(self, latest: Shown) -> list[Shown]:
        """The oldest runs that have ended, as far as there are too many or they take too much; never the latest."""
        count, whole = len(self._runs), sum(one.nbytes for one in self._runs.values())
        gone: list[Shown] = []
        for one in self._runs.values():
            if count <= RUNS and whole <= BYTES:
                break
            if one.ended and one is not latest:
                gone.append(one)
                count, whole = count - 1, whole - one.nbytes
        return gone
