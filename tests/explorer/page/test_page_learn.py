"""Learn: what a newcomer sees, that its numbers are the library's own, and what-ifs."""

from __future__ import annotations

import math
import re

import pytest
import torch
from page_numbers import HEAD, KEY, LAYER, PLACE, QUERY, agrees, number, shown, steps_of
from page_server import TEXT

expect = pytest.importorskip("playwright.sync_api", reason="needs: pip install playwright").expect


def test_a_newcomer_finds_a_text_one_sentence_and_what_to_do(visit, anywhere):
    page = visit(anywhere)
    assert page.get_by_role("textbox").first.input_value() == TEXT
    sentence = page.locator(".sentence").inner_text()
    assert re.fullmatch(r"In layer \d+, head \d+, \S+ looks mostly at \S+: [\d.]+ % of its attention\.", sentence)
    assert "Click a word to ask from it" in page.locator(".told").inner_text()
    assert "Weights are not explanations" in page.locator("footer").inner_text()
    assert page.locator(".step").count() == 6


def test_numbers_are_those_of_steps(visit, anywhere):
    page = visit(anywhere + PLACE)
    steps = steps_of(LAYER, HEAD)
    q, k = steps.query[0, QUERY], steps.key[0, KEY]
    assert agrees(shown(page, "dot"), float(q @ k))
    assert agrees(shown(page, "score"), float(steps.score[0, QUERY, KEY]))
    assert agrees(shown(page, "masked"), float(steps.masked[0, QUERY, KEY]))
    assert agrees(shown(page, "lse"), float(steps.lse[0, QUERY]))
    assert agrees(shown(page, "weight"), float(steps.weights[0, QUERY, KEY]))
    assert number(shown(page, "sum")) == 1
    assert number(shown(page, "difference")) < 1e-5


def test_every_row_of_the_tables_is_that_of_steps(visit, anywhere):
    page = visit(anywhere + PLACE)
    steps = steps_of(LAYER, HEAD)
    weights = page.locator('table[data-name="row"] tbody data').all_text_contents()
    assert len(weights) == 16
    assert all(agrees(text, float(w)) for text, w in zip(weights, steps.weights[0, QUERY], strict=True))
    out = page.locator('[data-name="out"] data').all_text_contents()
    assert len(out) == 32
    scale = float(steps.out.abs().max())
    assert all(abs(number(text) - float(o)) < 1e-3 * scale for text, o in zip(out, steps.out[0, QUERY], strict=True))
    vectors = page.locator('table[data-name="vectors"] tbody tr').all()
    cells = [number(row.locator("td").nth(2).text_content()) for row in vectors]
    assert math.isclose(sum(cells), float(steps.query[0, QUERY] @ steps.key[0, KEY]), rel_tol=1e-3)


def test_another_head_has_other_numbers(visit, live):
    page = visit(live + PLACE.replace("head=11", "head=7"))
    assert not agrees(shown(page, "weight"), float(steps_of(LAYER, HEAD).weights[0, QUERY, KEY]))


def test_a_click_asks_from_a_word_and_pointing_tells_of_a_key(visit, anywhere):
    page = visit(anywhere + PLACE)
    page.get_by_role("button", name="Query (row): street").click()
    expect(page.locator(".sentence .query")).to_have_text("street")
    page.locator(".place").nth(13).hover()
    expect(page.locator("#step-1 .tok.key")).to_have_text("tired")
    assert agrees(shown(page, "weight"), float(steps_of(LAYER, HEAD).weights[0, 8, 13]))


def test_the_small_map_marks_the_row(visit, live):
    page = visit(live + PLACE)
    row, canvas = (page.locator(f".mini {each}").bounding_box() for each in (".frame-row", "canvas"))
    assert math.isclose((row["y"] - canvas["y"]) / canvas["height"], QUERY / 16, abs_tol=0.01)
    page.locator(".mini canvas").click(position={"x": canvas["width"] * 4.5 / 16, "y": canvas["height"] * 6.5 / 16})
    expect(page.locator(".sentence .query")).to_have_text("cross")


def test_half_the_temperature(visit, anywhere):
    page = visit(anywhere + PLACE)
    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".ghost", state="attached")
    warm = torch.softmax(steps_of(LAYER, HEAD).masked[0, QUERY] * 2, -1)
    expect(page.locator('data[data-name="weight"]').first).not_to_have_text(
        f"{steps_of(LAYER, HEAD).weights[0, QUERY, KEY]:.4f}"
    )
    assert agrees(shown(page, "weight"), float(warm[KEY]))


def test_a_dropped_token_changes_the_output(visit, live):
    page = visit(live + PLACE)
    page.get_by_label("animal were not there").check()
    page.wait_for_selector(".effect")
    assert number(page.locator('data[data-name="changed"]').get_attribute("value")) > 0.01
    assert "masked" in page.locator(".place").nth(KEY).get_attribute("class")
    page.get_by_role("button", name="Reset").click()
    page.wait_for_selector(".effect", state="detached")


def test_a_silent_head_and_nothing_masked(visit, live):
    page = visit(live + PLACE)
    page.get_by_label("this head were silent").check()
    page.wait_for_selector('data[data-name="changed"]')
    page.get_by_label("this head were silent").uncheck()
    page.get_by_label("nothing were masked").check()
    page.wait_for_selector(".effect, .whatif .error")


def test_a_saved_page_says_why_it_can_not_ask_the_model(visit, saved):
    page = visit(saved + PLACE)
    assert page.get_by_label("this head were silent").is_disabled()
    assert "needs the model" in page.locator(".whatif").inner_text()
    assert page.locator(".ask button").count() == 0


@pytest.mark.parametrize(("lang", "words"), [("en", "looks mostly at"), ("zh", "主要看向")])
def test_both_languages(visit, anywhere, lang, words):
    page = visit(f"{anywhere}#lang={lang}")
    assert words in page.locator(".sentence").inner_text()
    assert page.evaluate("document.documentElement.lang").startswith(lang)
