"""A real Chromium, a real server, and a page saved by the command; whatever leaves this machine is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_server import TEXT, Server

from regard import bundle

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is here needs a browser and the built page."""
    reason = None
    if CHROMIUM is None:
        reason = "needs Chromium (Debian: apt-get install chromium)"
    elif not bundle.built():
        reason = "needs the built page: make page"
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def live() -> Iterator[str]:
    """The address of a server that has read the example."""
    server = Server(TEXT)
    yield server.address
    server.stop()


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the same example as one file."""
    path = tmp_path_factory.mktemp("saved") / "page.html"
    command = [sys.executable, "-m", "regard", "explain", TEXT, "--save", str(path)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return path.as_uri()


@pytest.fixture(params=["live", "saved"])
def anywhere(request: pytest.FixtureRequest) -> str:
    """The page as served, and as saved."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for all tests of a worker."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs: pip install playwright")
    playwright.expect.set_options(timeout=30_000)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open an address in a fresh profile; at the end, nothing was asked of the network and no script failed."""
    contexts, foreign, failures = [], [], []

    def gate(route: Any) -> None:
        if route.request.url.startswith(("http://127.0.0.1:", "file:", "blob:", "data:")):
            route.continue_()
        else:
            foreign.append(route.request.url)
            route.abort()

    def opened(address: str, view: str | None = "told", **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.route("**/*", gate)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", lambda said: "Content Security" in said.text and failures.append(said.text))
        page.goto(address)
        if view is not None:
            page.wait_for_selector({"told": ".strip", "map": ".badge", "compare": ".sides"}[view])
        return page

    yield opened
    for context in contexts:
        context.close()
    assert foreign == []
    assert failures == []
