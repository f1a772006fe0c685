"""A short search, the same at every run; `make fuzz` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import broken_cases, cases
from checking import close
from hypothesis import HealthCheck, Phase, given, settings
from malformed import FAULTS
from search import once

pytestmark = pytest.mark.filterwarnings("ignore")
short = settings(max_examples=40, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True)


@short
@given(cases())
def test_well_formed_cases(case):
    once(case)


@short
@given(broken_cases(list(FAULTS)))
def test_malformed_cases(case):
    assert once(case) in ("refused", "taken", "unbreakable")


@pytest.mark.parametrize("wrong", [1e-5, float("nan"), float("inf")])
def test_the_bound_can_fail(wrong):
    want = torch.linspace(-1, 1, 17, dtype=torch.float64)
    close(0, want + 1e-8, want, 1e-7, torch.float32)
    found = want.clone()
    found[3] += wrong
    with pytest.raises(AssertionError):
        close(0, found, want, 1e-7, torch.float32)


def test_a_process_that_dies_is_reported(tmp_path):
    """Its last case is known, for it was written down before it ran."""
    dying = "import os, search; search.once = lambda case: os.abort(); search.search(0.1, 7)"
    program = f"import search, sys; sys.exit(search.watch([sys.executable, '-c', {dying!r}], 7))"
    here = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=here, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "seed 7; the last case" in done.stderr
    assert '"kv_heads"' in done.stderr
