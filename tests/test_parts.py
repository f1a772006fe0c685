"""`partial` and `merge`: any split of the keys, put together again, is the whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import regard as rg
from regard.parts import Partial

INF = float("inf")
QUERIES, KEYS, HEADS = 7, 23, 6


def tensors() -> tuple[Tensor, Tensor, Tensor]:
    """Scores of standard deviation 3; six query heads on two key heads."""
    query = 3 * torch.randn(2, HEADS, QUERIES, 5, dtype=torch.float64)
    return query, torch.randn(2, 2, KEYS, 5, dtype=torch.float64), torch.randn(2, 2, KEYS, 11, dtype=torch.float64)


RULES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "causal": rg.causal,
    "window": lambda: rg.causal() & rg.window(3),
    "global": lambda: rg.window(2) | rg.global_tokens(1),
    "mask": lambda: rg.mask(torch.rand(HEADS, KEYS, KEYS) > 0.7),
    "alibi": lambda: rg.Rule(pattern=rg.causal(), bias=rg.alibi()),
    "tensor": lambda: rg.bias.tensor(3 * torch.randn(HEADS, KEYS, KEYS, dtype=torch.float64)),
    "keys": lambda: rg.bias.keys(3 * torch.randn(KEYS, dtype=torch.float64)),
    "capped": lambda: rg.Rule(rg.softcap(rg.dot(), 2.0), rg.causal()),
    "sink": lambda: rg.softmax(sink=0.5),
    "sinks": lambda: rg.Rule(pattern=rg.window(3), normalize=rg.softmax(sink=torch.randn(HEADS, dtype=torch.float64))),
    "sigmoid": lambda: rg.Rule(pattern=rg.causal(), normalize=rg.sigmoid(-1.0)),
    "relu": lambda: rg.Rule(pattern=rg.causal(), bias=rg.alibi(), normalize=rg.relu(power=2, divide=7)),
}

WHOLE_ROWS = {"sparsemax": rg.sparsemax(), "entmax15": rg.entmax15(), "top_k": rg.top_k(3), "hard": rg.hard()}


def split(
    inputs: tuple[Tensor, ...], cuts: list[int], rule: Any, start: Any = KEYS - QUERIES, **more: Any
) -> list[Partial]:
    query, key, value = inputs
    marks = [0, *sorted(cuts), KEYS]
    return [
        rg.partial(query, key[..., a:b, :], value[..., a:b, :], rule, query_start=start, key_start=a, **more)
        for a, b in itertools.pairwise(marks)
    ]


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@settings(max_examples=100)
@given(st.lists(st.integers(0, KEYS), max_size=5), st.sampled_from(list(RULES)), st.randoms(use_true_random=False))
def test_any_split_in_any_order_is_the_whole(cuts: list[int], name: str, random: Any) -> None:
    torch.manual_seed(random.randint(0, 2**31))
    rule, inputs = RULES[name](), tensors()
    parts = split(inputs, cuts, rule)
    random.shuffle(parts)
    merged = rg.merge(*parts)
    close(merged.out, rg.attend(*inputs, rule))
    if merged.log_sum is not None:
        close(merged.lse, rg.partial(*inputs, rule, query_start=KEYS - QUERIES).lse)


@pytest.mark.parametrize("name", RULES)
def test_leaving_a_part_out_shows(name: str) -> None:
    """One key less moves the result by far more than the tolerance."""
    rule, inputs = RULES[name](), tensors()
    left, _, right = split(inputs, [21, 22], rule)
    assert (rg.merge(left, right).out - rg.attend(*inputs, rule)).abs().max() > 1e-4


@pytest.mark.parametrize("name", RULES)
def test_merge_is_associative_and_commutative(name: str) -> None:
    a, b, c = split(tensors(), [3, 16], RULES[name]())
    trees = [rg.merge(rg.merge(a, b), c), rg.merge(a, rg.merge(b, c)), rg.merge(c, a, b), rg.merge(b, c, a)]
    for other in trees[1:]:
        close(trees[0].values, other.values)
        if other.log_sum is not None:
            close(trees[0].lse, other.lse)


def test_merge_of_one_is_that_one() -> None:
    (part,) = split(tensors(), [], rg.causal())
    assert rg.merge(part) is part


def test_lse_by_hand() -> None:
    """Scores log 1, log 2 and log 4: the sums are 3 and 4, the whole is 7; the values 0, 3 and 7 weigh 1, 2 and 4."""
    query, value = torch.ones(1, 1, dtype=torch.float64), torch.tensor([[0.0], [3.0], [7.0]], dtype=torch.float64)
    key = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64).log()
    left, right = rg.partial(query, key[:2], value[:2], rg.dot(1)), rg.partial(query, key[2:], value[2:], rg.dot(1))
    close(left.lse.exp(), torch.tensor([3.0], dtype=torch.float64))
    close(right.lse.exp(), torch.tensor([4.0], dtype=torch.float64))
    close(left.out, torch.tensor([[2.0]], dtype=torch.float64))
    whole = rg.merge(left, right)
    close(whole.lse.exp(), torch.tensor([7.0], dtype=torch.float64))
    close(whole.out, torch.tensor([[34 / 7]], dtype=torch.float64))


def test_a_sink_counts_once() -> None:
    """exp(sink) = 1 against three keys of score 0: each weighs 1/4. Were it counted twice, it would be 1/5."""
    query, key, value = torch.zeros(2, 3), torch.zeros(3, 3), torch.ones(3, 5)
    parts = [rg.partial(query, key[n : n + 1], value[n : n + 1], rg.softmax(sink=0.0)) for n in range(3)]
    torch.testing.assert_close(rg.merge(*parts).out, torch.full((2, 5), 3 / 4))
    torch.testing.assert_close(parts[0].out, torch.full((2, 5), 1 / 2))
    torch.testing.assert_close(rg.merge(*parts).lse, torch.tensor([3.0, 3.0]).log(), msg="lse is over real keys")


def test_rows_that_see_nothing_in_some_parts() -> None:
    """Rows 0 and 1 see nothing at all, row 2 key 0 only, row 6 all keys up to 4."""
    inputs = tensors()
    parts = split(inputs, [2, 11], rg.causal(), start=-2)
    assert (parts[2].lse == -INF).all() and (parts[2].values == 0).all()
    assert (parts[1].lse[..., :4] == -INF).all() and parts[1].lse[..., 4:].isfinite().all()
    whole = rg.merge(*parts)
    assert (whole.out[..., :2, :] == 0).all() and (whole.lse[..., :2] == -INF).all()
    close(whole.out[..., 2, :], inputs[2][:, :, 0].repeat_interleave(3, 1))
    close(whole.out, rg.attend(*inputs, rg.causal(), query_start=-2))


def gradients(out: Tensor, lse: Tensor | None, wanted: list[Tensor]) -> tuple[Tensor, ...]:
    torch.manual_seed(5)
    total = (out * torch.randn_like(out)).sum()
    if lse is not None:
        total = total + (torch.where(lse == -INF, 0, lse) * torch.randn_like(lse)).sum()
    return torch.autograd.grad(total, wanted)


@pytest.mark.parametrize("start", [KEYS - QUERIES, -2])
@pytest.mark.parametrize("name", RULES)
def test_gradients_through_merge(name: str, start: int) -> None:
    """Of out and lse together; from start −2 on, some rows see nothing in one part, some in all."""
    rule, inputs = RULES[name](), [t.requires_grad_() for t in tensors()]
    if start < 0 and name in ("mask", "tensor"):
        start = 0
    leaves = [] if rule is None else rule.leaves()
    wanted = [*inputs, *(leaf.requires_grad_() for leaf in leaves if leaf.is_floating_point())]
    merged = rg.merge(*split(tuple(inputs), [2, 11], rule, start))
    whole = rg.partial(*inputs, rule, query_start=start)
    ours = gradients(merged.out, merged.log_sum, wanted)
    theirs = gradients(whole.out, whole.log_sum, wanted)
    for a, b in zip(ours, theirs, strict=True):
        assert a.isfinite().all()
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_gradgrad_through_merge() -> None:
    query, key = torch.randn(3, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    value = torch.randn(5, 3, dtype=torch.float64)
    inputs = [t.requires_grad_() for t in (query, key, value)]

    def merged(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        parts = [
            rg.partial(query, key[a:b], value[a:b], rg.causal(), query_start=-1, key_start=a)
            for a, b in ((0, 1), (1, 5))
        ]
        return rg.merge(*parts).out

    assert torch.autograd.gradcheck(merged, inputs)
    assert torch.autograd.gradgradcheck(merged, inputs)


def test_nan_upstream_of_an_empty_row_goes_nowhere() -> None:
    inputs = [t.requires_grad_() for t in tensors()]
    sink = torch.zeros(HEADS, dtype=torch.float64, requires_grad=True)
    rule = rg.Rule(pattern=rg.causal(), normalize=rg.softmax(sink=sink))
    out = rg.merge(*split(tuple(inputs), [2, 11], rule, -2)).out
    upstream = torch.ones_like(out)
    clean = torch.autograd.grad(out, [*inputs, sink], upstream, retain_graph=True)
    upstream[..., :2, :] = float("nan")
    dirty = torch.autograd.grad(out, [*inputs, sink], upstream)
    for a, b in zip(clean, dirty, strict=True):
        assert torch.equal(a, b)


def test_nan_in_a_part_that_a_row_does_not_see() -> None:
    query, key, value = tensors()
    parts = split((query, key, value), [16], rg.causal(), 14)
    key[..., 16:, :], value[..., 16:, :] = float("nan"), INF
    dirty = split((query, key, value), [16], rg.causal(), 14)
    clean, dirty_out = rg.merge(*parts).out, rg.merge(*dirty).out
    assert torch.equal(clean[..., :2, :], dirty_out[..., :2, :])
    assert dirty_out[..., 2:, :].isnan().all()


@pytest.mark.parametrize("name", ["none", "causal", "sinks", "sigmoid"])
@pytest.mark.parametrize("engine", ["tiled", "reference"])
def test_dropout_over_parts_is_that_of_the_whole(name: str, engine: str) -> None:
    rule, inputs = RULES[name](), tensors()
    whole = rg.attend(*inputs, rule, dropout=0.4, seed=11)
    merged = rg.merge(*split(inputs, [4, 17], rule, dropout=0.4, seed=11, engine=engine))
    close(merged.out, whole)
    assert (rg.merge(*split(inputs, [4, 17], rule, dropout=0.4, seed=12)).out - whole).abs().max() > 1e-2
    if merged.log_sum is not None:
        close(merged.lse, rg.partial(*inputs, rule, query_start=KEYS - QUERIES).lse)


def test_offsets_per_batch_entry() -> None:
    """Each entry stands elsewhere; its part begins elsewhere as well, as in a cache that was filled unevenly."""
    inputs = tensors()
    starts, first = torch.tensor([13, 4]), torch.tensor([2, 5])
    whole = rg.attend(*inputs, rg.causal() & rg.window(11), query_start=starts, key_start=first)
    query, key, value = inputs
    parts = [
        rg.partial(
            query,
            key[..., a:b, :],
            value[..., a:b, :],
            rg.causal() & rg.window(11),
            query_start=starts,
            key_start=first + a,
        )
        for a, b in ((0, 5), (5, KEYS))
    ]
    close(rg.merge(*parts).out, whole)
    for entry in range(2):
        one = (query[entry], key[entry], value[entry])
        alone = rg.attend(
            *one, rg.causal() & rg.window(11), query_start=int(starts[entry]), key_start=int(first[entry])
        )
        close(whole[entry], alone)
    assert (whole - rg.attend(*inputs, rg.causal() & rg.window(11), query_start=13, key_start=2)).abs().max() > 0.1


@pytest.mark.parametrize("ndim", [2, 3, 4, 5])
def test_shapes(ndim: int) -> None:
    lead = (3, 2, 5)[5 - ndim :] if ndim > 2 else ()
    query, key, value = (torch.randn(*lead, n, d) for n, d in ((7, 11), (13, 11), (13, 17)))
    part = rg.partial(query, key, value)
    assert part.values.shape == part.out.shape == (*lead, 7, 17) and part.lse.shape == (*lead, 7)
    torch.testing.assert_close(rg.merge(part).out, rg.attend(query, key, value))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_parts_stay_in_float32_until_out(dtype: torch.dtype) -> None:
    """Merged in float32, the result is within one rounding of the exact one; merged in 16 bits it would not be."""
    inputs = tuple(t.to(dtype) for t in tensors())
    merged = rg.merge(*split(inputs, list(range(1, KEYS)), None))
    assert merged.values.dtype == merged.lse.dtype == torch.float32 and merged.out.dtype == dtype
    exact = rg.attend(*(t.double() for t in inputs))
    rounding = torch.finfo(dtype).eps * exact.abs().max().item()
    assert (merged.out.double() - exact).abs().max().item() <= rounding


def test_repr_names_shape_and_rule() -> None:
    assert repr(rg.partial(*tensors())) == "Partial([2, 6, 7, 11], softmax( dot/√d ))"


# ---------------------------------------------------------------------------------------------- what can't be


@pytest.mark.parametrize("name", WHOLE_ROWS)
def test_normalizers_of_whole_rows_refuse(name: str) -> None:
    with pytest.raises(rg.InputError) as caught:
        rg.partial(*tensors(), rg.Rule(pattern=rg.causal(), normalize=WHOLE_ROWS[name]), query_start=0)
    said = str(caught.value)
    assert all(part in said for part in (name, "the whole row", "parts", "attend")), said


@pytest.mark.parametrize("name", WHOLE_ROWS)
def test_the_refusal_is_needed(name: str) -> None:
    """Had their parts been added up, the result would have been another."""
    inputs = tensors()
    query, key, value = inputs
    normalize = WHOLE_ROWS[name]
    halves = [rg.attend(query, key[..., a:b, :], value[..., a:b, :], normalize, seed=0) for a, b in ((0, 9), (9, KEYS))]
    assert (halves[0] + halves[1] - rg.attend(*inputs, normalize, seed=0)).abs().max() > 0.1


@pytest.mark.parametrize("rule", [rg.causal(), rg.alibi(), rg.Rule(pattern=rg.padding(KEYS))])
def test_query_start_is_required_where_positions_count(rule: Any) -> None:
    with pytest.raises(rg.InputError, match=r"partial needs query_start for softmax.*where the queries stand"):
        rg.partial(*tensors(), rule)


def test_query_start_is_required_for_dropout() -> None:
    with pytest.raises(rg.InputError, match="partial needs query_start for dropout"):
        rg.partial(*tensors(), dropout=0.1)


@pytest.mark.parametrize("normalize", [rg.sigmoid(), rg.relu()])
def test_lse_of_a_sum_raises(normalize: Any) -> None:
    part = rg.partial(*tensors(), normalize)
    with pytest.raises(rg.InputError, match=r"(sigmoid|relu).* has no log-sum-exp.*not normalized"):
        _ = part.lse


def test_merge_refuses_what_does_not_belong_together() -> None:
    query, key, value = tensors()
    part = rg.partial(query, key, value)
    others = {
        "one rule": rg.partial(query, key, value, rg.dot(2)),
        "one shape": rg.partial(query[..., :3, :], key, value),
        "one dtype": rg.partial(query.float(), key.float(), value.float()),
    }
    for says, other in others.items():
        with pytest.raises(rg.InputError, match=f"merge needs parts of {says}, got .* and "):
            rg.merge(part, other)
    with pytest.raises(rg.InputError, match="at least one Partial, got none"):
        rg.merge()
    with pytest.raises(rg.InputError, match=r"results of regard.partial, got Tensor"):
        rg.merge(part, part.out)  # type: ignore[arg-type]
    sinks = [rg.partial(query, key, value, rg.softmax(sink=torch.full((HEADS,), s))) for s in (0.0, 1.0)]
    with pytest.raises(rg.InputError, match="two different sinks"):
        rg.merge(*sinks)


@pytest.mark.parametrize(("engine", "why"), [("sdpa", "no log-sum-exp"), ("flex", "softmax, not sigmoid")])
def test_engines_that_can_not(engine: str, why: str) -> None:
    with pytest.raises(rg.EngineError, match=why):
        rg.partial(*tensors(), rg.sigmoid() if engine == "flex" else None, engine=engine)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile", "ignore:return_lse is deprecated")
def test_flex_makes_parts_too() -> None:
    inputs = tuple(t.float() for t in tensors())
    merged = rg.merge(*split(inputs, [9], rg.causal(), engine="flex"))
    torch.testing.assert_close(merged.out, rg.attend(*inputs, rg.causal()), rtol=1e-5, atol=1e-5)
