"""Figures of what was looked at: what is drawn is what was seen, and what is not drawn is written below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import regard as rg
from looking.test_layers_saved import flat
from regard import plot
from regard.errors import InputError
from regard.looking.layers import Layer, Run, Where
from regard.looking.measured import Posed

SIX = 1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5 + 1 / 6


def even(rule: Any = None, rows: int = 6) -> rg.Look:
    """Three heads whose causal weights are all equal: row i gives each of its i + 1 keys 1 / (i + 1)."""
    rule = rg.Rule(pattern=rg.causal()) if rule is None else rule
    return rg.look(torch.zeros(2, 3, rows, 4), torch.ones(2, 3, rows, 4), rule)


def axes() -> Any:
    return plot.figure(5, 4).subplots()


def below(drawn: Any) -> str:
    return " ".join(drawn.get_xlabel().split())


def test_a_map_is_the_pooled_weights():
    drawn, look = axes(), even()
    plot.tiles(drawn, look, 2, entry=1, size=3)
    shown = drawn.images[0].get_array()
    torch.testing.assert_close(torch.tensor(shown.filled(0)).float(), look.tile(size=3)[1, 2].float())
    assert shown.mask.tolist() == [[False, True, True], [False, False, True], [False] * 3]  # hidden is not little
    assert drawn.images[0].get_extent() == [-0.5, 5.5, 5.5, -0.5]
    assert f"key 0 holds {100 * SIX / 6:.1f} % of the mass" in below(drawn)
    assert "exact, cells of up to 2 × 2 weights" in below(drawn) and "grey: no weight" in below(drawn)


def test_what_a_map_leaves_out_is_said():
    drawn = axes()
    plot.tiles(drawn, even(), 0, without_sink=True)
    assert f"key 0, not drawn, holds {100 * SIX / 6:.1f} % of the mass" in below(drawn)
    assert drawn.images[0].get_extent()[0] == 0.5
    drawn = axes()
    plot.tiles(drawn, even(), 0, rows=(2, 4), columns=(1, 3))
    # Rows of 3 and 4 keys: key 0 holds 1/3 + 1/4, key 3 another 1/4, of a mass of 2.
    assert f"key 0, not drawn, holds {100 * (1 / 3 + 1 / 4) / 2:.1f} %" in below(drawn)
    assert "other keys outside hold 12.5 %" in below(drawn)
    drawn = axes()
    plot.tiles(drawn, even(rg.Rule(pattern=rg.causal(), normalize=rg.softmax(sink=0.0))), 0, pool="max")
    # exp(0) beside i + 1 keys of exp(4 · 0): 1 / (i + 2) of each row.
    gone = sum(1 / (i + 2) for i in range(6)) / 6
    assert f"{100 * gone:.1f} % of a row goes to no key (a sink)" in below(drawn)


def test_little_is_the_darkest_and_counted():
    query = torch.tensor([0.0, 30.0])[None, :, None]
    look = rg.look(query, torch.tensor([0.0, 1.0])[None, :, None], rg.dot(1.0))
    drawn = axes()
    plot.tiles(drawn, look)
    assert "are the darkest: <0.1 % of the mass" in below(drawn)


def test_lines_are_the_greatest_weights():
    drawn, look = axes(), even()
    plot.lines(drawn, ["我", "爱", "北", "京", "$x$", "."], look, 1, top=2)
    ends = [tuple(map(tuple, path.vertices)) for path in drawn.collections[0].get_paths()]
    assert len(ends) == 1 + 5 * 2
    assert ((0.0, 3.0), (1.0, 1.0)) in ends and ((0.0, 0.0), (1.0, 0.0)) in ends
    share = (1 + sum(2 / (i + 1) for i in range(1, 6))) / 6
    assert f"lines: {100 * share:.1f} % of the mass, of the 2 greatest weights a row" in below(drawn)
    assert f"key 0 holds at least {100 * SIX / 6:.1f} %" in below(drawn)
    drawn = axes()
    plot.lines(drawn, ["c", "d"], look, 1, first=2, without_sink=True)
    ends = [tuple(map(tuple, path.vertices)) for path in drawn.collections[0].get_paths()]
    assert sorted(ends) == [((0.0, 0.0), (1.0, 0.0)), ((0.0, 1.0), (1.0, 0.0)), ((0.0, 1.0), (1.0, 1.0))]  # keys 2, 3


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_every_script_is_written(tmp_path: Path, suffix: str, recwarn: pytest.WarningsRecorder):
    made = plot.figure(5, 4)
    plot.lines(made.subplots(), ["我", "爱", "北京", "déjà", "it", "."], even())
    made.savefig(tmp_path / f"lines{suffix}")
    assert not [one for one in recwarn if "missing from" in str(one.message)]
    assert (tmp_path / f"lines{suffix}").stat().st_size > 5000


def test_distances_are_shares_of_the_mass():
    drawn = axes()
    plot.distance(drawn, even(), [0], entry=0)
    (curve,) = [line for line in drawn.lines if line.get_label() == "head 0"]
    # Distances 4…5, 2…3, 1, 0 before the query: row i gives each distance up to i 1 / (i + 1).
    at = [sum(1 / (i + 1) for i in range(d, 6)) for d in range(6)]
    assert list(curve.get_ydata()) == pytest.approx([(at[4] + at[5]) / 6, (at[2] + at[3]) / 6, at[1] / 6, at[0] / 6])
    assert list(curve.get_xdata()) == [-3, -2, -1, 0]
    assert [tick.get_text() for tick in drawn.get_xticklabels()] == ["−4", "−2", "−1", "0"]
    assert f"key 0, at whatever distance, holds {100 * SIX / 6:.1f} % of the mass" in below(drawn)
    drawn = axes()
    plot.distance(drawn, rg.look(torch.zeros(2, 4, 3), torch.ones(2, 4, 3)))
    assert list(drawn.lines[0].get_xdata()) == [-2, -1, 0, 1, 2]  # keys after the query, too


def test_received_is_a_mean_over_the_rows_that_see_a_key():
    drawn = axes()
    plot.received(drawn, even(), tokens=list("abcdef"), without_sink=True)
    mean = next(line for line in drawn.lines if line.get_label() == "mean of heads")
    wanted = [sum(1 / (i + 1) for i in range(key, 6)) / (6 - key) for key in range(1, 6)]
    assert list(mean.get_ydata()) == pytest.approx(wanted)
    assert list(mean.get_xdata()) == [1, 2, 3, 4, 5]
    assert {text.get_text() for text in drawn.texts} == set("bcdef")
    assert "key 0, not drawn, holds" in below(drawn)
    long = rg.look(torch.zeros(4, 5003, 2), torch.ones(1, 5003, 2), rg.window(3))
    drawn = axes()
    plot.received(drawn, long, [3])
    assert len(drawn.lines[0].get_xdata()) == 1668 and "the most of each 3 keys" in below(drawn)


def layers() -> rg.Layers:
    return rg.Layers([Run({0: flat(6), 1: flat(6, kind="cross", number=1)})], 2)


def test_layers_and_their_totals_are_drawn_alike():
    seen = layers()
    for draw in (plot.distance, plot.received):
        curves = []
        for one in (seen[0], seen.totals()[0]):
            drawn = axes()
            draw(drawn, one)
            curves.append([list(line.get_ydata()) for line in drawn.lines[:2]])
        assert curves[0][0] == pytest.approx(curves[1][0]) and curves[0][1] == pytest.approx(curves[1][1])


def test_a_measure_of_all_heads():
    table = layers().table()
    for measure in plot.MEANINGS:
        drawn = axes()
        plot.heads(drawn, table, measure)
        shown = drawn.images[0].get_array()
        for line in table:
            found = shown[line["layer"], line["head"]]
            assert bool(shown.mask.any() and shown.mask[line["layer"], line["head"]]) == (line[measure] is None)
            assert line[measure] is None or float(found) == pytest.approx(
                max(line[measure], 1e-4 * (line[measure] > 0))
            )
    drawn = axes()
    plot.heads(drawn, table, "previous")
    assert "grey: no such measure here" in below(drawn)
    assert f"the first token holds {100 * SIX / 6:.1f} % of all mass" in below(drawn)


def called_twice() -> Layer:
    posed = Posed(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4), rg.Rule(), 0, 0, None, True)
    return Layer(Where(0, "attention", "self", "", (5, 7)), calls=(posed, posed))


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda a: plot.tiles(a, even(), 3), "head must be 0, 1, 2, got 3"),
        (lambda a: plot.tiles(a, called_twice(), 5), r"was called 2 times, .* layer.looks\[0\] is the prompt"),
        (lambda a: plot.received(a, called_twice(), [0]), r"heads must be some of 5, 7, got \[0\]"),
        (lambda a: plot.lines(a, ["a"], even(), 0, entry=2), "entry must be 0 to 1, got 2"),
        (lambda a: plot.lines(a, ["a"] * 7, even()), "must be 1 to 128 texts of rows 0 to 5, got 7; .* plot.tiles"),
        (lambda a: plot.lines(a, [], even()), "got 0"),
        (lambda a: plot.heads(a, layers().table(), "weight"), "measure must be one of entropy, .* got 'weight'"),
        (lambda a: plot.distance(a, layers()[1]), "cross-attention"),
        (lambda a: plot.tiles(a, even(rows=1), without_sink=True), "columns without key 0 must be"),
        (lambda a: plot.received(a, even(rows=1), without_sink=True), "without key 0 none is left to draw"),
    ],
)
def test_one_sentence(draw: Any, said: str):
    with pytest.raises(InputError, match=said):
        draw(axes())


def test_one_token_is_drawn():
    for draw in (plot.tiles, plot.distance, plot.received):
        draw(axes(), even(rows=1))
    plot.lines(axes(), ["a"], even(rows=1))
