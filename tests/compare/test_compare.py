"""`regard compare`: tasks by hand, models of one size that know what their paths say, a whole run of bounded size."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import regard as rg
from regard import cli
from regard.bench.machine import machine
from regard.bench.measure import Effort
from regard.compare import command, crossover, document, picture, text
from regard.compare.contestants import CONTESTANTS, SELF
from regard.compare.cost import Cost, costs
from regard.compare.paths import longest
from regard.compare.reading import reading
from regard.compare.run import Comparison, Outcome, Watcher, Wish, compare
from regard.compare.tasks import SYMBOLS, TASKS, task
from regard.compare.training import Budget, Learned, learn

TINY = Budget(16, 3, batch=5, held=7, marks=3)
NAMES = [each.name for each in CONTESTANTS]


def quiet(said: str) -> None:
    """Whom nothing need be told."""


def drawn(name: str, count: int = 5, length: int = 12, seed: int = 1):
    return task(name).draw(count, length, torch.Generator().manual_seed(seed))


def test_copy_and_reverse():
    for name, turned in (("copy", False), ("reverse", True)):
        sample = drawn(name)
        assert sample.source.shape == sample.prompt.shape == (5, 6, 1)
        assert sample.prompt.unique().tolist() == [SYMBOLS], "the prompt is blank"
        source = sample.source[..., 0]
        assert torch.equal(sample.target, source.flip(-1) if turned else source)


def test_recall():
    """Looked up one by one; no key stands twice, and most prompts ask in another order."""
    sample = drawn("recall")
    for source, prompt, target in zip(*sample, strict=True):
        values = dict(source.tolist())
        assert len(values) == 6 and min(values) > SYMBOLS and max(values.values()) < SYMBOLS
        assert [values[key] for key, _ in prompt.tolist()] == target.tolist()
    assert not torch.equal(sample.prompt[..., 0], sample.source[..., 0])


@pytest.mark.parametrize("name", [each.name for each in TASKS])
def test_sequences_repeat_with_the_seed_alone(name):
    for one, other in zip(drawn(name, seed=3), drawn(name, seed=3), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(drawn(name, seed=3).source, drawn(name, seed=4).source)
    assert int(drawn(name, length=32).source.max()) < task(name).tokens(32)


def by_walking(links: Tensor) -> int | None:
    """From every answer, step by step."""
    half, most = len(links) // 2, 0
    for answer in range(half, len(links)):
        seen, steps = {answer}, 0
        while not seen >= set(range(half)):
            further = seen | {j for i in seen for j in links[i].nonzero().flatten().tolist()}
            if further == seen:
                return None
            seen, steps = further, steps + 1
        most = max(most, steps)
    return most


@given(seed=st.integers(0, 2**31), count=st.sampled_from([2, 6, 14, 22]), share=st.sampled_from([0.05, 0.15, 0.5]))
def test_the_longest_path(seed, count, share):
    links = torch.rand(count, count, generator=torch.Generator().manual_seed(seed)) < share
    assert longest(links) == by_walking(links)


def test_longest_paths_by_hand():
    place = torch.arange(14)
    assert longest(place[:, None] - place == 1) == 13, "one after the other"
    assert longest((place[:, None] - place).abs() <= 3) == 5, "thirteen in strides of three"
    assert longest(torch.ones(14, 14, dtype=torch.bool)) == 1
    assert longest(torch.eye(14, dtype=torch.bool)) is None


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=NAMES)
def test_models_are_of_one_size_and_repeat_with_the_seed(contestant):
    tokens = task("recall").tokens(64)
    budget = SELF.model(tokens, SYMBOLS, 0).parameter_count()
    one, again, other = (contestant.model(tokens, SYMBOLS, seed) for seed in (7, 7, 8))
    assert 0.95 * budget <= one.parameter_count() <= budget
    for name, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(one.embedding.weight, other.embedding.weight)


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=NAMES)
def test_an_answer_depends_on_what_its_paths_reach_and_on_nothing_else(contestant):
    """The gradient from every answer to every source position, against as many steps as the model has blocks."""
    length, model = 32, contestant.model(SYMBOLS + 1, SYMBOLS, 0).double()
    inputs: list[Tensor] = []
    model.embedding.register_forward_hook(lambda _, __, out: inputs.append(out) or out)
    sample = drawn("copy", 1, length)
    answers = model(sample.source, sample.prompt)[0].square().sum(-1)
    # A transformer embeds source and prompt at once, a recurrent model one after the other.
    found = torch.stack([torch.autograd.grad(answer, inputs[0], retain_graph=True)[0] for answer in answers])
    depends = (found[:, 0, : length // 2].abs().amax((-1, -2)) > 0).double()
    links = model.links(length).double() + torch.eye(length, dtype=torch.float64)
    layers = length if contestant.family == "recurrent" else model.sequential(length)
    reached = torch.linalg.matrix_power(links, layers)[length // 2 :, : length // 2] > 0
    assert torch.equal(depends > 0, reached)


def test_training_repeats_and_learns():
    """Copying among 16 positions: enough for self-attention to be far better than guessing, the same way twice."""
    budget = Budget(16, 60, held=29)
    model = [SELF.model(SYMBOLS + 1, SYMBOLS, 0) for _ in range(2)]
    learned = [learn(each, task("copy"), budget, 0, quiet) for each in model]
    assert learned[0] == learned[1]
    assert learned[0].curve[0][1] < 0.2 < 0.3 < learned[0].accuracy
    assert [step for step, _ in learned[0].curve] == list(range(0, 61, 6))


def test_when_it_was_learned():
    assert Learned(0.95, ((0, 0.1), (5, 0.93), (10, 0.5), (15, 0.9), (20, 0.95))).at == 15
    assert Learned(0.5, ((0, 0.1), (5, 0.93), (10, 0.5))).at is None


def test_who_would_take_too_long_is_left_out():
    models = {SELF.name: SELF.model(SYMBOLS + 1, SYMBOLS, 0)}
    before = {SELF.name: Cost(SELF.name, 16, 0.5, 100)}
    (left,) = costs(models, 64, before, longest=4.0, seed=0)
    assert left.seconds is None and left.why == "it may take 8 s at 64"
    (still,) = costs(models, 128, {SELF.name: left}, longest=4.0, seed=0)
    assert still.seconds is None and still.why == left.why
    (timed,) = costs(models, 16, before, longest=1.0, seed=0)
    assert timed.seconds is not None and timed.seconds > 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, list[str], Path]:
    """One run of all ten models, as small as can be."""
    lines: list[str] = []
    folder = tmp_path_factory.mktemp("kept")
    wish = Wish("recall", (16, 32), quick=True, training=TINY)
    return command.told(wish, folder, False, lines.append, quiet), lines, folder


def test_a_whole_run(whole):
    found, lines, folder = whole
    assert [one.name for one in found.outcomes] == NAMES
    assert {(cost.name, cost.length) for cost in found.costs} == {(name, n) for name in NAMES for n in (16, 32)}
    assert all(len(line) <= 80 and line == line.rstrip() for line in lines)
    for name in NAMES:
        assert sum(line.startswith(name) for line in lines) >= 2, f"{name} stands in both tables"
    assert not found.interrupted
    assert (folder / "recall.png").stat().st_size > 20_000
    assert (folder / "recall.txt").read_text(encoding="utf-8").splitlines() == lines
    kept = json.loads((folder / "recall.json").read_text(encoding="utf-8"))
    assert [model["accuracy"] for model in kept["models"]] == [one.learned.accuracy for one in found.outcomes]
    for name in {*kept, *kept["training"], *kept["machine"], *kept["models"][0], *kept["costs"][0]}:
        assert name in document.SCHEMA, f"{name} is not in the help"


def test_what_is_learned_repeats_with_the_seed(whole):
    wish = whole[0].wish
    assert compare(replace(wish, lengths=(16,)), Watcher()).outcomes == whole[0].outcomes


def test_one_document():
    lines: list[str] = []
    command.told(Wish(lengths=(16,), training=replace(TINY, steps=1, marks=1)), None, True, lines.append, quiet)
    (line,) = lines
    assert len(json.loads(line)["models"]) == len(NAMES)


class Impatient(Watcher):
    """Interrupts after two models."""

    def learned(self, found: Comparison) -> None:
        if len(found.outcomes) == 2:
            raise KeyboardInterrupt


def test_an_interrupt_keeps_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command._Printed, "learned", Impatient.learned)
    lines: list[str] = []
    found = command.told(Wish(training=TINY), tmp_path, False, lines.append, quiet)
    assert [one.name for one in found.outcomes] == NAMES[:2]
    assert "interrupted after 2 of 10 models were trained and 0 of 3 lengths were timed" in " ".join(lines)
    assert (tmp_path / "recall.png").is_file() and json.loads((tmp_path / "recall.json").read_text())["interrupted"]


def test_an_interrupt_is_exit_code_130(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("regard.compare.run.learn", _interrupt)
    asked = Namespace(task="copy", lengths=[], quick=True, seed=0, save=None, json=False)
    assert command.run(asked, quiet, quiet) == 130


def _interrupt(*_: object) -> Learned:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "sort"], "--task must be one of copy, recall, reverse, got 'sort'"),
        (["--lengths", "15"], "--lengths must be even and at least 16"),
        (["--lengths", "256", "8"], "got 8"),
        (["--lengths", "many"], "--lengths"),
        (["--seed", "-1"], "--seed must be from 0"),
        (["--save", "file"], "--save file: it is no directory"),
        (["recall"], "recall"),
    ],
)
def test_bad_input(tmp_path, words, said, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert cli.main(["compare", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and len(err.splitlines()) == 1 and err.startswith("regard: ")


def made(shares: dict[str, float], seconds: dict[tuple[str, int], float | None]) -> Comparison:
    """A comparison with these numbers."""
    found = Comparison(task("copy"), Wish(training=TINY), machine())
    for name, share in shares.items():
        layers, steps = (None, 1024) if name.startswith("GRU") else (2, 2)
        path = 8 if name == "windowed" else 1
        learned = Learned(share, ((0, 0.0), (3, share)))
        found.outcomes.append(Outcome(name, "exact", 100, learned, path, path, layers, min(steps, 16), steps))
    for (name, length), each in seconds.items():
        found.costs.append(Cost(name, length, each, 1 << 20, "" if each else "it may take 9 s at 64"))
    return found


def test_the_reading_is_made_of_the_numbers():
    shares = {"GRU alone": 0.07, SELF.name: 0.99, "windowed": 0.4}
    times = {(SELF.name, 16): 0.001, (SELF.name, 64): 0.016, ("windowed", 16): 0.001, ("windowed", 64): 0.004}
    said = " ".join(reading(made(shares, times)))
    for part in (
        "Of 3 models, one learned copy in this budget: self-attention.",
        "One learned a part of it: windowed (40%).",
        "One did hardly better than guessing (6%): GRU alone (7%).",
        "In windowed it is 8 steps to the farthest of what was read, and the model has 2 blocks.",
        "At 1024 positions GRU alone takes 1024 steps in a row",
        "From 16 to 64 positions, 4 times as many, time grew 4-fold (windowed) to 16-fold (self-attention).",
        "self-attention takes 16 ms; faster are windowed (4 ms).",
    ):
        assert part in said
    turned = {"GRU alone": 0.95, SELF.name: 0.05, "windowed": 0.95}
    times = {(SELF.name, 64): 0.002, ("windowed", 64): None, ("GRU alone", 64): 0.004}
    said = " ".join(reading(made(turned, times)))
    for part in (
        "two learned copy in this budget: GRU alone and windowed.",
        "guessing (6%): self-attention (5%).",
        "The task did not need all of it: windowed learned it all the same.",
        "nobody is faster: GRU alone (4 ms).",
    ):
        assert part in said
    assert reading(made({}, {})) == ()


def test_what_was_left_out_is_said(tmp_path: Path):
    found = made({SELF.name: 0.5}, {(SELF.name, 64): None})
    lines = [*text.costs(found), *text.left_out(found)]
    assert "– self-attention: left out, it may take 9 s at 64" in lines
    picture.save(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
    with pytest.raises(rg.InputError, match="can't be written"):
        picture.save(found, tmp_path / "nowhere" / "a.png")


@pytest.mark.parametrize(
    ("ratios", "at"),
    [
        ([(64, 0.5), (256, 2.0)], 128),
        ([(64, 0.1), (128, 0.9)], None),
        ([(64, 1.1), (128, 1.9)], 64),
        ([(64, 1.5), (128, 0.5), (512, 2.0)], 256),
    ],
)
def test_a_crossing_by_hand(ratios, at):
    assert crossover.crossing(ratios) == (at if at is None else pytest.approx(at))


def test_crossovers_are_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(crossover, "JUDGED", 31)
    found, disturbed = crossover.measure((16, 32), Effort(1, 1, 0.0, 1e-4, keep=True), quiet)
    page = crossover.page(found, disturbed)
    assert len(found) == 6
    for one in found:
        assert all(ratio > 0 for ratio in one.ratios.values()) and f"| {one.name} |" in page
        assert one.error > 1e-3
    assert ("not to be quoted" in page) == bool(disturbed)
