"""Compare: two texts side by side."""

from __future__ import annotations

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="needs: pip install playwright").expect


def test_the_first_visit_shows_a_contrast(visit, live):
    page = visit(live + "#view=compare", "compare")
    page.locator(".sides .mostly").nth(1).wait_for()
    assert [box.input_value()[-6:] for box in page.get_by_role("textbox", name="Text").all()] == ["tired.", " wide."]
    page.locator(".measures tbody tr").first.wait_for()
    cells = page.locator(".measures tbody tr").first.locator("td").all_inner_texts()
    left, right, difference = (float(cell.replace("−", "-")) for cell in cells)
    assert difference == pytest.approx(right - left, abs=2e-3)
    assert difference != 0


def test_another_text_on_the_right(visit, live):
    page = visit(live + "#view=compare", "compare")
    page.locator(".sides .strip").nth(1).wait_for()
    right = page.locator(".sides > section").nth(1)
    right.get_by_role("textbox").fill("Birds sing.")
    right.get_by_role("button", name="Look").click()
    expect(right.locator(".word").nth(1)).to_have_text("Birds")
    expect(page.locator(".sides > section").nth(0).locator(".word").nth(2)).to_have_text("animal")
