"""One worker for everything that computes: the newest question first, and none that nobody waits for any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any

import torch

__all__ = ["Busy", "Job", "Jobs", "Stopping", "Withdrawn"]

Work = Callable[["Job"], Any]
MOST = 1024
"""Questions that may wait; beyond them the oldest is told that the server is busy."""


class Withdrawn(Exception):
    """Nobody waits for this any more."""


class Busy(Exception):
    """Too many newer questions came."""


class Stopping(Exception):
    """The server is about to end."""


class Job:
    """A question, who waits for it, and its answer.

    Args:
        key: what tells it from others; equal questions share one answer.
        work: computes the answer.
    """

    def __init__(self, key: Hashable, work: Work) -> None:
        self.key, self.work = key, work
        self.answer: Future[Any] = Future()
        self.waiting = 0
        self.withdrawn = False


class Jobs:
    """Short questions and long ones: readings of a model let the short ones through between two layers."""

    def __init__(self) -> None:
        self._short: dict[Hashable, Job] = {}
        self._long: dict[Hashable, Job] = {}
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="regard explorer", daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        """How many questions wait or are being answered."""
        with self._changed:
            return len(self._short) + len(self._long) + len(self._running)

    @property
    def stopped(self) -> bool:
        """Whether nothing more is answered."""
        return self._stopped

    def ask(self, key: Hashable, work: Work) -> Job:
        """A question that takes less than a second: a tile, a pair, a head."""
        return self._ask(self._short, key, work)

    def ask_model(self, key: Hashable, work: Work) -> Job:
        """A question for which a model runs; it must call `breathe` between its layers."""
        return self._ask(self._long, key, work)

    def leave(self, job: Job) -> None:
        """One who waited has gone; a question for nobody is withdrawn."""
        with self._changed:
            job.waiting -= 1
            if job.waiting <= 0 and not job.answer.done():
                self._withdraw(job)

    def withdraw(self, job: Job) -> None:
        """Nobody is to have the answer."""
        with self._changed:
            if not job.answer.done():
                self._withdraw(job)

    def breathe(self, job: Job) -> None:
        """In a long question: ends it where it was withdrawn, else answers all short ones that wait."""
        while True:
            with self._changed:
                if self._stopped:
                    raise Stopping
                if job.withdrawn:
                    raise Withdrawn
                short = self._newest(self._short)
            if short is None:
                return
            self._answer(short)

    def stop(self, seconds: float = 10.0) -> None:
        """Answer nothing more; what waits is told so. What runs ends at its next breath."""
        with self._changed:
            self._stopped = True
            waiting = [*self._short.values(), *self._long.values()]
            self._short.clear()
            self._long.clear()
            self._changed.notify_all()
        for job in waiting:
            job.answer.set_exception(Stopping())
        self._thread.join(seconds)

    # --------------------------------------------------------------------------------------------- the worker

    def _ask(self, pile: dict[Hashable, Job], key: Hashable, work: Work) -> Job:
        with self._changed:
            if self._stopped:
                raise Stopping
            job = pile.pop(key, None) or next((one for one in self._running if one.key == key), None)
            if job is None or job.withdrawn:
                job = Job(key, work)
            if job not in self._running:
                pile[key] = job  # on top, also where it waited before
            job.waiting += 1
            oldest = pile.pop(next(iter(pile))) if len(pile) > MOST else None
            self._changed.notify_all()
        if oldest is not None:
            oldest.answer.set_exception(Busy())
        return job

    def _withdraw(self, job: Job) -> None:
        job.withdrawn = True
        for pile in (self._short, self._long):
            if pile.get(job.key) is job:
                del pile[job.key]
                job.answer.set_exception(Withdrawn())

    def _newest(self, *piles: dict[Hashable, Job]) -> Job | None:
        """The newest question of the first pile that has one, now running."""
        pile = next(filter(None, piles), None)
        if pile is None:
            return None
        self._running.append(pile.popitem()[1])
        return self._running[-1]

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._short or self._long)
                if self._stopped:
                    return
                job = self._newest(self._short, self._long)
            assert job is not None
            self._answer(job)

    def _answer(self, job: Job) -> None:
        answer: Any = None
        error: BaseException | None = None
        try:
            with torch.inference_mode():
                answer = job.work(job)
        except BaseException as raised:  # whatever it is, it is for those who asked
            error = raised.with_traceback(None) if isinstance(raised, Withdrawn | Stopping) else raised
        with self._changed:
            self._running.remove(job)
        if error is None:
            job.answer.set_result(answer)
        else:
            job.answer.set_exception(error)
