"""The command line as a newcomer meets it: what it prints, what it refuses, with which exit code."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from wcwidth import wcswidth

import regard
from regard import arguments, cli

SENTENCE = "The animal didn't cross the street because it was too tired."


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, at 80 columns."""
    env = {**os.environ, "COLUMNS": "80", **environment}
    words = (sys.executable, "-m", "regard", *words)
    return subprocess.run(words, capture_output=True, text=True, env=env, check=False)


def test_explain() -> None:
    done = run("explain", SENTENCE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert max(wcswidth(line) for line in done.stdout.splitlines()) <= 80
    assert "\x1b" not in done.stdout
    assert '"it" (10)' in done.stdout
    found = re.search(r"eager attention: ([0-9.e+-]+)", done.stdout)
    assert found is not None
    assert float(found[1]) <= 1e-4


def test_json_is_all_that_is_printed() -> None:
    done = run("explain", SENTENCE, "--json", FORCE_COLOR="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name, value in found.items():
        assert name in cli.SCHEMA
        for inner in value if isinstance(value, dict) else ():
            assert inner in cli.SCHEMA, f"{name}.{inner} is not in the help"


def test_colour_where_it_is_forced() -> None:
    done = run("explain", "It was too tired.", FORCE_COLOR="1", NO_COLOR="")
    assert "\x1b[" in done.stdout


def test_save(tmp_path: Path) -> None:
    done = run("explain", SENTENCE, "--save", str(tmp_path / "seen.png"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen.png").stat().st_size > 20_000


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"regard {regard.__version__}\n"


@pytest.mark.parametrize("words", [["--help"], ["explain", "--help"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert max(map(len, said.splitlines())) <= 80
    assert "explain" in said


def test_no_words_print_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "usage: regard" in capsys.readouterr().err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary.txt").write_bytes(b"\x89PNG\x00\xff")
    (tmp_path / "nul.txt").write_bytes(b"a\0b")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "long.txt").write_text("word " * 600)
    (tmp_path / "folder").mkdir()
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text("{}")
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "choose from"),
        (["explain"], "TEXT|FILE"),
        (["explain", "a", "--bogus"], "--bogus"),
        (["explain", "missing.txt"], "there is no file missing.txt"),
        (["explain", "./missing"], "there is no file ./missing"),
        (["explain", ""], "the text is empty"),
        (["explain", "empty.txt"], "the text is empty"),
        (["explain", "folder"], "is a directory"),
        (["explain", "binary.txt"], "not text in UTF-8"),
        (["explain", "nul.txt"], "binary file"),
        (["explain", "a b", "--save", "a.bmp"], ".png, .svg, .pdf"),
        (["explain", "a b", "--save", "~nobody-of-this-name/a.png"], "--save ~nobody-of-this-name/a.png can't be"),
        (["explain", "a b", "--save", "nowhere/a.png"], "no directory nowhere"),
        (["explain", "a b", "--save", "folder.png/a.png"], "no directory folder.png"),
        (["explain", "a b", "--model", "nope"], "minilm, smollm2"),
        (["explain", "a b", "--model", "folder"], "no config.json"),
        (["explain", "a b", "--model", "pickled"], "a pickle"),
        (["explain", "a b", "--layer", "x"], "--layer"),
        (["explain", "a b", "--layer", "6"], "0 to 5"),
        (["explain", "a b", "--head", "12"], "0 to 11"),
        (["explain", "a b", "--query", "dog"], "no token reads 'dog'"),
        (["explain", "long.txt"], "reads at most 512"),
    ],
)
def test_bad_input(here: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1
    assert err.startswith("regard: ")


def test_a_file_is_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "text.txt").write_text("﻿It was too tired.", encoding="utf-8")
    assert arguments.text(["text.txt"]) == "It was too tired."
    assert arguments.text(["a", "b"]) == "a b"
    assert arguments.text(["and/or"]) == "and/or"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    assert arguments.text(["-"]) == "from a pipe"
    assert arguments.text(["long " * 2000]) == "long " * 2000


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("regard.data.load", stop)
    assert cli.main(["explain", "It was."]) == 130
    assert capsys.readouterr().err.strip().endswith("interrupted")


def test_a_difference_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("regard.explain.story.TOLERANCE", 0.0)
    assert cli.main(["explain", "It was too tired."]) == 1
    assert "differ by" in capsys.readouterr().err


def test_missing_extras_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(arguments, "find_spec", lambda name: None)
    assert cli.main(["explain", "a b", "--save", "a.png"]) == 2
    assert "pip install 'regard[plot]'" in capsys.readouterr().err


def test_the_command_starts_without_extras() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['transformers', 'matplotlib', 'rich', 'wcwidth']));"
        "from regard.cli import main; main([])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: regard" in done.stderr
