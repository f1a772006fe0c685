"""When something is wrong: one clear sentence, and a way on."""

from __future__ import annotations

import pytest
from page_server import TEXT, Server

expect = pytest.importorskip("playwright.sync_api", reason="needs: pip install playwright").expect


def test_a_refused_text(visit, live):
    page = visit(live)
    page.get_by_role("textbox", name="Text").fill("   ")
    with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        page.get_by_role("button", name="Look").click()
    assert answer.value.status == 400
    expect(page.get_by_role("alert")).to_contain_text("Not possible:")
    expect(page.locator(".strip")).to_be_visible()


def test_a_link_to_a_text_that_is_gone(visit, live):
    page = visit(live + "#run=00000000000000000000", None)
    expect(page.get_by_role("alert")).to_contain_text("no longer holds")
    page.get_by_role("textbox", name="Text").fill(TEXT)
    page.get_by_role("button", name="Look").click()
    page.wait_for_selector(".strip")


def test_a_lost_server(visit):
    server = Server(TEXT)
    page = visit(server.address)
    server.stop()
    page.get_by_role("button", name="Query (row): street").click()
    expect(page.locator(".gone")).to_contain_text("does not answer")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_a_saved_page_has_one_text(visit, saved):
    page = visit(saved + "#run=00000000000000000000", None)
    expect(page.get_by_role("alert")).to_be_visible()
