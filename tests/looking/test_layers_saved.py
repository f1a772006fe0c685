"""What was seen of a model, in a table and in a file; made by hand, so that no model is needed."""

from __future__ import annotations

import builtins
import csv
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

import regard as rg
from regard.looking.layers import Layer, Run, Where
from regard.looking.measured import Posed, measure

pytest.importorskip("safetensors", reason="files of statistics are safetensors: pip install 'regard[huggingface]'")


def flat(queries: int, tokens: list[int] | None = None, number: int = 0, kind: str = "self") -> Layer:
    """Two heads whose causal weights are all equal: row i gives each of its i + 1 keys 1 / (i + 1)."""
    query, key = torch.zeros(1, 2, queries, 3), torch.ones(1, 1, queries, 3)
    ids = None if tokens is None else torch.tensor([tokens])
    where = Where(number, f"layer.{number}", kind, "", (0, 1))
    return Layer(where, measure(Posed(query, key, rg.Rule(pattern=rg.causal()), 0, 0, ids, kind == "self")))


def several() -> rg.Layers:
    """Two runs of a model with self- and cross-attention."""
    one = {0: flat(2, [7, 7]), 1: flat(3, kind="cross", number=1)}
    return rg.Layers([Run(one), Run({0: flat(3, [4, 4, 5])}, "KeyError: 'x'")], 2)


def test_a_table_is_a_mean_over_the_rows_of_all_runs():
    table = several().table()
    heads = [(line["layer"], line["head"], line["rows"]) for line in table]
    assert heads == [(0, 0, 5), (0, 1, 5), (1, 0, 3), (1, 1, 3)]
    first = next(iter(table))
    # Rows of 1 and 2 keys, and rows of 1, 2 and 3.
    assert first["maximum"] == pytest.approx((1 + 1 / 2 + 1 + 1 / 2 + 1 / 3) / 5)
    assert first["effective_keys"] == pytest.approx((1 + 2 + 1 + 2 + 3) / 5)
    assert first["previous"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 3) / 3)  # the first row of a run has none
    assert first["duplicate"] == pytest.approx(1 / 2)  # rows 1 of both runs
    assert first["mass"] == pytest.approx(1)
    cross = list(table)[2]
    assert cross["maximum"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert cross["previous"] is cross["distance"] is cross["duplicate"] is None


def test_tables_print_and_become_text(tmp_path):
    table = several().table()
    assert repr(table).splitlines()[0].split()[:5] == ["layer", "name", "kind", "head", "rows"]
    table.to_csv(tmp_path / "heads.csv")
    with open(tmp_path / "heads.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(table) == 4
    assert float(lines[0]["entropy"]) == next(iter(table))["entropy"]
    assert lines[2]["previous"] == ""


def test_pandas(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pip install 'regard[tables]'")
    frame = several().table().to_pandas()
    assert frame.shape == (4, 18)
    assert frame.groupby("layer").rows.first().tolist() == [5, 3]
    pytest.importorskip("pyarrow", reason="pip install 'regard[tables]'")
    several().table().to_parquet(tmp_path / "heads.parquet")
    assert pandas.read_parquet(tmp_path / "heads.parquet").equals(frame)


def test_without_pandas_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    known = builtins.__import__

    def without(name: str, *more: Any, **options: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return known(name, *more, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    for ask in (several().table().to_pandas, lambda: several().table().to_parquet(tmp_path / "x")):
        with pytest.raises(rg.MissingError, match=r"pip install 'regard\[tables\]'; to_csv needs nothing"):
            ask()


def test_what_is_saved_comes_back(tmp_path):
    seen = several()
    seen.save(tmp_path / "seen.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["seen.safetensors"]
    found = rg.load(tmp_path / "seen.safetensors")
    assert repr(found) == repr(seen)
    assert found.table() == seen.table()
    for number in range(2):
        for ours, theirs in zip(found.run(number), seen.run(number), strict=True):
            assert ours.where == theirs.where
            assert torch.equal(ours.lse, theirs.lse)
            assert torch.equal(ours.received(per_query=True), theirs.received(per_query=True))
            assert all(torch.equal(a, b) for a, b in zip(ours.top(2), theirs.top(2), strict=True))
    with pytest.raises(rg.InputError, match=r"queries of layer 0 .* were not kept"):
        found.run(0)[0].rows([0])
    with pytest.raises(rg.InputError, match="stopped after 2 layers: KeyError: 'x'"):
        found.run(1)[1]


def changed(path: Path, **told: Any) -> None:
    """The file with other words in its header."""
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    header["__metadata__"].update(told)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])


def test_damaged_and_foreign_files(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "seen.safetensors"
    with pytest.raises(rg.InputError, match="is no file"):
        rg.load(path)
    several().save(path)
    whole = path.read_bytes()
    seen = {"count": 2, "runs": [{"stopped": None, "layers": [{"layer": 0, "heads": [0], "key_start": 0}]}]}
    wrong: list[Any] = [
        lambda: path.write_bytes(whole[:-1]),
        lambda: path.write_bytes(whole[:97]),
        lambda: path.write_bytes(b"layer,head,entropy\n0,0,1.5\n"),
        lambda: path.write_bytes(b""),
        lambda: changed(path, seen="{"),
        lambda: changed(path, seen="[]"),
        lambda: changed(path, seen="{}"),
        lambda: changed(path, seen=json.dumps(seen)),  # one head, where the tensors have two
        lambda: changed(path, seen=json.dumps(seen).replace('"layer": 0', '"layer": 5')),
    ]
    for harm in wrong:
        path.write_bytes(whole)
        harm()
        with pytest.raises(rg.InputError, match=r"is damaged, or no file of regard: .") as told:
            rg.load(path)
        assert "\n" not in str(told.value)
    path.write_bytes(whole)
    changed(path, version="2")
    with pytest.raises(rg.InputError, match="is of version 2, and this regard reads 1"):
        rg.load(path)
    save_file({"weight": torch.zeros(2, 3)}, path)
    with pytest.raises(rg.InputError, match="was not written by regard"):
        rg.load(path)


def test_a_file_that_can_not_be_written(tmp_path):
    several().save(tmp_path / "seen")
    with pytest.raises(rg.InputError, match="can't be written"):
        several().save(tmp_path / "nowhere" / "seen")
    assert rg.load(tmp_path / "seen").count == 2
