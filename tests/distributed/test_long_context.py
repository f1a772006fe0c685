"""The recipe `long_context`, small: a process is lost, training goes on from the last checkpoint on the same curve."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from regard.data import play
from regard.errors import MissingError
from regard.recipes.long_context import main

SMALL = "--length 211 --dim 16 --blocks 1 --steps 5 --every 2 --timeout 60"


@pytest.fixture(autouse=True)
def the_play_is_here():
    try:
        assert len(play("hamlet")) == 189_481
    except MissingError as missing:
        pytest.skip(str(missing))


def begun(folder: Path, *more: str, processes: int = 2, restarts: int = 1) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    again = ["--max-restarts", str(restarts)]
    command = [*start, *again, "-m", "regard.recipes.long_context", "--save", str(folder), *SMALL.split(), *more]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def trained(folder: Path, *more: str) -> tuple[list[float], str]:
    """The losses, and what was printed."""
    done = begun(folder, *more)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "losses.json").read_text()), done.stdout


def test_a_lost_process_changes_nothing(tmp_path):
    whole, said = trained(tmp_path / "whole")
    assert "resumed" not in said
    assert whole[-1] < whole[0] - 0.05
    again, said = trained(tmp_path / "lost", "--lose-at", "3")
    assert "resumed after step 2" in said
    assert again == pytest.approx(whole, rel=1e-6)
    other = begun(tmp_path / "lost", "--rate", "0.1", "--steps", "7", processes=1, restarts=0)
    assert other.returncode != 0
    assert "holds a training with rate 0.003, not 0.1: ask for the same, or name another" in other.stderr
    (tmp_path / "lost" / "latest").write_text('{"checkpoint": "step-3"}')
    other = begun(tmp_path / "lost", processes=1, restarts=0)
    assert other.returncode != 0
    assert "latest names no checkpoint of this program: remove it" in other.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--length", "1"], "--length must be ≥ 2"),
        (["--every", "0"], "must be ≥ 1, got 200, 0 and 4"),
        (["--dim", "30"], "--dim must be a multiple of 4, got 30"),
        (["--rate", "nan"], "--rate and --timeout must be > 0, got nan"),
    ],
)
def test_bad_words_are_one_sentence(words, said, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "0")
    assert main(["--save", str(tmp_path), *words]) == 2
    assert said in capsys.readouterr().err


def test_it_is_for_torchrun(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("RANK", raising=False)
    assert main(["--save", str(tmp_path)]) == 2
    assert "torchrun --nproc-per-node 4" in capsys.readouterr().err
