"""Keys, links that lead back, languages, light and dark."""

from __future__ import annotations

import re

import pytest
from page_numbers import PLACE

expect = pytest.importorskip("playwright.sync_api", reason="needs: pip install playwright").expect


def state(page) -> dict[str, str]:
    """What the address says after its #."""
    return dict(part.split("=", 1) for part in page.url.partition("#")[2].split("&"))


def press(page, *keys: str) -> None:
    """One key after another."""
    for key in keys:
        page.keyboard.press(key)


def test_arrows_and_heads(visit, anywhere):
    page = visit(anywhere + PLACE)
    press(page, "ArrowDown", "ArrowRight", "ArrowRight")
    expect(page.locator(".sentence .query")).to_have_text("was")
    press(page, "[", "{", "Shift+ArrowUp")
    said = state(page)
    assert [said[name] for name in ("layer", "head", "query", "key")] == ["4", "10", "1", "4"]
    press(page, "]", "}")
    assert (state(page)["layer"], state(page)["head"]) == ("5", "11")


def test_keys_of_the_map(visit, anywhere):
    page = visit(anywhere + PLACE, "told")
    press(page, "2")
    page.wait_for_selector(".badge")
    press(page, "m", "s")
    assert (state(page)["statistic"], state(page)["hide"]) == ("max", "0")
    press(page, "+")
    page.wait_for_url(re.compile("at="))
    before = float(state(page)["at"].split("_")[2])
    press(page, "-")
    expect(page).not_to_have_url(re.compile(f"_{before:.4g}"))
    assert float(state(page)["at"].split("_")[2]) == pytest.approx(before / 2, rel=0.6)
    press(page, "/")
    expect(page.locator("#token-search")).to_be_focused()


def test_go_to_a_pair(visit, anywhere):
    page = visit(anywhere + PLACE)
    press(page, "g")
    page.get_by_label("Query (row)", exact=True).last.fill("7")
    page.get_by_label("Key (column)", exact=True).last.fill("3")
    press(page, "Enter")
    expect(page.locator(".sentence .query")).to_have_text("the")
    assert state(page)["key"] == "3"


def test_help_lists_the_keys_and_closes(visit, anywhere):
    page = visit(anywhere)
    press(page, "?")
    expect(page.get_by_role("dialog")).to_contain_text("previous, next layer")
    press(page, "Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_typing_is_not_a_command(visit, live):
    page = visit(live + PLACE)
    page.get_by_role("textbox", name="Text").focus()
    press(page, "m", "[", "2")
    assert "view=map" not in page.url
    assert state(page)["head"] == "11"


def test_a_link_leads_back(visit, anywhere):
    link = (
        f"{anywhere}#view=map&layer=3&head=4&query=6&key=9&statistic=max&scale=linear&palette=cividis&hide=0&at=8_8_70"
    )
    page = visit(link, "map")
    expect(page.locator(".line.chosen")).to_contain_text("cross")
    expect(page.get_by_role("button", name="Max", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Linear", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("Palette")).to_have_value("cividis")
    expect(page.get_by_label("Hide sink and diagonal")).not_to_be_checked()
    expect(page.locator(".inspector .tok.key").first).to_have_text("because")


def test_a_malformed_link_is_no_harm(visit, anywhere):
    page = visit(f"{anywhere}#view=cellar&layer=99&head=-3&query=1e9&key=x&at=a_b_c&__proto__=1")
    expect(page.locator(".sentence")).to_contain_text("%")


def test_views_are_steps_of_the_back_button(visit, live):
    page = visit(live + PLACE)
    page.get_by_role("button", name="Map", exact=True).click()
    page.wait_for_selector(".badge")
    page.go_back()
    page.wait_for_selector(".strip")


def test_language_and_light_are_kept(visit, live):
    page = visit(live)
    page.get_by_role("button", name="中文").click()
    expect(page.locator(".sentence")).to_contain_text("主要看向")
    page.get_by_role("button", name=re.compile("浅色或深色")).click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.goto(live)
    expect(page.locator(".sentence")).to_contain_text("主要看向")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_systems_choice_holds_until_another_is_made(visit, anywhere):
    page = visit(anywhere, color_scheme="dark", locale="zh-CN")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator(".sentence")).to_contain_text("主要看向")
