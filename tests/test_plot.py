"""Figures: what they say is in them, whatever the model, the length and the script of the text."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from explain import small
from regard import data, plot
from regard.errors import MissingError
from regard.explain import Explanation, explain, picture, save


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture(scope="module")
def told(place: Path) -> Explanation:
    return explain(data.load(str(place)), small.SENTENCE)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_saved(told: Explanation, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"seen{suffix}"
    assert save(told, path) == []
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(start)
    assert path.stat().st_size > 10_000


def words(told: Explanation) -> str:
    """Every text that the picture shows."""
    from matplotlib.text import Text

    made, _ = picture(told)
    return "\n".join(found.get_text() for found in made.findobj(Text) if isinstance(found, Text))


def test_what_it_says(told: Explanation) -> None:
    said = words(told)
    query, key = told.tokens[told.choice.query], told.tokens[told.choice.key]
    assert f"layer {told.choice.layer} head {told.choice.head}" in said
    assert f"{query.text}” ({query.index})" in said
    assert key.text in said
    for wanted in ("Exact", told.rule, told.reach.formula, "leave out", "Weights are not explanations", "grey: hidden"):
        assert wanted in said


def test_long_texts_become_a_curve(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regard.explain.story.HEAT", 4)
    said = words(explain(data.load(str(place)), small.SENTENCE))
    assert "key position" in said
    assert "lie on the axis" in said


def test_no_character_is_drawn_as_a_box(place: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Chinese, with a font or without one: then its tokens stand by number, and it is said."""
    told = explain(data.load(str(place)), "我 爱 北 京 x tired")
    notes = save(told, tmp_path / "seen.png")
    assert not [warning for warning in recwarn if "missing from" in str(warning.message)]
    _, missing = plot.fonts(["我爱北京"])
    assert bool(missing) == bool(notes)
    assert bool(re.search(r"#\d", words(told))) == bool(missing)


def test_fonts() -> None:
    assert plot.fonts(["it", "é"]) == (["DejaVu Sans"], set())
    assert plot.fonts(["\U0010fffd"])[1] == {"\U0010fffd"}


def test_tables_of_unequal_layers_and_many_heads() -> None:
    for heads in (3, 40):
        made = plot.figure(4, 4)
        axes = made.subplots()
        plot.table(axes, [[0.5] * heads, [0.2] * 2], (0, 1), "reach")
        assert axes.images[0].get_array().shape == (2, heads)
        assert len(axes.patches) == 1


def test_arcs_are_as_wide_as_weights() -> None:
    axes = plot.figure(4, 2).subplots()
    plot.links(axes, ["a", "b", "c"], torch.tensor([0.1, 0.2, 0.7]), 1, ["DejaVu Sans"])
    widths = sorted(patch.get_linewidth() for patch in axes.patches)
    assert len(widths) == 2  # the query's own weight is no arc
    assert widths[1] > 3 * widths[0]


def test_weights_on_either_scale() -> None:
    for log in (True, False):
        axes = plot.figure(4, 4).subplots()
        plot.weights(axes, ["a", "b"], torch.tensor([[1.0, 0.0], [0.5, 0.5]]), 1, ["DejaVu Sans"], log=log)
        drawn = axes.images[0].get_array()
        assert drawn.mask.tolist() == [[False, True], [False, False]]  # hidden is not drawn as little


def test_a_missing_matplotlib_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingError, match=r"pip install 'regard\[plot\]'"):
        plot.figure(1, 1)
