"""The saved page within a notebook: a frame with no address, no storage and no server."""

from __future__ import annotations

import html
from pathlib import Path
from urllib.parse import urlparse

import pytest
import torch
from page_numbers import PLACE, agrees

import regard as rg

expect = pytest.importorskip("playwright.sync_api", reason="needs: pip install playwright").expect


def test_a_notebooks_frame_holds_the_whole_page(visit, saved, tmp_path):
    inner = html.escape(Path(urlparse(saved).path).read_text(), quote=True)
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f'<iframe width="1100" height="760" sandbox="allow-scripts" srcdoc="{inner}"></iframe>')
    frame = visit(notebook.as_uri() + PLACE, None).frame_locator("iframe")
    expect(frame.locator(".sentence")).to_contain_text("%")
    frame.get_by_role("button", name="Map", exact=True).click()
    expect(frame.locator(".badge")).to_have_text("exact")
    frame.get_by_role("button", name="中文").click()
    expect(frame.locator(".badge")).to_have_text("精确")


def test_a_look_in_a_notebook_has_the_looks_numbers(visit, tmp_path):
    torch.manual_seed(0)
    query, key = 3 * torch.randn(2, 2, 13, 5)
    look = rg.look(query, key, rg.causal())
    notebook = tmp_path / "look.html"
    notebook.write_text(look._repr_html_())
    frame = visit(notebook.as_uri(), None).frame_locator("iframe")
    expect(frame.locator(".sentence")).to_contain_text("%")
    chosen = [int(select.input_value()) for select in frame.locator(".choice select").all()]
    row = int(frame.locator(".sentence .query").inner_text())
    cells = frame.locator('table[data-name="row"] tbody data').all_text_contents()
    true = look.rows([row])[chosen[1], 0]
    assert all(agrees(text, float(w)) for text, w in zip(cells, true, strict=True))
    assert frame.locator(".place.masked").count() == 12 - row
