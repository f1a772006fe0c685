"""Statistics added up over texts: the same as of all texts at once, and of any cut of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import regard as rg
from looking.test_layers_saved import changed, flat, several
from regard.looking.layers import Run

pytest.importorskip("safetensors", reason="files of statistics are safetensors: pip install 'regard[huggingface]'")


def runs(*lengths: int) -> rg.Layers:
    """Texts of equal tokens, read by a model of one layer."""
    return rg.Layers([Run({0: flat(length, [7] * length)}) for length in lengths], 1)


def test_sums_of_texts_are_those_of_all():
    whole = runs(2, 5, 3).totals()
    parts = runs(2).totals() + runs(5, 3).totals()
    assert parts.table() == whole.table() == runs(2, 5, 3).table()
    for one in (whole, parts):
        assert one[0].distance().before[0, 0].tolist() == pytest.approx(one[0].distance().before[0, 1].tolist())
        # Key 0 gets 1 + 1/2 of two rows, 1 + … + 1/5 of five, 1 + 1/2 + 1/3 of three; key 4 gets 1/5 of one row.
        got = one[0].received()[0, 0]
        assert float(got[0]) == pytest.approx(1.5 + (1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) + (1 + 1 / 2 + 1 / 3))
        assert float(got[4]) == pytest.approx(1 / 5)
        assert float(one[0].received(per_query=True)[0, 0, 0]) == pytest.approx(float(got[0]) / 10)
        assert float(one[0].mass()[0, 0, 0]) == pytest.approx(1)
    mean = (sum(i / 2 for i in range(2)) + sum(i / 2 for i in range(5)) + sum(i / 2 for i in range(3))) / 10
    assert float(whole[0].distance().mean[0, 0, 0]) == pytest.approx(mean)
    assert repr(whole) == "Totals(1 of 1 layers, 10 rows)"


def test_they_are_as_large_for_many_texts_as_for_one():
    one, many = runs(5).totals(), runs(*[5] * 7).totals()
    assert [list(t.sums.received.shape) for t in (one[0], many[0])] == [[1, 2, 5], [1, 2, 5]]


def test_what_is_saved_comes_back(tmp_path: Path):
    made = several().totals()
    made.about = {"texts": ["我"]}
    made.save(tmp_path / "sums")
    found = rg.Totals.load(tmp_path / "sums")
    assert found.table() == made.table() and found.about == {"texts": ["我"]} and repr(found) == repr(made)
    assert (found + made).table().columns["rows"] == [10, 10, 6, 6]
    assert torch.equal(found[1].received(), made[1].received())


def test_one_sentence(tmp_path: Path):
    path = tmp_path / "sums"
    with pytest.raises(rg.InputError, match=r"is no file; `seen\.totals"):
        rg.Totals.load(path)
    several().save(path)
    with pytest.raises(rg.InputError, match=r"is what `seen.save\(path\)` wrote; read it by regard.load"):
        rg.Totals.load(path)
    several().totals().save(path)
    with pytest.raises(rg.InputError, match=r"is what `seen.totals.* wrote; read it by regard.Totals.load"):
        rg.load(path)
    changed(path, version="2")
    with pytest.raises(rg.InputError, match="is of version 2, and this regard reads 1"):
        rg.Totals.load(path)
    changed(path, version="1", seen='{"count": 2, "about": {}, "layers": [{"layer": 0, "name": "", "kind": "self", '
            '"stack": "", "heads": [0], "key_start": 0}]}')  # fmt: skip
    with pytest.raises(rg.InputError, match="is damaged, or no file of regard: the sizes of layer 0"):
        rg.Totals.load(path)
    with pytest.raises(rg.InputError, match=r"these hold layers \[0, 1\] and \[0\]"):
        several().totals() + runs(2).totals()
    with pytest.raises(rg.InputError, match="layer 5 is not there, only 0, 1"):
        several().totals()[5]
    with pytest.raises(rg.InputError, match="cross-attention"):
        several().totals()[1].distance()
