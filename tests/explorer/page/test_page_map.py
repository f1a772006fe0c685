"""Map: cells, what is hidden, the list, the matrix, the inspector, and tables in place of pictures."""

from __future__ import annotations

import re

import pytest
import torch
from page_numbers import HEAD, KEY, LAYER, PLACE, QUERY, agrees, number, shown, steps_of

import regard as rg
from regard.looking.page import whole
from regard.looking.shown import of_looks

expect = pytest.importorskip("playwright.sync_api", reason="needs: pip install playwright").expect
MAP = f"{PLACE}&view=map"
LONG = " ".join(f"The {name} saw river number {index}." for index, name in enumerate(["fox", "owl", "bee"] * 13))


def looked() -> rg.Look:
    """What `rg.look` says of the head on the page."""
    steps = steps_of(LAYER, HEAD)
    return rg.look(steps.query.float(), steps.key.float())


def test_the_pair_is_that_of_look(visit, anywhere):
    page = visit(anywhere + MAP, "map")
    page.wait_for_selector('data[data-name="pair-weight"]')
    seen = looked()
    assert agrees(shown(page, "pair-weight"), float(seen.rows([QUERY])[0, 0, KEY]))
    assert agrees(shown(page, "pair-entropy"), float(seen.entropy()[0, QUERY]))
    assert agrees(shown(page, "pair-score"), float(steps_of(LAYER, HEAD).score[0, QUERY, KEY]))
    row = seen.rows([QUERY])[0, 0]
    expect(page.locator('[data-name="pair-rank"]')).to_have_text(f"{1 + int((row > row[KEY]).sum())} of 16")
    top = page.locator(".top-table tbody tr td:last-child").all_inner_texts()
    shares = [number(text.removesuffix(" %").removeprefix("<")) for text in top]
    assert len(shares) == 9
    assert abs(sum(shares) - 100) < 0.5


@pytest.mark.parametrize(("query", "key", "says"), [(3, 1, "{rank} of 4"), (3, 5, None)])
def test_the_rank_is_among_the_keys_that_the_row_sees(visit, tmp_path, query, key, says):
    torch.manual_seed(0)
    seen = rg.look(torch.randn(1, 11, 5) * 2, torch.randn(1, 11, 5) * 2, rg.causal())
    (tmp_path / "look.html").write_text(whole(of_looks([seen])), encoding="utf-8")
    page = visit(f"{(tmp_path / 'look.html').as_uri()}#view=map&layer=0&head=0&query={query}&key={key}", "map")
    page.wait_for_selector('data[data-name="pair-weight"]')
    row = seen.rows([query])[0, 0]
    found = page.locator('[data-name="pair-rank"]')
    if says is None:
        expect(page.locator(".facts")).to_contain_text("masked")
        expect(found).to_have_count(0)
    else:
        expect(found).to_have_text(says.format(rank=1 + int((row > row[key]).sum())))
    expect(page.locator(".top-table tbody tr")).to_have_count(query + 2)


def test_the_profile_is_that_of_look(visit, anywhere):
    page = visit(anywhere + MAP, "map")
    said = page.locator(".profile svg").get_attribute("aria-label")
    weights = looked().rows(list(range(16)))[0].double()
    bins = re.findall(r"([−+\d]+) to ([−+\d]+): <?([\d.]+) %", said)
    assert [(number(first), number(last)) for first, last, _ in bins[3:6]] == [(-1, -1), (0, 0), (1, 1)]
    for first, last, share in bins:
        far = range(int(number(first)), int(number(last)) + 1)
        assert abs(number(share) - 100 / 16 * sum(float(weights.diagonal(one).sum()) for one in far)) < 0.0501
    page.locator(".profile svg g").nth(4).hover()
    expect(page.locator(".profile .ends")).to_contain_text("0 to 0")


def test_every_cell_of_the_table_is_that_of_look(visit, anywhere):
    page = visit(anywhere + MAP, "map")
    cells = page.locator(".grid-table tbody td").all_text_contents()
    rows = looked().rows(list(range(16)))[0].double().flatten()
    assert len(cells) == 256
    assert all(abs(float(cell) - 100 * float(w)) <= 0.0501 for cell, w in zip(cells, rows, strict=True))


def test_what_is_hidden_is_stated(visit, anywhere):
    page = visit(anywhere + MAP, "map")
    weights = looked().rows(list(range(16)))[0].double()
    sink = float(weights[:, 0].sum()) / 16
    diagonal = float(weights.diagonal()[1:].sum()) / 16
    said = page.locator('[data-name="hidden"]').inner_text()
    found = re.fullmatch(r"([\d.]+) % hidden: sink ([\d.]+) % \(\[CLS\]\), diagonal ([\d.]+) %", said)
    assert found, said
    for text, share in zip(found.groups(), (sink + diagonal, sink, diagonal), strict=True):
        assert abs(float(text) - 100 * share) < 0.051
    page.keyboard.press("s")
    expect(page.locator('[data-name="hidden"]')).to_contain_text("nothing hidden")


def test_a_cell_has_the_colour_of_its_weight(visit, anywhere):
    page = visit(f"{anywhere}{MAP}&hide=0&scale=linear", "map")
    page.wait_for_selector('data[data-name="pair-weight"]')
    page.wait_for_timeout(300)
    pixels = page.evaluate(
        """() => {
            const canvas = document.querySelector('.map-box canvas');
            const ratio = canvas.width / canvas.clientWidth;
            const n = 16, left = 112, top = 92;
            const k = Math.min((canvas.clientWidth - left) / n, (canvas.clientHeight - top) / n);
            const x0 = left + (canvas.clientWidth - left - n * k) / 2;
            const y0 = top + (canvas.clientHeight - top - n * k) / 2;
            const at = (i, j) => [...canvas.getContext('2d').getImageData(
                (x0 + (j + 0.4) * k) * ratio, (y0 + (i + 0.4) * k) * ratio, 1, 1).data].slice(0, 3);
            return Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => at(i, j)));
        }"""
    )
    weights = looked().rows(list(range(16)))[0]
    darkest, brightest = divmod(int(weights.argmin()), 16), divmod(int(weights.argmax()), 16)
    assert pixels[darkest[0]][darkest[1]][1] < 30  # viridis begins at (68, 1, 84) and ends at (253, 231, 37)
    assert pixels[brightest[0]][brightest[1]] == pytest.approx([253, 231, 37], abs=3)


def test_another_head_by_a_click(visit, anywhere):
    page = visit(anywhere + MAP, "map")
    page.get_by_role("button", name=re.compile(r"^layer 2, head 3:")).click()
    expect(page.locator(".choice select").first).to_have_value("2")
    assert "layer=2&head=3" in page.url
    page.get_by_label("Measure").select_option("previous")
    assert "measure=previous" in page.url


def test_a_long_text(visit, live):
    page = visit(live + "#view=map", "map")
    page.get_by_role("textbox", name="Text").fill(LONG)
    page.get_by_role("button", name="Look").click()
    page.wait_for_selector(".parts")
    expect(page.locator(".badge")).to_be_visible()
    assert page.locator(".parts tbody tr").count() > 1
    assert 5 < page.locator(".lines .line").count() < 60  # of more than 300
    page.locator(".parts tbody button").nth(1).click()
    page.keyboard.press("/")
    page.keyboard.type("owl")
    page.keyboard.press("Enter")
    expect(page.locator(".line.chosen")).to_contain_text("owl")
    assert "of 13" in page.locator(".count").inner_text()
    page.get_by_role("button", name="Learn", exact=True).click()
    expect(page.get_by_role("button", name="Open the map")).to_be_visible()
