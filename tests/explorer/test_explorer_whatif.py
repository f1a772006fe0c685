"""What if …: the model run again by other rules, against the model changed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import regard as rg
from explain import small
from explorer.asking import Page
from regard import data
from regard.explain.seeing import Asked, run
from regard.explorer.desk import Desk
from regard.huggingface.interface import Call, changing
from regard.looking.shown import of_looks

TEXT = small.SENTENCE


def ask(page: Page, name: str, **changes: Any) -> dict[str, Any]:
    found = page.client.post(f"api/runs/{name}/whatif", json=changes)
    assert found.status_code == 200, found.text
    answer: dict[str, Any] = found.json()
    return answer


def states(place: Path, **how: Any) -> Tensor:
    """The model's own eager attention."""
    loaded = data.load(str(place))
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        found: Tensor = loaded.model(input_ids=ids, **how).last_hidden_state[0].double()
    return found


def change(before: Tensor, after: Tensor, query: int) -> float:
    return float((after[query] - before[query]).norm() / before[query].norm())


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_nothing_changed_changes_nothing(page: Page, kind: str) -> None:
    name = page.read(TEXT, kind)
    told, steps = ask(page, name, layer=1, head=2, query=6), page.get(f"api/runs/{name}/steps/1/2/6")
    assert told["changed"]["output"] == 0
    assert told["before"]["weights"] == told["weights"] == steps["weights"]
    assert {field: told[field] for field in steps} == steps


def test_a_dropped_token_is_as_if_masked(page: Page, places: dict[str, Path]) -> None:
    name, query, dropped = page.read(TEXT), 9, [3, 4]
    mask = torch.ones(1, 15, dtype=torch.long)
    mask[0, dropped] = 0
    expected = change(states(places["bert"]), states(places["bert"], attention_mask=mask), query)
    told = ask(page, name, layer=2, head=0, query=query, drop=dropped)
    assert told["changed"]["output"] == pytest.approx(expected, rel=1e-3)
    assert expected > 0.01
    assert [told["weights"][key] for key in dropped] == [0, 0]
    assert [told["visible"][key] for key in dropped] == [False, False]
    assert sum(told["weights"]) == pytest.approx(1, abs=1e-5)


def test_a_silent_head_writes_nothing(page: Page, places: dict[str, Path]) -> None:
    name, query, layer, head = page.read(TEXT), 5, 1, 3
    loaded = data.load(str(places["bert"]))
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]

    def silence(module: torch.nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        context = given[0].clone()
        context[..., head * 8 : head * 8 + 8] = 0  # 32 numbers, 4 heads
        return (context, *given[1:])

    handle = loaded.model.encoder.layer[layer].attention.output.register_forward_pre_hook(silence)
    with torch.no_grad():
        after = loaded.model(input_ids=ids).last_hidden_state[0].double()
    handle.remove()
    expected = change(states(places["bert"]), after, query)
    told = ask(page, name, layer=layer, head=head, query=query, silence=[[layer, head]])
    assert told["changed"]["output"] == pytest.approx(expected, rel=1e-3)
    assert expected > 0.01
    assert set(told["weights"]) == {0}
    assert set(told["out"]) == {0}
    other = ask(page, name, layer=layer, head=0, query=query, silence=[[layer, head]])
    assert other["weights"] == other["before"]["weights"]
    assert other["changed"]["output"] == told["changed"]["output"]


def test_temperature_divides_the_scores_of_one_head(page: Page) -> None:
    name = page.read(TEXT, "llama")
    told = ask(page, name, layer=1, head=2, query=6, temperature=3)
    steps = page.get(f"api/runs/{name}/steps/1/2/6")
    seen = torch.tensor(steps["visible"])
    expected = (torch.tensor(steps["score"])[seen] / 3).softmax(0)
    assert_close(torch.tensor(told["weights"])[seen], expected, rtol=1e-4, atol=1e-6)
    assert told["changed"]["output"] > 0.001
    assert told["scale"] == pytest.approx(steps["scale"] / 3)
    assert (steps["rule"], told["rule"]) == ("softmax( dot·0.353553 | causal )", "softmax( dot·0.117851 | causal )")
    neighbour = ask(page, name, layer=1, head=1, query=6, temperature=1, silence=[])
    assert neighbour["changed"]["output"] == 0


def test_unmasked_a_decoder_sees_what_comes(page: Page) -> None:
    name = page.read(TEXT, "llama")
    told = ask(page, name, layer=0, head=2, query=4, unmask=True)
    assert told["rule"] == "softmax( dot·0.353553 )"
    assert told["before"]["weights"][5:] == [0] * 10
    assert all(told["visible"])
    assert_close(torch.tensor(told["score"]).softmax(0), torch.tensor(told["weights"]), rtol=1e-4, atol=1e-6)
    assert sum(told["weights"][5:]) > 0.01
    assert told["changed"]["output"] > 0.001
    both = ask(page, name, layer=0, head=2, query=4, unmask=True, drop=[7])
    assert [key for key, seen in enumerate(both["visible"]) if not seen] == [7]


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({}, "layer must be an integer from 0 to 2, got None"),
        ({"layer": 3, "head": 0, "query": 0}, "layer must be an integer from 0 to 2, got 3"),
        ({"layer": True, "head": 0, "query": 0}, "layer must be an integer"),
        ({"layer": 0, "head": 4, "query": 0}, "head must be an integer from 0 to 3"),
        ({"layer": 0, "head": 0, "query": 15}, "query must be an integer from 0 to 14"),
        ({"layer": 0, "head": 0, "query": 0, "temperature": 0}, "temperature must be a number from 0.01 to 100"),
        ({"layer": 0, "head": 0, "query": 0, "temperature": "hot"}, "temperature must be"),
        ({"layer": 0, "head": 0, "query": 0, "temperature": 1e999}, "temperature must be"),
        ({"layer": 0, "head": 0, "query": 0, "drop": 3}, "drop must be a list"),
        ({"layer": 0, "head": 0, "query": 0, "drop": [15]}, "drop must be an integer from 0 to 14"),
        ({"layer": 0, "head": 0, "query": 0, "silence": [[0]]}, "silence must be a list of [layer, head]"),
        ({"layer": 0, "head": 0, "query": 0, "silence": [[0, 4]]}, "silence's head must be"),
        ({"layer": 0, "head": 0, "query": 0, "unmask": 1}, "unmask must be true or false"),
        ({"layer": 0, "head": 0, "query": 0, "magic": 1}, "got magic"),
    ],
)
def test_what_can_not_be_is_one_sentence(page: Page, said: dict[str, Any], says: str) -> None:
    import json

    name = page.read(TEXT)
    body = json.dumps(said).replace("Infinity", "1e999")
    assert says in page.error(f"api/runs/{name}/whatif", 400, method="POST", content=body.encode())


def test_a_capped_score_has_no_temperature(page: Page) -> None:
    name = page.read(TEXT, "gemma2")
    said = {"layer": 0, "head": 0, "query": 1, "temperature": 2}
    assert "temperature divides plain products" in page.error(f"api/runs/{name}/whatif", 400, method="POST", json=said)


def test_a_look_has_no_model_to_run(page: Page, desk: Desk) -> None:
    desk.add(of_looks([rg.look(*(torch.randn(1, 11, 5) for _ in range(2)))]))
    assert "look without one" in page.error("api/runs/look/whatif", 400, method="POST", json={})
    steps = page.get("api/runs/look/steps/0/0/3")
    assert (steps["v"], steps["out"], steps["check"]["difference"]) == (None, None, None)


def test_changing_ends_with_its_block(places: dict[str, Path]) -> None:
    loaded = data.load(str(places["bert"]))
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    rules: list[str] = []

    def note(asked: Asked) -> None:
        rules.append(repr(asked.rule))

    def window(call: Call) -> rg.Rule:
        return rg.Rule(call.rule.score, rg.window(3))

    with pytest.raises(RuntimeError, match="on purpose"), changing(window):
        changed = run(loaded, ids, note)
        raise RuntimeError("on purpose")
    plain = run(loaded, ids, note)
    assert ["window(3)" in rule for rule in rules] == [True] * 3 + [False] * 3
    assert float((changed - plain).abs().max()) > 0.01


def test_next_tokens_of_a_decoder() -> None:
    """SmolLM2 reads and writes by one table: what is likeliest next, and how that changes."""
    from regard.explorer.models import installed
    from regard.explorer.reading import Reading
    from regard.explorer.whatif import WhatIf, answer

    with torch.inference_mode():
        reading = Reading("smollm2", "The capital of France is")
        reading.read(installed("smollm2"), lambda: None)
        assert reading.state == "ready", reading.error
        told = answer(reading, WhatIf.of({"layer": 0, "head": 0, "query": 4, "drop": [3]}, reading), lambda: None)
    following = {one["token"]: one for one in told["changed"]["next"]}
    assert following[" Paris"]["before"] > 0.1
    assert following[" Paris"]["after"] < following[" Paris"]["before"] / 10
    assert sum(one["before"] for one in following.values()) <= 1
