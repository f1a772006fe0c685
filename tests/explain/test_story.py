"""The numbers are those of the equation, of the layer as the model really ran it; the head is the measure's."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import regard as rg
from explain import small
from regard import data
from regard.errors import InputError
from regard.explain import Explanation, Terminal, Wish, explain, page, report


def eager(told: Explanation) -> list[Tensor]:
    """The weights of every layer by the model's own attention."""
    model = told.loaded.model
    model.set_attn_implementation("eager")
    with torch.no_grad():
        found = model(told.tokens.ids, output_attentions=True)
    return [layer[0] for layer in found.attentions]


def reach(weights: Tensor, told: Explanation) -> Tensor:
    """The stated measure, written a second time, slowly: `[heads, tokens]`."""
    words = [token.word for token in told.tokens.each]
    first = 1 if "causal" in told.rule else 0
    made = torch.zeros(weights.shape[:2])
    for head in range(weights.shape[0]):
        for i, own in enumerate(words):
            far = {word for word in words if word >= first and abs(word - own) >= 3}
            sums = [sum(float(weights[head, i, j]) for j, w in enumerate(words) if w == word) for word in far]
            made[head, i] = max(sums, default=0.0)
    return made


def test_agrees_with_eager(told: Explanation) -> None:
    assert told.agreement.holds
    assert told.agreement.difference <= 1e-4
    assert told.agreement.weights is not None
    assert told.agreement.weights <= 1e-5
    assert told.agreement.out <= 1e-5


def test_the_scores_can_fail(told: Explanation) -> None:
    """A test on nearly flat weights would show nothing."""
    assert float(told.numbers.score.std()) > 0.5
    assert float(told.numbers.weights.max()) > 2 / len(told.tokens)


def test_the_numbers_are_those_of_steps(told: Explanation) -> None:
    asked, head, row = told.choice.asked.call, told.choice.head, told.choice.query
    steps = rg.steps(asked.query, asked.key, asked.value, asked.rule, query_start=asked.query_start)
    numbers = told.numbers
    for mine, theirs in ((numbers.weights, steps.weights), (numbers.masked, steps.masked), (numbers.out, steps.out)):
        torch.testing.assert_close(mine, theirs[0, head, row], rtol=1e-5, atol=1e-6)
    assert numbers.raw * numbers.scale == pytest.approx(float(numbers.score[told.choice.key]), abs=1e-4)
    assert steps.lse is not None
    assert numbers.lse == pytest.approx(float(steps.lse[0, head, row]), abs=1e-5)


def test_the_weights_are_the_model_s_own(told: Explanation) -> None:
    own = eager(told)[told.choice.layer][told.choice.head, told.choice.query]
    torch.testing.assert_close(told.numbers.weights, own, rtol=1e-4, atol=1e-5)


def test_the_measure_chooses(told: Explanation) -> None:
    layers = [reach(weights, told) for weights in eager(told)]
    words = torch.tensor([token.word >= 0 for token in told.tokens.each])
    table = torch.stack([layer[:, words].mean(1) for layer in layers])
    torch.testing.assert_close(torch.tensor(told.table), table, rtol=1e-3, atol=1e-4)
    choice = told.choice
    assert float(table.max()) == pytest.approx(float(table[choice.layer, choice.head]), abs=1e-4)
    row = layers[choice.layer][choice.head] * words
    assert float(row.max()) == pytest.approx(float(row[choice.query]), abs=1e-4)
    assert choice.reach == pytest.approx(float(row.max()), abs=1e-4)


def test_what_is_named_is_shown(place: Path) -> None:
    told = explain(data.load(str(place)), small.SENTENCE, Wish(layer=1, head=2, query="it"))
    assert (told.choice.layer, told.choice.head) == (1, 2)
    assert told.tokens[told.choice.query].text == "it"


def test_a_named_query_that_stands_twice(place: Path) -> None:
    told = explain(data.load(str(place)), small.SENTENCE, Wish(query="The"))
    assert len(told.choice.matches) == 2
    assert told.choice.query in told.choice.matches
    weights = eager(told)
    best = max(float(reach(layer, told)[:, list(told.choice.matches)].max()) for layer in weights)
    assert told.choice.reach == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(layer=3), "--layer must be 0 to 2"),
        (Wish(layer=-1), "--layer must be 0 to 2"),
        (Wish(head=4), "--head must be 0 to 3"),
        (Wish(query="dog"), "no token reads 'dog'"),
        (Wish(query="99"), "tokens 0 to"),
    ],
)
def test_what_is_not_there(place: Path, wish: Wish, said: str) -> None:
    with pytest.raises(InputError, match=said):
        explain(data.load(str(place)), small.SENTENCE, wish)


def test_too_long(place: Path) -> None:
    with pytest.raises(InputError, match=r"reads at most 64"):
        explain(data.load(str(place)), "x " * 100)


@pytest.mark.parametrize("text", ["x", "x x", "x tired", ". , .", "x tired x street"])
def test_very_short_texts(place: Path, text: str) -> None:
    told = explain(data.load(str(place)), text)
    assert told.agreement.holds
    assert float(told.numbers.weights.sum()) == pytest.approx(1, abs=1e-5)


def test_json(told: Explanation) -> None:
    found = json.loads(report(told))
    assert set(found) == {"model", "text", "tokens", "rule", "measure", "shown", "steps", "agreement", "note"}
    steps, shown, tokens = found["steps"], found["shown"], found["tokens"]
    assert sum(steps["weights"]) == pytest.approx(1, abs=1e-5)
    assert sum(steps["products"]) == pytest.approx(steps["raw"], abs=1e-6)
    assert steps["raw"] * steps["scale"] == pytest.approx(steps["scaled"], abs=1e-4)
    assert len(steps["weights"]) == len(steps["masked"]) == len(steps["average"]) == len(tokens)
    assert [row is None for row in steps["masked"]] == [not seen for seen in told.numbers.visible.tolist()]
    assert found["measure"]["table"][shown["layer"]][shown["head"]] == max(map(max, found["measure"]["table"]))
    assert found["agreement"]["holds"] is True


def test_long_texts_are_compared_at_their_start(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regard.explain.story.COMPARED", 8)
    told = explain(data.load(str(place)), small.SENTENCE)
    assert told.agreement.tokens == 8
    assert told.agreement.weights is None
    assert told.agreement.holds


def test_a_difference_does_not_hold(told: Explanation) -> None:
    assert not type(told.agreement)(1e-2, 1.0, 5, None, 0.0).holds


@pytest.mark.parametrize("kind", ["albert", "gemma2", "gpt_oss"])
def test_shared_layers_caps_windows_and_sinks(tmp_path: Path, kind: str) -> None:
    told = explain(data.load(str(small.write(tmp_path, kind))), small.SENTENCE)
    numbers, near, key = told.numbers, told.agreement, told.choice.key
    assert len(told.table) == 3
    assert near.holds
    assert near.weights is not None
    assert near.weights <= 1e-5
    assert (numbers.cap is not None) == (kind == "gemma2")
    assert (numbers.sink > 1e-4) == (kind == "gpt_oss")
    weight = math.exp(float(numbers.masked[key]) - numbers.lse) * (1 - numbers.sink)
    assert weight == pytest.approx(float(numbers.weights[key]), abs=1e-5)
    if kind == "gpt_oss":
        assert "on the sink" in page(told, Terminal())


@pytest.mark.parametrize(
    ("kind", "said"), [("bloom", "computes attention by itself"), ("t5", "an encoder and a decoder")]
)
def test_models_that_cannot_be_explained(tmp_path: Path, kind: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        explain(data.load(str(small.write(tmp_path, kind))), small.SENTENCE)
