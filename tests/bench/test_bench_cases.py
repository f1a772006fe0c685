"""Cases and competitors: what is computed, who is right, and why somebody is not timed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import regard as rg
from regard.bench import ceiling
from regard.bench.case import Case, Pass, Shape
from regard.bench.cases import cases
from regard.bench.competitors import BASE, COMPETITORS, OURS, eager, ours, sdpa
from regard.bench.measure import Effort
from regard.bench.result import Entry, measured
from regard.bench.task import Competitor, Run, Task, Unable, distance, of_torch, tolerance, wanted

ONCE = Effort(least=1, most=1, seconds=0.0, block=0.0, keep=True)
WINDOW = Case("window", Shape.square(2, 3, 37, 8), rg.Rule(pattern=rg.window(7)))


def share(name: str, shrink: int = 1) -> float:
    case = next(case for case in cases(shrink) if case.name == name)
    shape = case.shape
    thin = (torch.zeros(1, shape.heads, length, 1) for length in (shape.queries, shape.keys, shape.keys))
    return rg.plan(*thin, rg.Rule(pattern=case.rule.pattern)).share


def test_what_the_patterns_show() -> None:
    assert share("causal") == pytest.approx(2049 / 4096)
    assert share("window") == pytest.approx((2048 * 128 - 128 * 127 / 2) / 2048**2)
    assert share("blocks") == pytest.approx(0.27, abs=0.001)
    assert share("random") == pytest.approx(0.5, abs=0.01)
    assert 1 / 17 < share("documents") < 1 / 14, "sixteen documents, not all of one length"
    assert share("prefix") == pytest.approx((2048 * 2049 / 2 + 256 * 255 / 2) / 2048**2)
    assert share("dense-64") == share("decode") == 1


@pytest.mark.parametrize("shrink", [1, 2, 16])
def test_names_are_one_each_and_every_rule_fits(shrink: int) -> None:
    made = cases(shrink)
    assert len({case.name for case in made}) == len(made)
    for case in made:
        assert case.shape.heads % case.shape.kv_heads == 0
        assert all(part in str(case) for part in (case.name, str(case.shape), repr(case.rule)))


def test_random_inputs_are_random_and_the_same_each_time() -> None:
    first, second = (Task.random(WINDOW, Pass.FORWARD) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.inputs, second.inputs, strict=True))
    assert not torch.equal(first.key, first.value)
    scores = first.query @ first.key.mT / math.sqrt(8)
    assert scores.std() > 2.5


@pytest.mark.parametrize("which", list(Pass))
def test_the_plain_competitors_are_right(which: Pass) -> None:
    made = measured(WINDOW, which, ONCE, competitors=COMPETITORS[:3])
    assert [entry.name for entry in made.entries] == ["regard native", "regard tiled", "torch SDPA"]
    for entry in made.entries:
        assert entry.seconds is not None or "not built" in entry.why
        assert entry.error is None or entry.error <= 1e-5
    assert made.rounds == 1 and made.entry(BASE.name).ratio == 1.0


@pytest.mark.parametrize(
    "case", [case for case in cases(16) if case.name != "decode-batch"], ids=lambda case: case.name
)
@pytest.mark.parametrize("prepare", [sdpa.prepare, eager.prepare, ours.tiled])
def test_every_case_has_one_right_answer(case: Case, prepare: Callable[[Task], Run]) -> None:
    task = Task.random(case, case.passes[-1])
    try:
        run = prepare(task)
    except Unable as why:
        assert str(why) in ("it has no soft-cap", "it has no sink")
        return
    assert distance(run.tensors(run.call()), task.expected) <= tolerance(case.dtype, task.which)


@pytest.mark.parametrize("competitor", [c for c in COMPETITORS if c.name != "flex, compiled"], ids=lambda c: c.name)
def test_others_are_right_or_say_why_not(competitor: Competitor) -> None:
    entry = measured(WINDOW, Pass.FORWARD, ONCE, competitors=(competitor,)).entry(competitor.name)
    assert entry.seconds is not None or any(
        why in entry.why for why in ("pip install 'regard[bench]'", "not built", "threads is fixed")
    )
    assert "wrong" not in entry.why and "failed" not in entry.why


def timed_as(attention: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Entry:
    other = Competitor("other", lambda task: of_torch(task, attention))
    return measured(WINDOW, Pass.FORWARD, ONCE, competitors=(BASE, other)).entry("other")


def test_a_wrong_competitor_is_not_timed() -> None:
    """One key too many in a window, a forgotten window, NaN, another shape."""
    assert timed_as(lambda q, k, v: rg.attend(q, k, v, rg.window(7))).seconds is not None
    for rule in (rg.window(8), rg.causal()):
        entry = timed_as(lambda q, k, v, rule=rule: rg.attend(q, k, v, rule))
        assert entry.seconds is None and entry.why.startswith("wrong: it differs from the reference by")
    assert "by inf" in timed_as(lambda q, k, v: v * float("nan")).why
    assert "by inf" in timed_as(lambda q, k, v: v[:1]).why


def test_what_another_library_raises_is_its_reason() -> None:
    def broken(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        raise RuntimeError("no such kernel\nand a long story")

    assert timed_as(broken).why == "it failed: RuntimeError: no such kernel"


def test_a_package_that_is_missing() -> None:
    with pytest.raises(Unable, match=r"not installed: pip install 'regard\[bench\]'"):
        wanted("torch", "no_such_package")


def test_distance() -> None:
    right = (torch.tensor([2.0, -4.0]).double(), torch.tensor([1.0]).double())
    assert distance((torch.tensor([2.0, -4.0]), torch.tensor([1.0])), right) == 0
    assert distance((torch.tensor([2.0, -3.0]), torch.tensor([1.0])), right) == 0.25
    assert distance((torch.tensor([2.0, -4.0]), torch.tensor([1.5])), right) == 0.5
    assert distance((torch.tensor([2.0]), torch.tensor([1.0])), right) == float("inf")


def test_the_plainer_rule_runs_beside() -> None:
    case = Case("sink", Shape.square(1, 2, 19, 8), rg.Rule(normalize=rg.softmax(sink=0.5)), plainer=rg.Rule())
    made = measured(case, Pass.FORWARD, ONCE, competitors=(OURS,))
    assert [entry.name for entry in made.entries] == ["regard native", "regard, plainer"]
    assert (made.over_plainer is None) == (made.entry(OURS.name).seconds is None)


def test_work() -> None:
    """2 entries, 3 heads, 7·37 − 7·6/2 pairs, 2 · (8 + 8) FLOP a pair; 2.5 times that backward."""
    flops = 2 * 3 * (7 * 37 - 21) * 32
    for which, times in ((Pass.FORWARD, 1), (Pass.BACKWARD, 2.5), (Pass.BOTH, 3.5)):
        assert measured(WINDOW, which, ONCE, competitors=(BASE,)).work == times * flops
    few = Case("few", Shape(2, 4, 2, 1, 37, 8), rg.Rule(), passes=(Pass.FORWARD,), memory=True)
    assert measured(few, Pass.FORWARD, ONCE, competitors=(BASE,)).work == 4 * 2 * 8 * (4 + 2 * 37 + 2 * 37 + 4)


native = pytest.importorskip("regard._native", reason="the kernels were not built")


def test_ceilings_count_their_work() -> None:
    names = ceiling.names()
    assert {"float32 baseline", "read"} <= set(names)
    baseline = native.Ceiling("float32 baseline", 1, 0)
    assert baseline.run(5) == 5 * 12 * 4 * 2
    assert native.Ceiling("float32 baseline", 2, 0).run(5) == 2 * baseline.run(5)
    assert native.Ceiling("read", 2, 2**20 + 511).run(3) == 3 * 2**20
    for name, threads, size in (("float32 none", 1, 0), ("read", 0, 512), ("read", 2, 511)):
        with pytest.raises(ValueError, match=r"no such ceiling|at least"):
            native.Ceiling(name, threads, size)


def test_a_case_has_the_ceiling_of_its_type() -> None:
    assert ceiling.ceiling(WINDOW, 1).name == next(name for name in ceiling.names() if name.startswith("float32"))
    assert ceiling.ceiling(next(case for case in cases(16) if case.memory), 2**20).unit == "GB/s"
    double = Case("double", WINDOW.shape, WINDOW.rule, torch.float64)
    assert ceiling.ceiling(double, 1) is None
