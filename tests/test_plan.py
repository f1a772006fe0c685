"""`plan`: the engine chosen, for each other one why not, and what the work will cost, counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import regard as rg
from regard.planning import ENGINES

SET_ASIDE = ("it is chosen on ", "it keeps every N×N intermediate", "comes first")
"""What is said of an engine that could, but is not the one to choose."""

pytestmark = pytest.mark.filterwarnings(
    "ignore:flex_attention called without torch.compile", "ignore:return_lse is deprecated"
)


def tensors(queries: int = 5, keys: int = 11, heads: int = 6, kv_heads: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(3, heads, queries, 7), torch.randn(3, kv_heads, keys, 7), torch.randn(3, kv_heads, keys, 13)


CASES: dict[str, tuple[Callable[[], Any], dict[str, Any], dict[str, str]]] = {
    "plain": (lambda: None, {}, {}),
    "causal": (rg.causal, {}, {}),
    "window": (lambda: rg.window(3), {}, {}),
    "empty rows": (rg.causal, {"query_start": -2}, {"sdpa": "a row sees no key"}),
    "alibi": (rg.alibi, {}, {"sdpa": "a bias would become an N×N tensor"}),
    "edges": (
        lambda: rg.bias.edges(torch.tensor([[0], [1]]), torch.ones(1)),
        {},
        {"sdpa": "a bias", "flex": "no lookup of edges"},
    ),
    "sink": (lambda: rg.softmax(sink=0.0), {}, {"sdpa": "its normalizer is the plain softmax, not softmax[sink=0]"}),
    "sparsemax": (rg.sparsemax, {}, {"sdpa": "not sparsemax", "flex": "its normalizer is softmax, not sparsemax"}),
    "cap": (lambda: rg.softcap(rg.dot(), 3), {}, {"sdpa": "its score is the dot product with a fixed scale"}),
    "cosine": (rg.cosine, {}, {"sdpa": "its score is the dot product", "flex": "not cosine"}),
    "learned scale": (lambda: rg.dot(torch.ones(6)), {}, {"sdpa": "a fixed scale", "flex": "a fixed scale"}),
    "dropout": (lambda: None, {"dropout": 0.1, "seed": 0}, {"sdpa": "its dropout mask", "flex": "it has no dropout"}),
}


REFUSED_BY_NATIVE = ("sparsemax",)


@pytest.mark.parametrize("name", CASES)
def test_every_engine_is_chosen_or_has_a_reason_and_the_reason_is_raised(name: str) -> None:
    make, options, refusals = CASES[name]
    rule, inputs = make(), tensors()
    made = rg.plan(*inputs, rule, **options)
    assert {made.engine, *made.reasons} == set(ENGINES) and made.engine not in made.reasons
    native = made.reasons.get("native", "")
    assert made.engine == ("tiled" if native else "native")
    assert bool(native) == (name in REFUSED_BY_NATIVE)
    refusals = {**refusals, **({"native": native} if native else {})}
    expected = rg.attend(*inputs, rule, **options)
    for engine, why in made.reasons.items():
        if any(said in why for said in SET_ASIDE):
            assert engine not in refusals
            again = rg.attend(*inputs, rule, engine=engine, **options)
            torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-5)
            assert rg.plan(*inputs, rule, engine=engine, **options).engine == engine
            continue
        assert refusals[engine] in why
        for call in (rg.attend, rg.plan):
            with pytest.raises(rg.EngineError) as caught:
                call(*inputs, rule, engine=engine, **options)  # type: ignore[operator]
            assert f"engine {engine!r} can't compute" in str(caught.value)
            assert f": {why}; engine=None picks one that can" in str(caught.value)
    assert {engine for engine, why in made.reasons.items() if not any(s in why for s in SET_ASIDE)} == set(refusals)


def test_reasons_that_hang_on_the_numbers() -> None:
    query, key, value = tensors(5, 5)
    value[0, 0, 3, 2] = float("nan")
    made = rg.plan(query, key, value, rg.causal())
    assert "holds NaN or ∞" in made.reasons["sdpa"] and "holds NaN or ∞" in made.reasons["flex"]
    made = rg.plan(query.requires_grad_(), key, value)
    assert made.reasons["flex"] == "it has no backward pass on a CPU"
    assert "nothing to attend to" in rg.plan(*tensors(0), rg.causal()).reasons["sdpa"]
    assert "N×N mask" in rg.plan(*tensors(199, 211), rg.window(3)).reasons["sdpa"]


@pytest.mark.parametrize("engine", ["fast", "", "TILED", 3])
def test_an_unknown_engine(engine: Any) -> None:
    for call in (rg.attend, rg.plan, rg.partial):
        with pytest.raises(rg.InputError) as caught:
            call(*tensors(), engine=engine)  # type: ignore[operator]
        assert (
            str(caught.value) == f"engine must be one of native, sdpa, flex, tiled, reference or None, got {engine!r}"
        )


# --------------------------------------------------------------------------------------------- the counts


@pytest.mark.parametrize(
    ("rule", "queries", "keys", "pairs"),
    [
        (None, 5, 11, 5 * 11),
        (rg.causal(), 7, 7, 1 + 2 + 3 + 4 + 5 + 6 + 7),
        (rg.causal(), 5, 11, 7 + 8 + 9 + 10 + 11),
        (rg.window(3), 11, 11, 1 + 2 + 9 * 3),
        (rg.window(before=1, after=2), 5, 5, 3 + 4 + 4 + 3 + 2),
        (rg.causal() & rg.documents([2, 3]), 5, 5, 1 + 2 + 1 + 2 + 3),
        (~rg.causal(), 3, 3, 2 + 1 + 0),
        (~rg.everything(), 3, 3, 0),
    ],
)
def test_pairs_flops_and_bytes(rule: Any, queries: int, keys: int, pairs: int) -> None:
    """3 entries, 6 query heads on 2 key heads, dim 7, value_dim 13, 4 bytes a number."""
    inputs = tensors(queries, keys)
    made = rg.plan(*inputs, rule)
    assert made.pairs == 3 * 6 * pairs
    assert made.square == 3 * 6 * queries * keys and made.share == pairs / (queries * keys)
    assert made.flops == 2 * 3 * 6 * pairs * (7 + 13)
    assert made.bytes == 4 * 3 * (6 * queries * 7 + 2 * keys * 7 + 2 * keys * 13 + 6 * queries * 13)
    assert made.pairs <= made.visited <= made.square
    assert (made.pattern_bytes == 0) == (rule is None)
    assert made.pairs == rg.steps(*inputs, rule).visible.sum()


def test_pairs_that_differ_by_head_and_entry() -> None:
    inputs = tensors(5, 5)
    by_head = rg.per_head([rg.causal()] * 5 + [rg.window(1)])
    assert rg.plan(*inputs, by_head).pairs == 3 * (5 * 15 + 5)
    by_entry = rg.padding(torch.tensor([5, 2, 0]))
    assert rg.plan(*inputs, by_entry).pairs == 6 * 5 * (5 + 2 + 0)


def test_bytes_follow_the_dtype() -> None:
    inputs = tensors()
    assert rg.plan(*(t.double() for t in inputs)).bytes == 2 * rg.plan(*inputs).bytes
    assert rg.plan(*(t.bfloat16() for t in inputs)).bytes * 2 == rg.plan(*inputs).bytes


def visited(positions: int, window: int) -> rg.Plan:
    inputs = [torch.empty(1, positions, 1).fill_(0) for _ in range(3)]
    return rg.plan(*inputs, rg.window(window))


def test_tiles_touch_what_a_window_needs() -> None:
    """At 4096 positions a window of 128 touches about N · (window + rows of a tile) pairs, not N²."""
    made = visited(4096, 128)
    assert made.pairs == 4096 * 128 - 128 * 127 // 2
    assert made.visited < 2.1 * made.pairs < made.square / 15
    assert visited(8192, 128).visited == pytest.approx(2 * made.visited, rel=0.01)
    assert visited(8192, 128).pattern_bytes == pytest.approx(2 * made.pattern_bytes, rel=0.01)
    wider = visited(4096, 256).visited - made.visited
    assert wider == pytest.approx(4096 * 128, rel=0.1), "128 more keys a row"
    dense = rg.plan(*(torch.zeros(1, 4096, 1) for _ in range(3)))
    assert dense.visited == dense.square


def test_documents_are_not_squared_either() -> None:
    made = rg.plan(*(torch.zeros(1, 4096, 1) for _ in range(3)), rg.documents([128] * 32))
    assert made.pairs == made.visited == 32 * 128**2


# ------------------------------------------------------------------------------------------- how it prints


def test_it_prints_all_of_it() -> None:
    made = rg.plan(*tensors(), rg.causal())
    said = str(made)
    assert said.splitlines()[0] == "softmax( dot/√d | causal )" == made.rule
    for part in ("tiled", "810 visible, 81.8% of the square", "32.4 kFLOP", "not sdpa", "not flex", "not reference"):
        assert part in said
    assert all(why in " ".join(said.split()) for why in made.reasons.values())


LONG = [
    rg.Rule(
        rg.softcap(rg.additive(torch.ones(17, 7), torch.ones(17, 7), torch.ones(17), negative_slope=0.2), 30),
        rg.causal() & rg.window(256) | rg.global_tokens(*range(0, 11, 2)) & ~rg.strided(3) & rg.blocks(5),
        rg.alibi() + rg.relative(torch.ones(6, 9)) + rg.t5(torch.ones(6, 32)),
        rg.softmax(sink=torch.ones(6)),
    ),
    rg.per_head([rg.causal() & rg.window(n + 1) for n in range(6)]),
    rg.sparsemax(),
    None,
]


@pytest.mark.parametrize("rule", LONG)
def test_it_fits_eighty_columns(rule: Any) -> None:
    for inputs in (tensors(), tuple(torch.zeros(()).expand(999, 6, 99, 7) for _ in range(3))):
        made = rg.plan(*inputs, rule, dropout=0.1)
        assert max(map(len, str(made).splitlines())) <= 80
        assert " ".join(made.rule.split()) in " ".join(str(made).split()), "nothing is cut"


def test_a_plan_is_a_frozen_value() -> None:
    made = rg.plan(*tensors())
    with pytest.raises(AttributeError):
        made.engine = "sdpa"  # type: ignore[misc]
