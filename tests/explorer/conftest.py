from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from explain import small
from explorer.asking import Page
from regard import bundle
from regard.explorer.desk import Desk
from regard.explorer.models import Model, Models
from regard.explorer.server import Served


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny encoder and a tiny decoder."""
    return {kind: small.write(tmp_path_factory.mktemp(kind), kind) for kind in ("bert", "llama", "gemma2")}


@pytest.fixture
def models(places: dict[str, Path]) -> Models:
    return Models([Model(name, name) for name in places], {name: str(path) for name, path in places.items()})


@pytest.fixture
def desk(models: Models) -> Iterator[Desk]:
    made = Desk(models)
    yield made
    made.stop()


@pytest.fixture
def page(desk: Desk) -> Iterator[Page]:
    """A real server on this machine, and a client of it."""
    served = Served(desk)
    thread = threading.Thread(target=served.run)
    thread.start()
    with httpx2.Client(base_url=served.url, timeout=60) as client:
        yield Page(client, served)
    served.stop()
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "PLACE", tmp_path / "nothing")


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page that TypeScript could have made, in five lines."""
    place = tmp_path / "static"
    place.mkdir()
    marks = f"<head>{bundle.HEAD}{bundle.STYLE}</head><body>{bundle.SCRIPT}</body>"
    (place / "index.html").write_text(f"<!doctype html><html>{marks}</html>", encoding="utf-8")
    (place / "page.js").write_text("console.log('é')", encoding="utf-8")
    (place / "page.css").write_text("body{margin:0}", encoding="utf-8")
    monkeypatch.setattr(bundle, "PLACE", place)
    return place
