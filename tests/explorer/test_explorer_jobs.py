"""One worker: the newest question first, none for nobody, and an end to all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import wait

import pytest

from regard.explorer import jobs as rooms
from regard.explorer.jobs import Busy, Job, Jobs, Stopping, Withdrawn

PATIENCE = 30


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.stop()
    assert made.count == 0


class Held:
    """Work that begins, and goes on when it is told to."""

    def __init__(self, jobs: Jobs) -> None:
        self.began, self.go = threading.Event(), threading.Event()
        self.jobs = jobs

    def __call__(self, job: Job) -> str:
        self.began.set()
        assert self.go.wait(PATIENCE)
        self.jobs.breathe(job)
        return "done"


def test_the_newest_short_one_first(jobs: Jobs) -> None:
    held, order = Held(jobs), []
    first = jobs.ask_model("long", held)
    assert held.began.wait(PATIENCE)
    asked = [jobs.ask(name, lambda job: order.append(job.key)) for name in "abc"]
    later = jobs.ask_model("later", lambda job: order.append(job.key))
    assert jobs.ask("a", lambda job: None) is asked[0]  # asked once more, so the newest
    held.go.set()
    wait([one.answer for one in (first, *asked, later)], PATIENCE)
    assert order == ["a", "c", "b", "later"]  # the short ones while the first long one breathes
    assert first.answer.result() == "done"


def test_equal_questions_share_an_answer(jobs: Jobs) -> None:
    held, count = Held(jobs), []
    jobs.ask_model("long", held)
    asked = [jobs.ask("same", lambda job: count.append(1) or len(count)) for _ in range(7)]  # type: ignore[func-returns-value]
    assert len({id(one) for one in asked}) == 1
    held.go.set()
    assert asked[0].answer.result(PATIENCE) == 1
    assert jobs.ask("same", lambda job: "anew").answer.result(PATIENCE) == "anew"


def test_what_nobody_waits_for_is_never_computed(jobs: Jobs) -> None:
    held, ran = Held(jobs), []
    jobs.ask_model("long", held)
    assert held.began.wait(PATIENCE)
    gone, kept = (jobs.ask(name, lambda job: ran.append(job.key)) for name in ("gone", "kept"))
    jobs.ask("kept", lambda job: None)
    jobs.leave(gone)
    jobs.leave(kept)  # one of two
    held.go.set()
    kept.answer.result(PATIENCE)
    assert ran == ["kept"]
    with pytest.raises(Withdrawn):
        gone.answer.result(PATIENCE)


def test_a_long_one_ends_at_its_next_breath(jobs: Jobs) -> None:
    held = Held(jobs)
    job = jobs.ask_model("long", held)
    assert held.began.wait(PATIENCE)
    jobs.withdraw(job)
    again = jobs.ask_model("long", lambda job: "anew")
    assert again is not job
    held.go.set()
    with pytest.raises(Withdrawn):
        job.answer.result(PATIENCE)
    assert again.answer.result(PATIENCE) == "anew"


def test_an_error_is_for_who_asked_and_the_worker_goes_on(jobs: Jobs) -> None:
    with pytest.raises(ZeroDivisionError):
        jobs.ask("bad", lambda job: 1 // 0).answer.result(PATIENCE)
    assert jobs.ask("good", lambda job: 7).answer.result(PATIENCE) == 7


def test_too_many_questions(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "MOST", 3)
    held = Held(jobs)
    jobs.ask_model("long", held)
    assert held.began.wait(PATIENCE)
    asked = [jobs.ask(number, lambda job: job.key) for number in range(5)]
    held.go.set()
    for old in asked[:2]:
        with pytest.raises(Busy):
            old.answer.result(PATIENCE)
    assert [new.answer.result(PATIENCE) for new in asked[2:]] == [2, 3, 4]


def test_the_end_is_told_to_all() -> None:
    jobs = Jobs()
    held = Held(jobs)
    running = jobs.ask_model("long", held)
    assert held.began.wait(PATIENCE)
    waiting = jobs.ask("short", lambda job: None)
    stopper = threading.Thread(target=jobs.stop)
    stopper.start()
    with pytest.raises(Stopping):
        waiting.answer.result(PATIENCE)
    held.go.set()
    with pytest.raises(Stopping):
        running.answer.result(PATIENCE)
    stopper.join(PATIENCE)
    with pytest.raises(Stopping):
        jobs.ask("late", lambda job: None)
    assert jobs.count == 0
