"""The examples in the documents run, top to bottom, as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "name",
    [
        *("README.md", "docs/conventions.md", "docs/layers.md", "docs/approximations.md", "docs/watch.md"),
        "docs/explore.md",
    ],
)
def test_python_blocks_run(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S))
    assert blocks, f"{name} has no example"
    names: dict[str, object] = {}
    for block in blocks:
        line = text[: block.start()].count("\n") + 1
        exec(compile("\n" * line + block[1], str(ROOT / name), "exec"), names)


def test_pictures_and_files_that_are_named_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (ROOT / target).exists(), f"README.md names {target}, which is not there"
