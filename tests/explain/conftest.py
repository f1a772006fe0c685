from __future__ import annotations

from pathlib import Path

import pytest

from explain import small
from regard import data
from regard.explain import Explanation, Wish, explain


@pytest.fixture(scope="session", params=["bert", "llama"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="session")
def told(place: Path) -> Explanation:
    return explain(data.load(str(place)), small.SENTENCE, Wish())
