"""For every reader: axe-core finds nothing, at 200 % and on a phone nothing is cut off, motion can be off."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse

import pytest
from page_numbers import PLACE

AXE = Path(__file__).parents[3] / "page" / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = [("learn", "told"), ("map", "map"), ("compare", "compare")]


def violations(page) -> list[str]:
    """What axe-core finds, each in a line."""
    if not AXE.is_file():
        pytest.skip("needs axe-core: make page")
    page.wait_for_timeout(400)
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    )
    return [
        f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for each in found["violations"]
        for node in each["nodes"][:3]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("view", "ready"), VIEWS)
def test_axe_finds_nothing(visit, anywhere, view, ready, scheme):
    page = visit(f"{anywhere}{PLACE}&view={view}", ready, color_scheme=scheme)
    if view == "compare" and anywhere.startswith("http"):
        page.locator(".sides .mini").nth(1).wait_for()
    for summary in page.locator("summary").all():
        summary.click()
    assert violations(page) == []


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_axe_finds_nothing_in_the_help(visit, live, lang):
    page = visit(f"{live}#lang={lang}")
    page.keyboard.press("?")
    assert violations(page) == []


def test_axe_can_find_something(visit, live):
    page = visit(live)
    page.evaluate(
        "document.querySelector('.ask textarea').closest('label').replaceWith(document.createElement('textarea'))"
    )
    assert any(line.startswith("label") for line in violations(page))


@pytest.mark.parametrize(("view", "ready"), VIEWS)
@pytest.mark.parametrize("width", [640, 360], ids=["200 %", "phone"])
def test_nothing_is_cut_off(visit, anywhere, view, ready, width):
    page = visit(f"{anywhere}{PLACE}&view={view}", ready, viewport={"width": width, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_motion_can_be_off(visit, live):
    moving = "getComputedStyle(document.querySelector('.strip .fill')).transitionDuration"
    assert visit(live).evaluate(moving) != "0s"
    assert visit(live, reduced_motion="reduce").evaluate(moving) == "0s"


def test_all_can_be_reached_by_keys(visit, live):
    page = visit(live + PLACE)
    page.locator("h1").click()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className + ' ' + document.activeElement.tagName"))
    for part in ("bar BUTTON", "word BUTTON", "primary BUTTON", " TEXTAREA", " SUMMARY", " INPUT"):
        assert part in reached, (part, reached)


def test_licences_travel_with_the_code(visit, live, saved):
    page = visit(live)
    assert page.get_by_role("link", name="Licences").get_attribute("href") == "licences.txt"
    told = page.evaluate("fetch('licences.txt').then((answer) => answer.text())")
    inside = Path(urlparse(saved).path).read_text()
    for name in ("preact", "d3-zoom", "d3-scale-chromatic"):
        assert f"\n{name} " in told
        assert f"\n{name} " in inside
