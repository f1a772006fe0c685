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


def trained(folder: Path, *more: str) -> tuple[list[float], str]:
    """The losses, and what was printed."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*start, "--max-restarts", "1", "-m", "regard.recipes.long_context", "--save", str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *SMALL.split(), *more], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "losses.json").read_text()), done.stdout


def test_a_lost_process_changes_nothing(tmp_path):
    whole, said = trained(tmp_path / "whole")
    assert "resumed" not in said
    assert whole[-1] < whole[0] - 0.05
    again, said = trained(tmp_path / "lost", "--lose-at", "3")
    assert "resumed after step 2" in said
    assert again == pytest.approx(whole, rel=1e-6)


def test_it_is_for_torchrun(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("RANK", raising=False)
    assert main(["--save", str(tmp_path)]) == 2
    assert "torchrun --nproc-per-node 4" in capsys.readouterr().err
