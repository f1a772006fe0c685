"""Step by step equals the whole: for every cache, window and rule, with grouped heads and a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

import regard as rg
from regard.nn.reach import by_distance, span

BATCH, LENGTH, DIM, HEADS, KV_HEADS = 2, 31, 29, 6, 3
STEPS = {"one by one": [1] * LENGTH, "uneven": [7, 1, 1, 3, 1, 11, 2, 5], "two": [30, 1], "at once": [LENGTH]}
WINDOWS = (1, 5, 13)


def rules(pattern: rg.terms.pattern.Pattern) -> dict[str, Callable[[], rg.Rule]]:
    """Rules of every kind over one pattern; learned numbers are made anew for each test."""

    def say(**terms: Any) -> rg.Rule:
        return rg.Rule(**{"pattern": pattern, **terms})

    def table(*shape: int) -> nn.Parameter:
        return nn.Parameter(2 * torch.randn(*shape))

    return {
        "plain": say,
        "alibi": lambda: say(bias=rg.alibi()),
        "relative": lambda: say(bias=rg.relative(table(HEADS, 9))),
        "t5": lambda: say(bias=rg.t5(table(HEADS, 8), bidirectional=False, max_distance=11)),
        "keys": lambda: say(bias=rg.bias.keys(table(LENGTH))),
        "sink": lambda: say(normalize=rg.softmax(sink=table(HEADS))),
        "sigmoid": lambda: say(normalize=rg.sigmoid(-1.5)),
        "softcap": lambda: say(score=rg.softcap(rg.dot(), 1.5)),
        "sparsemax": lambda: say(normalize=rg.sparsemax()),
        "padding": lambda: say(pattern=pattern & rg.padding(torch.tensor([23, LENGTH]))),
        "strided": lambda: say(pattern=pattern & rg.strided(3)),
    }


def layer(rule: rg.Rule, rotary: bool) -> rg.nn.MultiHead:
    turn = rg.rotary(4) if rotary else None
    return rg.nn.MultiHead(DIM, HEADS, kv_heads=KV_HEADS, head_dim=(7, 5), rule=rule, rotary=turn).double().eval()


def stepped(made: rg.nn.MultiHead, inputs: Tensor, cache: rg.nn.Cache, steps: list[int]) -> Tensor:
    with torch.no_grad():
        return torch.cat([made(part, cache=cache) for part in inputs.split(steps, 1)], 1)


def numbers() -> Tensor:
    return 3 * torch.randn(BATCH, LENGTH, DIM, dtype=torch.float64)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def whole_caches() -> dict[str, rg.nn.Cache]:
    return {"dynamic": rg.nn.Dynamic(), "static": rg.nn.Static(LENGTH), "static with room": rg.nn.Static(LENGTH + 6)}


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("name", rules(rg.causal()))
def test_causal(name: str, rotary: bool, steps: str) -> None:
    made, inputs = layer(rules(rg.causal())[name](), rotary), numbers()
    wanted = made(inputs)
    for cache in whole_caches().values():
        close(stepped(made, inputs, cache, STEPS[steps]), wanted)
        assert cache.length == LENGTH


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", rules(rg.causal()))
def test_windows(name: str, window: int, steps: str) -> None:
    made, inputs = layer(rules(rg.causal() & rg.window(window))[name](), True), numbers()
    wanted = made(inputs)
    rolling = {size: rg.nn.Rolling(size) for size in (window, window + 4)}
    for cache in (*whole_caches().values(), *rolling.values()):
        close(stepped(made, inputs, cache, STEPS[steps]), wanted)
    for size, cache in rolling.items():
        assert cache.key is not None and cache.key.shape[-2] == min(size - 1, LENGTH)
        assert cache.key.untyped_storage().nbytes() == cache.key.numel() * cache.key.element_size()


@pytest.mark.parametrize("name", ["dynamic", "static"])
@pytest.mark.parametrize("length", [7, torch.tensor([3, 7])], ids=["one", "by batch"])
def test_prefix(name: str, length: Any) -> None:
    """The first step holds the whole prefix."""
    made, inputs = layer(rg.Rule(pattern=rg.causal() | rg.prefix(length), bias=rg.alibi()), True), numbers()
    cache = whole_caches()[name]
    close(stepped(made, inputs, cache, STEPS["uneven"]), made(inputs))
    with pytest.raises(rg.InputError, match="pass its whole prefix in the first step"):
        made(inputs[:, :6], cache=rg.nn.Dynamic())


def test_heads_with_windows_of_their_own() -> None:
    pattern = rg.per_head(*[rg.causal() & rg.window(n) for n in (1, 2, 3, 5, 7, 11)])
    made, inputs = layer(rg.Rule(pattern=pattern), True), numbers()
    close(stepped(made, inputs, rg.nn.Rolling(11), STEPS["uneven"]), made(inputs))
    with pytest.raises(rg.InputError, match="looks further back"):
        stepped(made, inputs, rg.nn.Rolling(10), STEPS["uneven"])


def test_extra_keys_are_not_in_the_cache() -> None:
    made, inputs = layer(rg.Rule(pattern=rg.causal() & rg.window(5)), True), numbers()
    made.learn_extra(2)
    made.double()
    for cache in (*whole_caches().values(), rg.nn.Rolling(5)):
        close(stepped(made, inputs, cache, STEPS["uneven"]), made(inputs))


@pytest.mark.parametrize("shape", [(LENGTH, DIM), (3, 2, LENGTH, DIM)])
def test_any_leading_dimensions(shape: tuple[int, ...]) -> None:
    made = layer(rg.Rule(pattern=rg.causal() & rg.window(5)), True)
    inputs = torch.randn(*shape, dtype=torch.float64)
    for cache in (rg.nn.Dynamic(), rg.nn.Rolling(5), rg.nn.Static(LENGTH)):
        with torch.no_grad():
            got = torch.cat([made(part, cache=cache) for part in inputs.split(STEPS["uneven"], -2)], -2)
        close(got, made(inputs))


def test_a_wrong_offset_would_show() -> None:
    """A cache that forgets how many keys it has dropped gives another result: the tests above can fail."""

    class Forgetful(rg.nn.Rolling):
        def _add(self, key: Tensor, value: Tensor) -> Any:
            return super()._add(key, value)._replace(key_start=0, query_start=None)

    made, inputs = (
        layer(rg.Rule(pattern=rg.causal() & rg.window(5), bias=rg.bias.keys(torch.randn(LENGTH))), True),
        numbers(),
    )
    gap = stepped(made, inputs, Forgetful(5), STEPS["uneven"]) - made(inputs)
    assert gap.abs().max() > 1e-2


def test_compiled_steps_make_no_graph_of_their_own() -> None:
    made, inputs = layer(rg.Rule(pattern=rg.causal() & rg.window(5), bias=rg.alibi()), True), numbers()
    wanted = made(inputs)
    for make in (rg.nn.Dynamic, lambda: rg.nn.Rolling(5), lambda: rg.nn.Static(LENGTH + 1)):
        torch.compiler.reset()
        graphs = CompileCounter()
        compiled = torch.compile(made, fullgraph=True, backend=graphs)
        close(stepped(compiled, inputs, make(), [3, 5] + [1] * (LENGTH - 8)), wanted)  # type: ignore[arg-type]
        assert graphs.frame_count <= 4  # the first step, the second, a single token, the same of any length


def test_gradients_flow_through_a_dynamic_cache() -> None:
    made, inputs = layer(rg.Rule(pattern=rg.causal()), True), numbers().requires_grad_()
    upstream = torch.randn(BATCH, LENGTH, DIM, dtype=torch.float64)
    (wanted,) = torch.autograd.grad(made(inputs), inputs, upstream)
    cache = rg.nn.Dynamic()
    got = torch.cat([made(part, cache=cache) for part in inputs.split(STEPS["uneven"], 1)], 1)
    close(torch.autograd.grad(got, inputs, upstream)[0], wanted)


def test_a_dynamic_cache_does_not_copy_all_it_holds_at_every_step() -> None:
    """Its room doubles when it is full: four times in 31 steps of one token."""
    made, inputs, cache = layer(rg.Rule(pattern=rg.causal()), False), numbers(), rg.nn.Dynamic()
    rooms = []
    with torch.no_grad():
        for part in inputs.split(1, 1):
            made(part, cache=cache)
            assert cache.key is not None
            rooms.append(cache.key.shape[-2])
    assert rooms == [1, 4, 4, 4, *[10] * 6, *[22] * 12, *[46] * 9]


@pytest.mark.parametrize("first", ["gradients", "none"])
def test_a_dynamic_cache_may_change_between_with_and_without_gradients(first: str) -> None:
    made, inputs, cache = layer(rg.Rule(pattern=rg.causal()), False), numbers(), rg.nn.Dynamic()
    found = []
    for number, part in enumerate(inputs.split([7, 3, 5, 1, 1, 14], 1)):
        with torch.set_grad_enabled((number % 2 == 0) == (first == "gradients")):
            found.append(made(part, cache=cache))
    close(torch.cat(found, 1), made(inputs))


@pytest.mark.parametrize("name", ["dynamic", "static", "rolling"])
def test_reorder(name: str) -> None:
    """Beam search: each batch entry goes on from the past of another."""
    made, inputs = layer(rg.Rule(pattern=rg.causal() & rg.window(5)), True), numbers()
    cache = {**whole_caches(), "rolling": rg.nn.Rolling(5)}[name]
    stepped(made, inputs[:, :17], cache, [17])
    cache.reorder(torch.tensor([1, 1, 0]))
    with torch.no_grad():
        got = made(inputs[[1, 1, 0], 17:23], cache=cache)
    close(got, made(inputs[[1, 1, 0]])[:, 17:23])


def test_memory_projects_the_source_once() -> None:
    calls: list[int] = []
    made = rg.nn.MultiHead(DIM, HEADS, kv_heads=KV_HEADS, head_dim=7, source_dim=11).double()
    made.key.register_forward_hook(lambda *given: calls.append(1))
    inputs, source, cache = numbers(), torch.randn(BATCH, 17, 11, dtype=torch.float64), rg.nn.Memory()
    wanted = made(inputs, source)
    calls.clear()
    got = torch.cat([made(part, source, cache=cache) for part in inputs.split(STEPS["uneven"], 1)], 1)
    close(got, wanted)
    assert len(calls) == 1 and cache.length == 17


# ------------------------------------------------------------------------------------------------ errors


def refused(rule: Any, cache: rg.nn.Cache, steps: list[int], **options: Any) -> str:
    made, inputs = layer(rg.Rule(pattern=rule), False), numbers()
    with pytest.raises(rg.InputError) as caught, torch.no_grad():
        for part in inputs[:, : sum(steps)].split(steps, 1):
            made(part, cache=cache, **options)
    return str(caught.value)


def test_a_full_static_cache() -> None:
    said = refused(rg.causal(), rg.nn.Static(7), [5, 2, 1])
    assert "Static(7, length=7) has room for 7 positions, but there would be 8" in said and "Dynamic()" in said


@pytest.mark.parametrize("step", [1, 5, LENGTH])
def test_a_rolling_cache_that_is_too_short(step: int) -> None:
    """It is said in the first step."""
    said = refused(rg.causal() & rg.window(5), rg.nn.Rolling(4), [step])
    assert said.startswith(
        "Rolling(4, length=0) keeps the last 4 keys, but softmax( dot/√d | causal & window(5) ) looks"
    )
    assert "as long as the rule's window" in said


def test_a_rolling_cache_under_a_rule_without_window() -> None:
    assert "looks further back" in refused(rg.causal(), rg.nn.Rolling(4), [1])


def test_a_rule_that_looks_ahead() -> None:
    for cache in (*whole_caches().values(), rg.nn.Rolling(5)):
        assert "give the rule causal()" in refused(None, cache, [3, 1])
        assert cache.length == 0
    assert "looks at later ones" in refused(rg.window(before=3, after=2), rg.nn.Dynamic(), [3, 1])


def test_another_batch() -> None:
    made, cache = layer(rg.Rule(pattern=rg.causal()), False), rg.nn.Dynamic()
    made(numbers(), cache=cache)
    with pytest.raises(rg.InputError, match=r"holds keys \[2, 3, positions, 7\] of torch.float64, got \[1, 3"):
        made(numbers()[:1], cache=cache)


def test_a_cache_knows_where_the_queries_stand() -> None:
    assert "leave query_start out" in refused(rg.causal(), rg.nn.Dynamic(), [3], query_start=0)


def test_static_carries_no_gradient() -> None:
    made = layer(rg.Rule(pattern=rg.causal()), False)
    with pytest.raises(rg.InputError, match="carries no gradient"):
        made(numbers(), cache=rg.nn.Static(LENGTH))


@pytest.mark.parametrize("kind", [rg.nn.Rolling, rg.nn.Static])
@pytest.mark.parametrize("size", [0, 2.5, True])
def test_sizes(kind: Any, size: Any) -> None:
    with pytest.raises(rg.InputError, match="whole number ≥ 1"):
        kind(size)


# ------------------------------------------------------------------------------------------------- reach


@pytest.mark.parametrize(
    ("pattern", "low", "high"),
    [
        (None, 0, float("inf")),
        (rg.causal(), 0, 17),
        (rg.window(5), 13, 17),
        (rg.window(before=3, after=2), 14, 19),
        (rg.causal() & rg.window(before=3, after=2), 14, 17),
        (rg.causal() | rg.window(before=3, after=2), 0, 19),
        (rg.causal() | rg.prefix(23), 0, 22),
        (rg.causal() & rg.documents([11, 20]), 0, 17),
        (~rg.causal(), 0, float("inf")),
        (rg.per_head(rg.window(5), rg.causal() & rg.window(7)), 11, 17),
        (rg.window(5) & rg.padding(torch.tensor([3, 15])), 13, 14),
    ],
    ids=str,
)
def test_span(pattern: Any, low: float, high: float) -> None:
    assert span(pattern, 17) == (low, high)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (rg.Rule(), True),
        (
            rg.Rule(pattern=rg.causal() & rg.window(5) & ~rg.strided(3), bias=rg.alibi() + rg.relative(torch.ones(3))),
            True,
        ),
        (rg.Rule(pattern=rg.causal() & rg.padding(3)), False),
        (rg.Rule(pattern=rg.causal() | rg.prefix(3)), False),
        (rg.Rule(bias=rg.bias.keys(torch.ones(3))), False),
        (rg.Rule(pattern=rg.causal(), normalize=rg.hard()), False),
    ],
    ids=str,
)
def test_rules_by_distance_alone(rule: rg.Rule, wanted: bool) -> None:
    assert by_distance(rule) is wanted
