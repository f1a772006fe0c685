"""The page in one file: what it holds is what the server answers; what a notebook shows; words and models."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import regard as rg
from explain import small
from explorer.asking import Page
from regard import bundle, data
from regard.cli import main
from regard.errors import InputError, MissingError
from regard.explorer import save, segments
from regard.explorer.models import KNOWN, installed
from regard.huggingface import watch
from regard.looking import documents
from regard.looking.page import saved
from regard.looking.shown import STEPS, of_looks

TEXT = small.SENTENCE


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="saved">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    document: dict[str, Any] = json.loads(found.group(1))
    return document


def floats(said: str, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.frombuffer(base64.b64decode(said), "<f4").reshape(shape)


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_saved_page_holds_what_the_server_answers(
    page: Page, places: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    save(tmp_path / "page.html", data.load(str(places[kind])), TEXT)
    document = data_of((tmp_path / "page.html").read_text(encoding="utf-8"))
    run = page.read(TEXT, kind)
    base, count = f"api/runs/{run}", 15
    live = page.get(base)
    assert {**document["run"], "run": run, "model": kind} == live
    assert document["tokens"] == page.get(f"{base}/tokens")
    assert document["heads"] == page.get(f"{base}/heads")
    assert document["head"]["2/1"] == page.get(f"{base}/heads/2/1")
    assert set(document["head"]) == {f"{layer}/{head}" for layer in range(3) for head in range(4)}
    layer = document["layers"][2]
    steps = page.get(f"{base}/steps/2/3/7")
    kv, group = layer["kv_heads"], layer["heads"] // layer["kv_heads"]
    q, k = floats(layer["q"], 4, count, 8), floats(layer["k"], kv, count, 8)
    np.testing.assert_allclose(q[3, 7], steps["q"], rtol=1e-6)
    np.testing.assert_allclose(k[3 // group], steps["k"], rtol=1e-6)
    np.testing.assert_allclose(floats(layer["v"], kv, count, 8)[3 // group], steps["v"], rtol=1e-6)
    visible = np.ones((count, count), bool)
    if layer["visible"] is not None:
        visible = np.frombuffer(base64.b64decode(layer["visible"]), np.uint8).reshape(count, count).astype(bool)
    assert visible[7].tolist() == steps["visible"]
    weights = np.zeros((4, count, count), np.float32)
    weights[:, visible] = floats(layer["weights"], 4, int(visible.sum()))
    np.testing.assert_allclose(weights[3], steps["weights_all"], rtol=1e-5, atol=1e-7)
    score = (q[3, 7] @ k[3 // group].T * layer["scale"])[visible[7]]
    lse = floats(layer["lse"], 4, count)[3, 7]
    np.testing.assert_allclose(np.exp(score - lse), weights[3, 7][visible[7]], rtol=1e-3, atol=1e-6)
    assert max(layer["difference"]) < 1e-4
    assert str(places[kind]) not in json.dumps(document)


def test_a_saved_page_needs_nobody(built: Path, places: dict[str, Path], tmp_path: Path) -> None:
    save(tmp_path / "page.html", data.load(str(places["bert"])), "the <b>animal</b></script> was 我")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 2
    assert data_of(page)["run"]["text_start"] == "the <b>animal</b></script> was 我"
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    assert policy is not None
    assert "default-src 'none'" in policy.group(1)
    assert "unsafe" not in policy.group(1)
    for name, mark in (("page.js", "script"), ("page.css", "style")):
        body = (built / name).read_bytes()
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        assert f"'sha256-{digest}'" in policy.group(1)
        assert f"<{mark}>{body.decode()}</{mark}>" in page


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("name", ["minilm", "smollm2"])
def test_thirty_tokens_fit_into_two_megabytes(name: str, tmp_path: Path) -> None:
    """With half a megabyte left for the page itself."""
    text = "The animal didn't cross the street because it was too tired, so the people waited quietly beside the road"
    loaded = data.load(name)
    text = f"{text} until it moved on again." if name == "minilm" else f"{text} until it slowly moved on again, too."
    assert loaded.tokenizer(text, return_tensors="pt")["input_ids"].shape[1] == 30
    save(tmp_path / "page.html", loaded, text)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 1.75e6
    document = data_of(page)
    full = [layer["q"] is not None for layer in document["layers"]]
    assert full[document["heads"]["telling"]["layer"]]
    assert all(full) == (name == "minilm")
    assert {layer["score"] for layer in document["layers"]} == {None}


def test_a_page_is_of_a_short_text(built: Path, places: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"at most {STEPS} tokens, and this text has 67"):
        saved(of_looks([rg.look(*(torch.randn(1, 67, 5) for _ in range(2)))]))
    with pytest.raises(InputError, match="can't be written"):
        save(tmp_path / "no" / "page.html", data.load(str(places["bert"])), TEXT)
    (built / "index.html").write_text("<html></html>", encoding="utf-8")
    with pytest.raises(MissingError, match="of another version"):
        save(tmp_path / "page.html", data.load(str(places["bert"])), TEXT)


def test_the_command_writes_a_page(
    built: Path, places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["explain", TEXT, "--model", str(places["bert"]), "--layer", "1", "--head", "2", "--query", "it"]
    assert main([*words, "--save", str(tmp_path / "page.html")]) == 0
    assert "wrote" in capsys.readouterr().err
    telling = data_of((tmp_path / "page.html").read_text(encoding="utf-8"))["heads"]["telling"]
    assert [telling[field] for field in ("layer", "head", "query")] == [1, 2, 9]


@pytest.mark.usefixtures("no_bundle")
def test_without_the_page_the_command_says_so(
    places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", TEXT, "--model", str(places["bert"]), "--save", str(tmp_path / "page.html")]) == 2
    assert "make page" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


# ------------------------------------------------------------------------------------------------- in a notebook


@pytest.fixture
def look() -> rg.Look:
    return rg.look(torch.randn(4, 13, 5), torch.randn(2, 13, 5), rg.causal())


@pytest.mark.usefixtures("built")
def test_a_look_shows_the_page(look: rg.Look) -> None:
    shown = look._repr_html_()
    frame = re.fullmatch(r'<iframe srcdoc="([^"]*)" sandbox="allow-scripts allow-downloads".*</iframe>', shown)
    assert frame is not None
    document = data_of(html.unescape(frame.group(1)))
    assert document["run"]["model"] == "look"
    weights = floats(document["layers"][0]["weights"], 4, 13 * 14 // 2)
    np.testing.assert_allclose(weights, look.rows(range(13))[:, torch.ones(13, 13).tril().bool()], rtol=1e-5)
    told, largest = document["heads"]["telling"], look.maximum()
    assert told["kind"] == "sharp"
    assert told["head"] == int(largest.mean(-1).argmax())
    assert told["query"] == 6 + int(largest[told["head"], 6:].argmax())
    assert told["weight"] == pytest.approx(float(look.rows(told["query"])[told["head"], 0, told["key"]]), rel=1e-4)


@pytest.mark.usefixtures("no_bundle")
def test_without_the_page_a_table(look: rg.Look) -> None:
    shown = look._repr_html_()
    assert "make page" in shown
    cells = re.findall(r"<td>(.*?)</td>", shown)
    entropy = look.entropy().mean(-1)
    assert [cells[head * 10 + 1] for head in range(4)] == [f"{float(one):.3f}" for one in entropy]


@pytest.mark.usefixtures("built")
def test_what_is_too_large_is_said() -> None:
    long = rg.look(*(torch.randn(2, 67, 5) for _ in range(2)))
    assert "at most 64 tokens" in long._repr_html_()
    assert "<table>" in long._repr_html_()
    several = rg.look(*(torch.randn(3, 2, 7, 5) for _ in range(2)))
    assert "this look holds 3" in several._repr_html_()
    cross = rg.look(torch.randn(2, 7, 5), torch.randn(2, 11, 5))
    assert "[7, 11]" in cross._repr_html_()
    empty = rg.look(torch.randn(2, 0, 5), torch.randn(2, 0, 5))
    assert "Look(" in empty._repr_html_()
    endless = rg.look(*(torch.randn(1, 1, 5).expand(1, 1 << 15, 5) for _ in range(2)))
    assert "<table>" not in endless._repr_html_()


@pytest.mark.usefixtures("built")
def test_a_watched_model_shows_itself(places: dict[str, Path]) -> None:
    loaded = data.load(str(places["bert"]))
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad(), watch(loaded.model, keep="queries") as seen:
        assert "has not run" in seen._repr_html_()
        loaded.model(input_ids=ids)
    document = data_of(html.unescape(seen._repr_html_()))
    assert len(document["layers"]) == 3
    names = {one["name"]: one for one in document["heads"]["measures"]}
    assert names["induction"]["values"][1][2] == pytest.approx(float(seen[1].head_scores().induction[0, 2]), abs=1e-5)  # type: ignore[index]
    with torch.no_grad(), watch(loaded.model) as seen:
        loaded.model(input_ids=ids)
    shown = seen._repr_html_()
    assert "were not kept" in shown
    assert shown.count("<tr>") == 1 + 12


# ------------------------------------------------------------------------------------------- segments and models


def test_segments_of_a_play_a_letter_and_a_sentence() -> None:
    play = "".join(f"## SCENE {number}\n\n**HAMLET**\nNay.\n\n" for number in range(1, 9))
    assert [one.name for one in segments.of_text(play)] == [f"SCENE {number} HAMLET Nay." for number in range(1, 9)]
    short = "## ACT I\n\n**HAMLET**\nNay. Nay.\n\n**GHOST**\nMark me."
    assert [one.name for one in segments.of_text(short)] == ["ACT I", "HAMLET Nay. Nay.", "GHOST Mark me."]
    letter = "Dear you,\n\nI write. I end.\n\nYours"
    assert [one.name for one in segments.of_text(letter)] == ["Dear you,", "I write. I end.", "Yours"]
    said = "It was late. Was it? 我来了。你呢？"
    assert [one.name for one in segments.of_text(said)] == ["It was late.", "Was it?", "我来了。", "你呢？"]
    assert [one.name for one in segments.of_text("only one")] == ["only one"]
    assert segments.of_text("  \n ") == []


def test_segments_are_few_and_hold_all() -> None:
    text = "\n\n".join(f"paragraph {number} " + "x" * (number % 7) for number in range(1, 500))
    parts = segments.of_text(text)
    assert 24 <= len(parts) <= 48
    assert [one.start for one in parts[1:]] == [one.stop for one in parts[:-1]]
    assert (parts[0].start, parts[-1].stop) == (0, len(text))


def test_segments_in_tokens() -> None:
    text = "It was. Was it?"
    spans = [(0, 0), (0, 2), (3, 6), (6, 7), (8, 11), (12, 14), (14, 15), (0, 0)]
    parts = segments.of_tokens(segments.of_text(text), spans)
    assert [(one.name, one.start, one.stop) for one in parts] == [("It was.", 0, 4), ("Was it?", 4, 8)]


@pytest.mark.parametrize("name", ["minilm", "smollm2"])
def test_what_is_said_of_a_model_is_true(name: str) -> None:
    models = installed(name)
    assert models.all[0].name == name
    said, loaded = models.known(name), models.load(name)
    config = loaded.model.config
    assert (said.layers, said.heads) == (config.num_hidden_layers, config.num_attention_heads)
    assert said.positions == loaded.positions
    assert said == models.known(name)
    assert {model.name for model in KNOWN.values()} == set(data.names())


def test_models_go_by_name(places: dict[str, Path]) -> None:
    models = installed(str(places["bert"]))
    assert models.all[0].name == places["bert"].name
    assert models.load(places["bert"].name).name == places["bert"].name
    with pytest.raises(InputError, match="model must be one of"):
        models.load(str(places["bert"]))
    with pytest.raises(InputError, match="--model must be"):
        installed("nothing")


def test_the_files_of_the_page_are_named() -> None:
    assert set(bundle.FILES) == {"index.html", "page.js", "page.css", "licences.txt"}


@pytest.mark.parametrize("lead", [(), (1,), (1, 1)])
@pytest.mark.parametrize("normalize", [rg.softmax(), rg.relu()])
def test_the_weights_are_those_of_the_head(lead: tuple[int, ...], normalize: Any) -> None:
    """Whatever leading dimensions a look has, and whoever computes it."""
    query, key = 3 * torch.randn(2, *lead, 2, 8, 4)
    rule = rg.Rule(pattern=rg.causal(), normalize=normalize)
    look = rg.look(query, key, rule)
    every = rg.weights(query, key, rule)
    assert look.rows([5, 2]).shape == (*lead, 2, 2, 8)
    shown = of_looks([look])
    for head in range(2):
        found = torch.tensor(documents.steps(shown.sights[0], head, 5)["weights_all"])
        torch.testing.assert_close(found, every[(0,) * len(lead)][head], atol=1e-5, rtol=0)
    saved(shown)
