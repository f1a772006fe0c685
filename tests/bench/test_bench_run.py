"""`regard bench` from the command line, and the forms of what it gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest

import regard as rg
from regard import cli
from regard.bench import document, models, picture, text
from regard.bench.case import Case, Pass, Shape
from regard.bench.document import Report
from regard.bench.looks import Looked
from regard.bench.machine import machine
from regard.bench.measure import Effort, Spread
from regard.bench.models import Served
from regard.bench.result import Entry, Result
from regard.bench.scaling import Point, points

ENTRIES = (
    Entry("regard native", Spread(0.001, 0.0009, 0.0011), 2.0, 0.5, 1e-7),
    Entry("torch SDPA", Spread(0.002, 0.0018, 0.0022), 1.0, 0.25, 1e-7),
    Entry("natten", why="a reason that is long enough to need more than one line of the terminal " * 2),
)
CASE = Case("window", Shape(1, 32, 8, 1, 8192, 128), rg.Rule(pattern=rg.window(7) & rg.causal() | rg.prefix(100)))
RESULT = Result(CASE, Pass.RECORDED, 2, 10**9, ("float32 avx512 427 GFLOP/s", 427e9), ENTRIES, 7, 3, False)
POINTS = (
    Point("window", "regard native", 1 << 17, Spread(0.1, 0.1, 0.1), 3 << 20),
    Point("window", "torch SDPA", 1 << 17, None, None, "its mask would be N × N, more than 1 GiB"),
)
LOOKED = (
    Looked("entropy and top 8", "bfloat16", 2, Spread(0.0123, 0.012, 0.013), 0.74),
    Looked("every statistic", "float32", 1, why="the kernels are not compiled here " + "x" * 60),
)
SERVED = (
    Served("minilm: 8 × 512 tokens", Spread(1.0, 1.0, 1.0), Spread(2.0, 2.0, 2.0), 2.0),
    Served("smollm2: one token after 8000", why="the model's package is not installed: pip install " + "x" * 60),
)


def test_it_fits_eighty_columns() -> None:
    said = [text.heading(machine()), *text.lines(RESULT), *text.looks(LOOKED), *text.scaling(POINTS)]
    said += text.models(SERVED)
    assert max(len(line) for part in said for line in part.splitlines()) <= 80
    whole = " ".join(" ".join(said).split())
    for part in (
        "1 ms",
        "900 µs – 1.1 ms",
        "2.00",
        "50.0%",
        "427 GFLOP/s",
        "1×32/8×1→8192×128",
        "3.0 MiB",
        "N × N",
        "0.74",
        "12.3 ms",
    ):
        assert part in whole
    assert " ".join(ENTRIES[2].why.split()) in whole, "a reason is never cut"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3.0, "3 s"), (0.05213, "52.1 ms"), (0.001, "1 ms"), (1.23e-5, "12.3 µs"), (9.9e-8, "0.099 µs")],
)
def test_times(seconds: float, said: str) -> None:
    assert text.spoken(seconds) == said


def test_what_is_said_of_disturbed_rounds() -> None:
    assert text.verdict(RESULT) == "7 rounds; 3 more were disturbed and rejected"
    assert "DISTURBED" in text.verdict(replace(RESULT, kept=True))
    assert text.verdict(replace(RESULT, disturbed=0)) == "7 rounds, none disturbed"


def report(kept: bool = False) -> Report:
    results = (replace(RESULT, kept=kept),)
    return Report(machine(), "2026-01-02", "regard bench", results, LOOKED, POINTS, SERVED, ("scaling",), kept)


def test_the_page_says_everything() -> None:
    page = document.page(report())
    for entry in ENTRIES:
        assert entry.name in page and entry.why.strip() in page
    for part in (
        "`regard bench` on 2026-01-02",
        machine().processor,
        "| window |",
        "2.00 (50%)",
        "| entropy and top 8 | bfloat16 | 2 | 12.3 ms | 0.74 |",
    ):
        assert part in page
    assert "| entropy and top 8 | bfloat16 | 2 | 12.3 ms | 0.74 |" in page
    assert "Not asked for: scaling." in page and "not to be quoted" not in page
    assert "not to be quoted" in document.page(report(kept=True))


def test_json_holds_everything() -> None:
    made = json.loads(json.dumps(document.as_json(report())))
    (result,) = made["results"]
    assert result["case"] == "window" and result["shape"]["keys"] == 8192 and result["pass"] == Pass.RECORDED.value
    assert result["entries"][0]["seconds"] == {"middle": 0.001, "low": 0.0009, "high": 0.0011}
    assert made["quotable"] and not document.as_json(report(kept=True))["quotable"]
    assert made["scaling"][1]["why"] == POINTS[1].why and made["models"][0]["ratio"] == 2.0
    assert made["statistics"][0]["over_forward"] == 0.74


def test_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, numbers = tmp_path / "results", tmp_path / "numbers.json"
    words = ["bench", "--quick", "--busy", "--threads", "1", "--case", "sink", "statistics", "--save", str(folder)]
    assert cli.main([*words, "--json", str(numbers)]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert (
        "torch SDPA        – it has no sink" in said and "regard native takes" in said and "entropy and top 8" in said
    )
    made = json.loads(numbers.read_text())
    assert [result["pass"] for result in made["results"]] == ["forward", "backward"]
    assert all(result["threads"] == 1 for result in made["results"])
    assert {"RESULTS.md", "results.json", "results.svg"} == {path.name for path in folder.iterdir()}
    assert "--quick --busy" in (folder / "RESULTS.md").read_text()


@pytest.mark.parametrize("kept", [False, True])
def test_the_picture_says_what_is_in_it(tmp_path: Path, kept: bool) -> None:
    picture.save(report(kept), tmp_path / "seen.png")
    assert (tmp_path / "seen.png").stat().st_size > 20_000
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        picture.save(report(kept), tmp_path / "seen.svg")
    said = (tmp_path / "seen.svg").read_text()
    for part in (
        "times as fast as torch SDPA",
        "window forward, recorded",
        "regard native",
        "keys (log)",
        "2026-01-02",
    ):
        assert part in said
    assert ("not to be quoted" in said) == kept


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--case", "dense"], "--case must be of dense-64, dense-128"),
        (["--threads", "0"], "--threads must be from 1"),
        (["--threads", "many"], "--threads"),
        (["--json", "nowhere/a.json"], "there is no directory nowhere"),
        (["--json", "."], "it can't be written"),
        (["--calibrate", "nowhere/a.json"], "there is no directory nowhere"),
        (["--save", "file"], "it is no directory"),
    ],
)
def test_refusals(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert cli.main(["bench", "--quick", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("regard: ") and said in err and err.count("\n") == 1


def test_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main(["bench", "--help"])
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80 and "--calibrate FILE" in said


def test_scaling_has_every_length_and_says_what_grew() -> None:
    effort = Effort(least=1, most=1, seconds=0.0, block=0.0, keep=True)
    made = list(points(effort, lambda said: None, longest=11))
    assert {(point.kind, point.length) for point in made} == {("window", 1024), ("window", 2048), *DECODE}
    for point in made:
        assert point.seconds is not None or "not built" in point.why
    masks = {p.length: p.bytes for p in made if p.kind == "window" and p.name == "torch SDPA" and p.bytes is not None}
    assert not masks or masks[2048] > 2048**2 * 4 > masks[1024] / 2, "SDPA makes an N × N mask of numbers"


DECODE = {("decode", 1024), ("decode", 2048)}


def test_models_are_compared_and_agree() -> None:
    pytest.importorskip("transformers")
    effort = Effort(least=1, most=1, seconds=0.0, block=0.0, keep=True)
    first = next(iter(models.served(effort, lambda said: None, shrink=32)))
    assert first.job == "minilm: 32 × 4 tokens"
    assert first.ratio is not None or "not installed" in first.why
