"""What the server answers equals what `rg.steps`, `Look` and `watch` say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import regard as rg
from explain import small
from explorer.asking import Page
from regard import data
from regard.explain.seeing import Asked, run
from regard.explorer.desk import Desk
from regard.explorer.tiles import Tiles, zooms
from regard.huggingface import watch
from regard.looking.shown import of_looks

TEXT = small.SENTENCE
KINDS = ("bert", "llama", "gemma2")


def asked_of(place: Path) -> tuple[list[Asked], torch.Tensor]:
    """The model run once more, by itself."""
    loaded = data.load(str(place))
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    seen: list[Asked] = []
    run(loaded, ids, seen.append)
    return seen, ids


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_the_library(page: Page, places: dict[str, Path], kind: str) -> None:
    name = page.read(TEXT, kind)
    asked, _ = asked_of(places[kind])
    layer, head, query = 1, 3, 5
    told = page.get(f"api/runs/{name}/steps/{layer}/{head}/{query}")
    one = asked[layer].call
    steps = rg.steps(one.query, one.key, one.value, one.rule, query_start=one.query_start, key_start=one.key_start)
    shared = head // (one.query.shape[1] // one.key.shape[1])
    expected = {
        "q": steps.query[0, head, query],
        "k": steps.key[0, shared],
        "v": steps.value[0, shared],
        "dot": steps.key[0, shared] @ steps.query[0, head, query],
        "score": steps.score[0, head, query],
        "weights": steps.weights[0, head, query],
        "out": steps.out[0, head, query],
        "weights_all": steps.weights[0, head],
    }
    for field, numbers in expected.items():
        assert_close(torch.tensor(told[field]), numbers, rtol=1e-4, atol=1e-5, msg=field)
    assert told["visible"] == steps.visible[0, head, query].tolist()
    assert told["rule"] == repr(one.rule)
    assert told["bias"] is None
    assert told["lse"] == pytest.approx(float(steps.lse[0, head, query]), rel=1e-4)  # type: ignore[index]
    assert told["check"]["sum"] == pytest.approx(1, abs=1e-6)
    assert told["check"]["difference"] < 1e-4
    if kind != "gemma2":  # whose scores are capped after the scale
        product = torch.tensor(told["dot"]) * told["scale"]
        assert_close(product[told["visible"]], torch.tensor(told["score"])[told["visible"]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ("bert", "llama"))
def test_measures_are_those_of_watch(page: Page, places: dict[str, Path], kind: str) -> None:
    name = page.read(TEXT, kind)
    loaded = data.load(str(places[kind]))
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad(), watch(loaded.model) as seen:
        loaded.model(input_ids=ids)
    told = {one["name"]: one for one in page.get(f"api/runs/{name}/heads")["measures"]}
    columns = {"effective": "effective_keys"}
    for line in seen.table():
        for measure in (
            "entropy",
            "effective",
            "maximum",
            "distance",
            "previous",
            "next",
            "same",
            "sink",
            "local",
            "duplicate",
            "induction",
        ):
            expected = line[columns.get(measure, measure)]
            found = told[measure]["values"][line["layer"]][line["head"]]
            assert found == pytest.approx(expected or 0.0, rel=1e-3, abs=1e-5), (measure, line["layer"], line["head"])
    assert all(one["title"] and one["meaning"] and one["low"] < one["high"] for one in told.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_and_a_pair(page: Page, places: dict[str, Path], kind: str) -> None:
    name = page.read(TEXT, kind)
    asked, ids = asked_of(places[kind])
    layer, head, query, key = 2, 1, 7, 4
    one = asked[layer].call
    seen = rg.look(one.query, one.key, one.rule, query_start=one.query_start, key_start=one.key_start)
    weights = rg.weights(one.query, one.key, one.rule, query_start=one.query_start, key_start=one.key_start)[0, head]
    told = page.get(f"api/runs/{name}/heads/{layer}/{head}")
    for field, numbers in (("entropy", seen.entropy()), ("received", seen.received()), ("maximum", seen.maximum())):
        assert_close(torch.tensor(told[field]), numbers[0, head], rtol=1e-4, atol=1e-5)
    sinks = told["sink_keys"]
    assert told["hidden"]["sink"] == pytest.approx(float(weights[:, sinks].sum() / weights.sum()), abs=1e-5)
    others = weights.diagonal().sum() - weights.diagonal()[sinks].sum()
    assert told["hidden"]["diagonal"] == pytest.approx(float(others / weights.sum()), abs=1e-5)
    for part in told["profile"]:
        there = [
            float(weights.diagonal(far).sum())
            for far in range(part["distance_from"], part["distance_to"] + 1)
            if abs(far) < len(weights)
        ]
        assert part["share"] == pytest.approx(sum(there) / float(weights.sum()), abs=1e-5)
    assert sum(part["share"] for part in told["profile"]) == pytest.approx(1, abs=1e-5)

    pair = page.get(f"api/runs/{name}/pairs/{layer}/{head}/{query}/{key}")
    row = weights[query]
    assert pair["weight"] == pytest.approx(float(row[key]), rel=1e-4, abs=1e-6)
    assert pair["rank"] == 1 + sum(float(other) > float(row[key]) for other in row)
    assert pair["keys"] == int((row > 0).sum()) == {"bert": 15, "llama": query + 1, "gemma2": 4}[kind]
    assert pair["entropy"] == pytest.approx(float(seen.entropy()[0, head, query]), rel=1e-4, abs=1e-5)
    assert [one["key"] for one in pair["top"]] == [
        int(k) for k in row.argsort(descending=True, stable=True)[:8] if row[k] > 0
    ]
    covered = sum(one["weight"] for one in pair["top"])
    assert covered + pair["uncovered"] == pytest.approx(float(row.sum()), abs=1e-6)
    assert ids.shape[1] == page.get(f"api/runs/{name}")["tokens"] == len(page.get(f"api/runs/{name}/tokens")["tokens"])


def test_the_telling_head_is_that_of_explain(page: Page, places: dict[str, Path]) -> None:
    from regard.explain import explain

    name = page.read(TEXT)
    told, shown = page.get(f"api/runs/{name}/heads")["telling"], explain(data.load(str(places["bert"])), TEXT).choice
    assert [told[field] for field in ("layer", "head", "query", "key")] == [
        shown.layer,
        shown.head,
        shown.query,
        shown.key,
    ]
    pair = page.get(f"api/runs/{name}/pairs/{told['layer']}/{told['head']}/{told['query']}/{told['key']}")
    assert told["weight"] == pytest.approx(pair["weight"], rel=1e-4)


def pooled(weights: torch.Tensor, side: int, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """A tile by hand: 256 × 256 cells of side × side pairs."""
    mean, greatest = (np.full((256, 256), np.nan, np.float32) for _ in range(2))
    for i in range(256):
        for j in range(256):
            y, x = (row * 256 + i) * side, (column * 256 + j) * side
            cell = weights[y : y + side, x : x + side]
            if cell.numel():
                mean[i, j], greatest[i, j] = float(cell.double().mean()), float(cell.max())
    return mean, greatest


LENGTH = 1201
"""Prime, so that the last tiles hold a part of the text, and zoom 3 is not made with the others."""


@pytest.fixture(scope="module")
def long() -> rg.Look:
    torch.manual_seed(0)
    query, key = (torch.randn(heads, LENGTH, 7) * 2 for heads in (3, 1))
    return rg.look(query, key, rg.causal())


@pytest.mark.parametrize(
    ("zoom", "x", "y"), [(0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 2, 2), (3, 0, 4), (3, 4, 4), (3, 7, 7)]
)
def test_tiles_are_true_pools(page: Page, desk: Desk, long: rg.Look, zoom: int, x: int, y: int) -> None:
    shown = of_looks([long])
    desk.add(shown)
    assert zooms(LENGTH) == 3
    weights = long.rows(range(LENGTH))[2]
    mean, greatest = pooled(weights, 1 << (3 - zoom), y, x)
    base = f"api/runs/{shown.id}/tiles/0/2"
    np.testing.assert_allclose(page.tile(f"{base}/mean/{zoom}/{x}/{y}"), mean, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(page.tile(f"{base}/max/{zoom}/{x}/{y}"), greatest, rtol=1e-4, atol=1e-7)
    found = page.client.get(f"{base}/mean/{zoom}/{x}/{y}")
    assert found.headers["server-timing"].startswith("tile;dur=")
    assert found.headers["regard-exact"] == "exact"
    assert "immutable" in found.headers["cache-control"]
    again = page.client.get(f"{base}/mean/{zoom}/{x}/{y}", headers={"if-none-match": found.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_tile_of_other_numbers_is_another(page: Page, desk: Desk) -> None:
    """The comparison above can fail."""
    query, key = (torch.randn(1, 601, 5) * 3 for _ in range(2))
    shown = of_looks([rg.look(query, key)])
    desk.add(shown)
    tile = page.tile(f"api/runs/{shown.id}/tiles/0/0/mean/2/0/0")
    other = rg.look(query, key * 1.1).rows(range(601))[0, :256, :256]
    assert np.nanmax(np.abs(tile - other.numpy())) > 1e-2


@pytest.mark.parametrize(("length", "last"), [(1, 0), (256, 0), (257, 1), (512, 1), (513, 2), (8000, 5), (32768, 7)])
def test_zooms(length: int, last: int) -> None:
    assert zooms(length) == last


def test_tiles_are_kept_within_a_bound(long: rg.Look) -> None:
    shown = of_looks([long])
    most = 3 << 20
    tiles = Tiles(most)
    from regard.explorer.tiles import Place

    sizes = []
    for x in range(5):
        for y in range(5):
            tiles.tile("a", shown.sights[0], Place(0, 1, "mean", 3, x, y))
            sizes.append(tiles.bytes)
    assert max(sizes) <= most
    assert sizes[-1] > most // 2
    tiles.forget("b")
    assert tiles.bytes == sizes[-1]
    tiles.forget("a")
    assert tiles.bytes == 0
