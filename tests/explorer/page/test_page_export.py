"""What is shown, as PNG, SVG and CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from page_numbers import HEAD, LAYER, PLACE, QUERY, steps_of


def downloaded(page, kind: str) -> bytes:
    """The file behind a button."""
    with page.expect_download() as download:
        page.get_by_role("button", name=kind, exact=True).click()
    assert download.value.suggested_filename.endswith(kind.lower())
    return Path(download.value.path()).read_bytes()


@pytest.mark.parametrize(("view", "ready"), [("learn", "told"), ("map", "map")])
def test_pictures(visit, anywhere, view, ready):
    page = visit(f"{anywhere}{PLACE}&view={view}", ready)
    png = downloaded(page, "PNG")
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") > 400
    svg = ElementTree.fromstring(downloaded(page, "SVG"))
    assert svg.tag.endswith("svg")
    said = "".join(svg.itertext())
    assert "layer 5, head 11" in said.lower()
    assert "animal" in said if view == "learn" else "% hidden" in said


def test_the_row_as_a_table(visit, anywhere):
    rows = list(csv.DictReader(io.StringIO(downloaded(visit(anywhere + PLACE), "CSV").decode())))
    steps = steps_of(LAYER, HEAD)
    assert [row["token"] for row in rows][:3] == ["[CLS]", "The", "animal"]
    assert [float(row["weight"]) for row in rows] == pytest.approx(steps.weights[0, QUERY].tolist(), rel=1e-4)
    assert [float(row["score"]) for row in rows] == pytest.approx(steps.score[0, QUERY].tolist(), rel=1e-4)


def test_the_map_as_a_table(visit, anywhere):
    page = visit(f"{anywhere}{PLACE}&view=map", "map")
    page.wait_for_timeout(300)
    rows = list(csv.DictReader(io.StringIO(downloaded(page, "CSV").decode())))
    assert len(rows) == 256
    weights = steps_of(LAYER, HEAD).weights[0]
    for row in rows:
        i, j = int(row["query_start"]), int(row["key_start"])
        assert float(row["mean"]) == pytest.approx(float(weights[i, j]), rel=1e-4)


def test_a_comparison(visit, live):
    page = visit(live + "#view=compare", "compare")
    page.locator(".sides .mini").nth(1).wait_for()
    assert b"<image" in downloaded(page, "SVG")
    rows = list(csv.DictReader(io.StringIO(downloaded(page, "CSV").decode())))
    assert all(float(row["left"]) != float(row["right"]) for row in rows if row["measure"] == "entropy")
