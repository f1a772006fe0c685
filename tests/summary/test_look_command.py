"""`regard look`: what it reads, adds up, keeps and writes; where it was interrupted it goes on; what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from wcwidth import wcswidth

import regard as rg
from explain import small
from regard import cli, data
from regard.huggingface import watch
from regard.summary import command, gathering
from regard.summary.gathering import FILE
from regard.summary.pieces import cut

TEXTS = {
    "a.txt": small.SENTENCE,
    "b.txt": "我 爱 北 京 。 x",
    "sub/c.md": " ".join([small.SENTENCE] * 9),
    "d.txt": "x x x tired",
}
WRITTEN = ["distance.png", "heads.csv", "heads.parquet", "heads.png", "maps.png", "received.png", FILE, "summary.pdf"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small.write(tmp_path_factory.mktemp("llama"), "llama"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name, text in TEXTS.items():
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "texts" / "picture.png").write_bytes(b"\x89PNG\x00\xff")
    (tmp_path / "texts" / "empty.txt").write_text(" \n")
    (tmp_path / "texts" / ".hidden").write_text("not counted")
    (tmp_path / "nothing").mkdir()
    return tmp_path


def by_hand(place: str, length: int | None = None) -> rg.Table:
    """All pieces in one watched run each."""
    loaded = data.load(place)
    ordered = {f"texts/{name}": TEXTS[name] for name in ("a.txt", "b.txt", "d.txt", "sub/c.md")}
    with torch.no_grad(), watch(loaded.model) as seen:
        for piece in cut(loaded, ordered, length):
            loaded.model(input_ids=piece.ids, attention_mask=torch.ones_like(piece.ids))
    return seen.table()


def same(found: Any, wanted: rg.Table) -> None:
    for line, own in zip(found, wanted, strict=True):
        for name, cell in own.items():
            assert line[name] == (pytest.approx(cell, rel=1e-6) if isinstance(cell, float) else cell), name


def test_a_folder(place: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["look", "texts", "--model", place, "--save", "seen"]) == 0
    out, err = capsys.readouterr()
    assert max(wcswidth(line) for line in out.splitlines()) <= 80 and "\x1b" not in out
    assert "4 texts, 150 tokens in 5 pieces of at most 64" in " ".join(out.split())
    assert "left out: texts/empty.txt is empty; texts/picture.png is not text" in " ".join(out.split())
    assert "hidden" not in out and "Weights are not explanations" in out
    assert sorted(path.name for path in (here / "seen").iterdir()) == sorted(WRITTEN)
    assert "wrote heads.csv, heads.parquet" in err
    same(rg.Totals.load(here / "seen" / FILE).table(), by_hand(place))
    import pandas

    frame = pandas.read_parquet(here / "seen" / "heads.parquet")
    assert frame.equals(rg.Totals.load(here / "seen" / FILE).table().to_pandas())


def test_json_is_all_that_is_printed(place: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["look", "texts/a.txt", "texts", "--model", place, "--json", "--length", "7"]) == 0
    found = json.loads(capsys.readouterr().out)
    same(found["heads"], by_hand(place, 7))
    assert [text["name"] for text in found["texts"]] == [f"texts/{n}" for n in ("a.txt", "b.txt", "d.txt", "sub/c.md")]
    assert found["texts"][0] == {"name": "texts/a.txt", "tokens": 13 + 2 * 3, "pieces": 3}
    assert len(found["left_out"]) == 2
    for name, value in found.items():
        assert name in command.SCHEMA
        for inner in value[0] if isinstance(value, list) else value if isinstance(value, dict) else ():
            assert inner in command.SCHEMA, f"{name}.{inner} is not in the help"


def stopped_after(pieces: int, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The pieces that are read; after so many the user interrupts."""
    seen: list[torch.Tensor] = []
    known = gathering.read

    def read(loaded: data.Loaded, ids: torch.Tensor) -> None:
        if len(seen) == pieces:
            raise KeyboardInterrupt
        seen.append(ids)
        known(loaded, ids)

    monkeypatch.setattr(gathering, "read", read)
    return seen


@pytest.mark.parametrize("often", [0.0, 1e9], ids=["kept after each piece", "kept at the end"])
def test_what_was_interrupted_goes_on(
    here: Path, place: str, often: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["look", "texts", "--model", place, "--save", "seen", "--length", "9"]
    monkeypatch.setattr(gathering, "_OFTEN", often)
    whole = by_hand(place, 9)
    seen = stopped_after(5, monkeypatch)
    assert cli.main(asked) == 130
    count = len(cut(data.load(place), {f"texts/{name}": text for name, text in TEXTS.items()}, 9))
    said = capsys.readouterr()
    assert f"interrupted after 5 of {count} pieces; kept in seen: the same command goes on" in said.err
    assert said.out == "" and [path.name for path in (here / "seen").iterdir()] == [FILE]
    assert len(seen) == 5 == len(rg.Totals.load(here / "seen" / FILE).about["done"])
    monkeypatch.undo()
    monkeypatch.chdir(here)
    seen = stopped_after(count, monkeypatch)
    again = gathering.gather(wish(place, *("a.txt", "b.txt", "d.txt", "sub/c.md"), folder=here / "seen", length=9))
    assert len(seen) == count - 5 and again.before == 5
    same(again.whole.table(), whole)
    same(rg.Totals.load(here / "seen" / FILE).table(), whole)


def wish(place: str, *names: str, folder: Path | None = None, length: int | None = None) -> gathering.Wish:
    loaded = data.load(place)
    return gathering.Wish(loaded, cut(loaded, {f"texts/{name}": TEXTS[name] for name in names}, length), folder=folder)


def test_without_save_an_interrupt_keeps_nothing(
    here: Path, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_after(1, monkeypatch)
    assert cli.main(["look", "texts", "--model", place]) == 130
    assert "interrupted after 1 of 5 pieces; nothing is kept without --save" in capsys.readouterr().err


def test_more_texts_are_added_and_others_refused(here: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    begin = ["--model", place, "--save", "seen"]
    (here / "seen").mkdir()
    for names in (("a.txt",), ("a.txt", "b.txt")):
        found = gathering.gather(wish(place, *names, folder=here / "seen"))
    assert found.before == 1 and set(found.whole.table().columns["rows"]) == {15 + 8}
    assert cli.main(["look", "texts/b.txt", *begin]) == 2
    said = capsys.readouterr().err
    assert "holds 2 pieces, and 1 of them are not in these texts" in said and "remove seen" in said
    other = str(small.write(here / "other", "gemma2"))
    assert cli.main(["look", "texts/a.txt", "texts/b.txt", "--model", other, "--save", "seen"]) == 2
    assert "holds what was seen of another model" in capsys.readouterr().err
    (here / "seen" / FILE).write_bytes(b"no statistics")
    assert cli.main(["look", "texts/a.txt", *begin]) == 2
    said = capsys.readouterr().err
    assert "is damaged, or no file of regard" in said and len(said.splitlines()) == 1


def test_one_token_alone_and_no_pandas(here: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row has no previous token and nothing far away; without pandas the rest is written."""

    def missing(self: rg.Table, path: object) -> None:
        raise rg.MissingError("none")

    monkeypatch.setattr("regard.looking.Table.to_parquet", missing)
    loaded = data.load(place)
    piece = cut(loaded, {"x": "x"})[0]
    one = gathering.Wish(loaded, [type(piece)("x", 0, piece.ids[:, 1:2])], folder=here / "nothing")
    found = gathering.gather(one)
    from regard.explain import Terminal
    from regard.summary.page import page
    from regard.summary.report import report, save

    assert {line["previous"] for line in found.whole.table()} == {None}
    assert "1 text, 1 token in 1 piece" in page(found, Terminal())
    assert json.loads(report(found))["heads"][0]["maximum"] == pytest.approx(1)
    notes = save(found, here / "nothing", "svg")
    assert notes[-2] == "heads.parquet was not written; for that: pip install 'regard[tables]'"
    assert (here / "nothing" / "summary.pdf").stat().st_size > 5000
    assert (here / "nothing" / "maps.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.txt"], "there is no file or directory missing.txt; `regard explain` takes a sentence"),
        (["a sentence " * 99], "File name too long; name a path that can"),
        (["~nobody-of-this-name/a.txt"], "~nobody-of-this-name/a.txt can't be looked up"),
        (["texts/a.txt", "--save", "~nobody-of-this-name"], "--save ~nobody-of-this-name can't be looked up"),
        (["nothing"], "there is no text in nothing, they hold no file"),
        (["texts/empty.txt"], "texts/empty.txt is empty"),
        (["texts/picture.png"], "texts/picture.png is not text in UTF-8"),
        (["texts/a.txt", "--length", "2"], "--length must be from 3 to 64"),
        (["texts/a.txt", "--length", "65"], "--length must be from 3 to 64"),
        (["texts/a.txt", "--model", "nope"], "minilm, smollm2"),
        (["texts/a.txt", "--form", "gif"], "invalid choice: 'gif'"),
        (["texts/a.txt", "--save", "texts/a.txt"], "it is no directory and can't be made"),
        ([], "FILE|DIR"),
    ],
)
def test_bad_input(here: Path, words: list[str], said: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["look", *(["--model", place] if words and "--model" not in words else []), *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and len(err.splitlines()) == 1 and err.startswith("regard: ")


@pytest.mark.parametrize(
    ("kind", "said"),
    [("t5", "is an encoder and a decoder, and look reads one text"), ("xlnet", "computes attention by itself")],
)
def test_models_that_can_not_be_looked_at(here: Path, kind: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    if kind == "xlnet":
        from transformers import XLNetConfig, XLNetModel

        made = XLNetModel(XLNetConfig(vocab_size=40, d_model=8, n_layer=1, n_head=2, d_inner=8))
        made.save_pretrained(here / kind)
        small.wordpieces(here / kind)
    else:
        small.write(here / kind, kind)
    capsys.readouterr()
    assert cli.main(["look", "texts/a.txt", "--model", str(here / kind)]) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1


def test_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main(["look", "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
