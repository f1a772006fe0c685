"""Search for cases that go wrong: python tests/fuzz/search.py --minutes 10. Exit code 1 and the case where one does.

The search runs in a process of its own, which writes every case down before it runs it: one that kills the process is
still known. `--again FILE` runs one case that was written down.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

from cases import Case, broken_cases, cases
from checking import check
from hypothesis import HealthCheck, Phase, given, seed, settings
from malformed import FAULTS, check_refusal

FOUND = Path("build/fuzz")
ROUND = 200
"""Cases that are drawn with one seed; the next round takes the next."""


def once(case: Case) -> str:
    """Any exception is a finding."""
    return check_refusal(case) if "faults" in case else check(case)


def place_of(first: int) -> Path:
    """Where the search that began with this seed writes its cases."""
    FOUND.mkdir(parents=True, exist_ok=True)
    return FOUND / f"{first}.json"


def search(minutes: float, first: int) -> None:
    """Run rounds of cases until the time is over; the first finding, made small, ends it."""
    end, number, ends = time.monotonic() + 60 * minutes, first, Counter[str]()
    place = place_of(first)
    while time.monotonic() < end:

        def one(case: Case) -> None:
            place.write_text(json.dumps(case))
            if time.monotonic() < end + 60:
                ends[once(case)] += 1

        strategy = cases() if number % 4 else broken_cases(list(FAULTS))
        checks = list(HealthCheck)
        phases = (Phase.generate, Phase.shrink)
        quiet = settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=checks,
            derandomize=False,
            report_multiple_bugs=False,
        )
        seed(number)(quiet(given(strategy)(one)))()
        number += 1
    print(
        f"{ends.total()} cases from seed {first}:", ", ".join(f"{name} {count}" for name, count in ends.most_common())
    )


def watch(command: list[str], first: int) -> int:
    """Run the command, the search that begins with this seed; say what it was at where it ends badly."""
    code = subprocess.run(command, check=False).returncode
    if code:
        place = place_of(first)
        print(f"exit code {code}, seed {first}; the last case, in {place}:\n{place.read_text()}", file=sys.stderr)
    return int(code != 0)


def main() -> int:
    """Watch over the search."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="of the first round; drawn where it is not given")
    parser.add_argument("--again", type=Path, default=None, help="a case that was written down")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.again is not None:
        print(once(json.loads(said.again.read_text())))
        return 0
    first = random.SystemRandom().randrange(10**6) if said.seed is None else said.seed
    if said.inside:
        warnings.simplefilter("ignore")  # of PyTorch, about kinds of tensors that are drawn to be refused
        search(said.minutes, first)
        return 0
    inside = [sys.executable, "-X", "faulthandler", __file__, "--inside", "--minutes", str(said.minutes)]
    return watch([*inside, "--seed", str(first)], first)


if __name__ == "__main__":
    sys.exit(main())
