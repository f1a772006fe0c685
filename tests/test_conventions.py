"""Every row of the conventions table, in every engine that takes the case, forward and backward."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import regard as rg
from regard.planning import ENGINES

INFINITY, NAN = float("inf"), float("nan")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def qkv(queries: int = 5, keys: int = 7) -> list[Tensor]:
    return [numbers(2, 3, n, d, seed=n + d) * s for n, d, s in ((queries, 11, 3), (keys, 11, 1), (keys, 13, 1))]


def run(
    inputs: list[Tensor], rule: object, engine: str, upstream: Tensor | None = None, **options: object
) -> list[Tensor]:
    """Output and gradients of query, key and value."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    out = rg.attend(*leaves, rule, engine=engine, **options)
    upstream = torch.ones_like(out) if upstream is None else upstream
    return [out, *torch.autograd.grad(out, leaves, upstream)]


def every_engine(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test with every engine; one that says why it can't has honoured the convention, too."""

    @pytest.mark.parametrize("engine", ENGINES)
    @functools.wraps(test)
    def wrapped(engine: str, **given: object) -> None:
        try:
            test(engine=engine, **given)
        except rg.EngineError as refused:
            assert engine not in ("reference", "tiled"), refused
            assert re.search(r"can't compute .+: .+; engine=None picks one that can", str(refused))

    return wrapped


@every_engine
def test_mask_polarity_true_may_attend(engine):
    query, key, value = qkv()
    seen = torch.zeros(5, 7, dtype=torch.bool)
    seen[:, 2] = True
    out = run([query, key, value], rg.mask(seen), engine, query_start=0)[0]
    torch.testing.assert_close(out, value[..., 2:3, :].expand_as(out), rtol=0, atol=1e-14)


@every_engine
def test_causal_is_bottom_right_unless_told(engine):
    query, key, value = qkv()
    corner = torch.ones(5, 7, dtype=torch.bool)
    expected = run([query, key, value], rg.mask(corner.tril(2)), "reference", query_start=0)
    for got, want in zip(run([query, key, value], rg.causal(), engine), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    expected = run([query, key, value], rg.mask(corner.tril()), "reference", query_start=0)
    for got, want in zip(run([query, key, value], rg.causal(), engine, query_start=0), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_window_counts_the_query_itself():
    query, key, _ = qkv()
    one_sided = rg.weights(query, key, rg.window(3)) > 0
    two_sided = rg.weights(query, key, rg.window(before=1, after=2)) > 0
    # the queries are the last five of seven positions
    assert one_sided[0, 0].int().tolist() == [
        [1, 1, 1, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 1, 1, 1],
    ]
    assert two_sided[0, 0].int().tolist() == [
        [0, 1, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 1, 0],
        [0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 0, 1, 1, 1],
        [0, 0, 0, 0, 0, 1, 1],
    ]


def test_causal_and_documents_of_unequal_lengths_raise():
    with pytest.raises(rg.InputError, match="packed"):
        rg.attend(*qkv(5, 7), rg.causal() & rg.documents([2, 3]))


def empty_row(rule: str) -> tuple[object, dict[str, object]]:
    """Row 1 sees nothing: by the pattern, by an additive −∞, by standing before every key."""
    seen = torch.ones(5, 7, dtype=torch.bool)
    seen[1] = False
    if rule == "pattern":
        return rg.mask(seen), {"query_start": 0}
    if rule == "additive":
        return rg.bias.tensor(torch.where(seen, 0.0, -INFINITY)), {"query_start": 0}
    return rg.causal(), {"query_start": -2}


@every_engine
@pytest.mark.parametrize("how", ["pattern", "additive", "position"])
@pytest.mark.parametrize("upstream", [1.0, NAN], ids=["finite", "nan-upstream"])
def test_a_row_of_nothing_is_zero_without_gradients(engine, how, upstream):
    rule, options = empty_row(how)
    if how == "additive" and upstream != 1.0:
        return  # an additive −∞ hides nothing from a NaN gradient: the pair is still there
    query, key, value = qkv()
    grad = torch.ones(2, 3, 5, 13, dtype=torch.float64)
    grad[..., 1, :] = upstream
    out, to_query, to_key, to_value = run([query, key, value], rule, engine, grad, **options)
    assert not out[..., 1, :].any()
    assert not to_query[..., 1, :].any()
    assert all(t.isfinite().all() for t in (out, to_query, to_key, to_value))


@pytest.mark.parametrize("engine", ["reference", "tiled", "flex"])
@pytest.mark.parametrize("how", ["pattern", "additive", "position"])
@pytest.mark.parametrize("sink", [None, 0.7])
def test_lse_of_a_row_of_nothing_is_minus_infinity(engine, how, sink):
    rule, options = empty_row(how)
    kind = "bias" if how == "additive" else "pattern"
    whole = rg.Rule(**{kind: rule}, normalize=rg.softmax(sink))
    part = rg.partial(*qkv(), whole, engine=engine, **options)
    assert (part.lse[..., 1] == -INFINITY).all()
    assert not part.out[..., 1, :].any()


@every_engine
def test_a_row_of_the_least_finite_number_is_the_mean(engine):
    query, key, value = (t.float() for t in qkv())
    additive = torch.zeros(5, 7)
    additive[1] = torch.finfo(torch.float32).min
    out = run([query, key, value], rg.bias.tensor(additive), engine, query_start=0)[0]
    torch.testing.assert_close(out[..., 1, :], value.mean(-2), rtol=0, atol=1e-6)


POISONS = [NAN, INFINITY, -INFINITY]
RULES = {
    "softmax": rg.Rule(),
    "sink": rg.Rule(normalize=rg.softmax(torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))),
    "sigmoid": rg.Rule(normalize=rg.sigmoid()),
    "relu": rg.Rule(normalize=rg.relu()),
    "sparsemax": rg.Rule(normalize=rg.sparsemax()),
    "entmax15": rg.Rule(normalize=rg.entmax15()),
    "top_k": rg.Rule(normalize=rg.top_k(2)),
    "gaussian": rg.Rule(score=rg.gaussian(3.0)),
    "cosine": rg.Rule(score=rg.cosine(5.0)),
    "softcap": rg.Rule(score=rg.softcap(rg.dot(), 2.0)),
    "general": rg.Rule(score=rg.general(numbers(11, 11, seed=1))),
    "additive": rg.Rule(score=rg.additive(numbers(5, 11, seed=2), numbers(5, 11, seed=3), numbers(5, seed=4))),
    "alibi": rg.Rule(bias=rg.alibi()),
    "dropout": rg.Rule(),
}


def hidden_pairs() -> Tensor:
    """Key 3 is seen by row 4 alone, key 6 by nobody; row 2 sees nothing; the rest is a causal square."""
    seen = torch.ones(5, 7, dtype=torch.bool).tril(2)
    seen[:4, 3], seen[:, 6], seen[2] = False, False, False
    return seen


def options(name: str) -> dict[str, object]:
    return {"query_start": 0, "seed": 3, "dropout": 0.3 if name == "dropout" else 0.0}


def masked(name: str) -> rg.Rule:
    rule = RULES[name]
    return rg.Rule(rule.score, rg.mask(hidden_pairs()), rule.bias, rule.normalize)


@every_engine
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("poison", POISONS, ids=str)
@pytest.mark.parametrize("where", ["query", "key", "value", "upstream"])
def test_what_a_hidden_pair_holds_reaches_nothing(engine, name, poison, where):
    """Poison in places that only hidden pairs hold changes no bit of an output or a gradient."""
    clean, upstream = qkv(), numbers(2, 3, 5, 13, seed=5)
    dirty, grad = [t.clone() for t in clean], upstream.clone()
    if where == "upstream":
        grad[..., 2, :] = poison
    elif where == "query":
        dirty[0][..., 2, 4] = poison
    else:
        dirty[1 if where == "key" else 2][..., 6, 4] = poison
    expected = run(clean, masked(name), engine, upstream, **options(name))
    for got, want in zip(run(dirty, masked(name), engine, grad, **options(name)), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-13)


@every_engine
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("poison", POISONS, ids=str)
@pytest.mark.parametrize("where", ["key", "value"])
def test_nan_reaches_exactly_the_rows_that_see_it(engine, name, poison, where):
    """Row 4 alone sees key 3. All other rows, and their gradients, keep their numbers."""
    clean, upstream = qkv(), numbers(2, 3, 5, 13, seed=5)
    dirty = [t.clone() for t in clean]
    dirty[1 if where == "key" else 2][..., 3, 4] = poison
    expected = run(clean, masked(name), engine, upstream, **options(name))
    out, to_query, to_key, to_value = run(dirty, masked(name), engine, upstream, **options(name))
    others = [0, 1, 2, 3]
    torch.testing.assert_close(out[..., others, :], expected[0][..., others, :], rtol=0, atol=1e-13)
    torch.testing.assert_close(to_query[..., others, :], expected[1][..., others, :], rtol=0, atol=1e-13)
    unseen = [6]
    assert not to_key[..., unseen, :].any() and not to_value[..., unseen, :].any()
    may_vanish = name in ("dropout", "top_k", "sparsemax", "entmax15", "relu")  # a weight of 0 carries nothing on
    if poison != poison and not (where == "value" and may_vanish) and not (where == "key" and name == "dropout"):
        assert out[..., 4, :].isnan().any()


@every_engine
@pytest.mark.parametrize("name", ["softmax", "gaussian", "capped gaussian", "softcap"])
def test_a_nan_query_reaches_only_the_keys_of_its_row(engine, name):
    """Row 4 alone sees key 3, row 0 sees keys 0 to 2: a NaN query in row 0 leaves the gradients of key 3 alone."""
    said = rg.Rule(rg.softcap(rg.gaussian(3.0), 2.0)) if name == "capped gaussian" else RULES[name]
    rule, dirty = rg.Rule(said.score, rg.mask(hidden_pairs())), qkv()
    dirty[0][..., 0, 4] = NAN
    expected, found = (
        run(inputs, rule, engine, numbers(2, 3, 5, 13, seed=5), query_start=0) for inputs in (qkv(), dirty)
    )
    for n, unmoved in enumerate((slice(1, 5), slice(1, 5), slice(3, 7), slice(3, 7))):
        torch.testing.assert_close(found[n][..., unmoved, :], expected[n][..., unmoved, :], rtol=0, atol=1e-13)


@every_engine
@pytest.mark.parametrize("where", ["value", "upstream"])
def test_a_product_that_overflows_stays_with_its_row(engine, where):
    """do_i · v_j of a hidden pair may be ∞ where both are finite: row 4 alone sees key 3, and nobody key 6."""
    clean, upstream = qkv(), numbers(2, 3, 5, 13, seed=5)
    dirty, grad = [t.clone() for t in clean], upstream.clone()
    most = torch.finfo(torch.float64).max
    if where == "value":
        dirty[2][..., 6, :] = most
    else:
        grad[..., 2, :] = most
    expected = run(clean, masked("softmax"), engine, upstream, query_start=0)
    for got, want in zip(run(dirty, masked("softmax"), engine, grad, query_start=0), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-13)


@every_engine
def test_nan_upstream_reaches_only_the_keys_of_its_row(engine):
    """Row 4 alone sees key 3, row 0 sees keys 0 to 2: a NaN gradient in row 0 leaves key 3 alone."""
    upstream = numbers(2, 3, 5, 13, seed=5)
    bad = upstream.clone()
    bad[..., 0, :] = NAN
    expected = run(qkv(), masked("softmax"), engine, upstream, query_start=0)
    found = run(qkv(), masked("softmax"), engine, bad, query_start=0)
    torch.testing.assert_close(found[2][..., 3:, :], expected[2][..., 3:, :], rtol=0, atol=1e-13)
    torch.testing.assert_close(found[3][..., 3:, :], expected[3][..., 3:, :], rtol=0, atol=1e-13)
    torch.testing.assert_close(found[1][..., 1:, :], expected[1][..., 1:, :], rtol=0, atol=1e-13)
    assert found[2][..., :3, :].isnan().any()


@pytest.mark.parametrize("kernel", ["causal", "mask"])
def test_pytorchs_own_kernel_leaks_so_these_tests_can_fail(kernel):
    """What regard guards against happens in PyTorch's own kernel: a NaN value that nobody may see."""
    query, key, value = qkv(7, 7)
    value[..., 6, :] = NAN
    mask = torch.ones(7, 7, dtype=torch.bool).tril()
    given = {"is_causal": True} if kernel == "causal" else {"attn_mask": mask}
    theirs = torch.nn.functional.scaled_dot_product_attention(query, key, value, **given)
    ours = rg.scaled_dot_product_attention(query, key, value, **given)
    assert ours[..., :6, :].isfinite().all()
    assert theirs[..., :6, :].isnan().any()


def test_a_nan_query_makes_its_row_nan():
    for engine in ENGINES:
        query, key, value = (t.float() for t in qkv())
        query[0, 0, 3, 4] = NAN
        out = rg.attend(query, key, value, engine=engine)
        assert out[0, 0, 3].isnan().all()
        assert out.isnan().sum() == 13


@pytest.mark.parametrize("engine", ["reference", "tiled", "flex"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_accumulation_and_dtypes(engine, dtype):
    part = rg.partial(*(t.to(dtype) for t in qkv()), engine=engine)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert (part.values.dtype, part.lse.dtype, part.out.dtype) == (wide, wide, dtype)


@every_engine
def test_sums_of_halves_do_not_overflow(engine):
    """65504 is the largest float16; the scores pass it, the weights do not."""
    query, key = torch.full((1, 3, 64), 200.0, dtype=torch.float16), torch.full((1, 5, 64), 200.0, dtype=torch.float16)
    value = torch.arange(5, dtype=torch.float16)[None, :, None]
    assert rg.attend(query, key, value, engine=engine).tolist() == [[[2.0]] * 3]


def test_a_sink_is_in_the_denominator_of_the_weights():
    one = torch.zeros(1, 1, 1)
    weights = rg.weights(one, torch.zeros(1, 3, 1), rg.softmax(0.0))
    assert weights.flatten().tolist() == pytest.approx([0.25, 0.25, 0.25])


def test_ties_in_top_k_go_to_the_lower_index():
    weights = rg.weights(torch.zeros(1, 2, 3), torch.zeros(1, 7, 3), rg.top_k(3))
    third = pytest.approx(1 / 3)
    assert weights[0, 0].tolist() == [third, third, third, 0, 0, 0, 0]


def test_not_stays_within_existing_keys():
    weights = rg.weights(*qkv()[:2], ~rg.causal(), key_start=2)
    assert (weights > 0).sum(-1)[0, 0].tolist() == [4, 3, 2, 1, 0]


def test_relative_clips_at_its_ends():
    table = torch.tensor([[-1.0, 0.0, 10.0]])
    zeros = torch.zeros(1, 4, 2)
    bias = rg.steps(zeros, zeros, zeros, rg.relative(table)).bias
    assert bias is not None
    assert bias[0].tolist() == [[0, 10, 10, 10], [-1, 0, 10, 10], [-1, -1, 0, 10], [-1, -1, -1, 0]]


@pytest.mark.parametrize("enabled", [False, True])
def test_autocast_is_that_of_pytorch(enabled):
    query, key, value = (t.float() for t in qkv())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        ours = rg.attend(query, key, value)
        theirs = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    assert ours.dtype == theirs.dtype


def test_a_named_engine_that_cannot_raises_its_reason_and_nothing_is_dropped():
    rule = rg.Rule(bias=rg.alibi())
    with pytest.raises(rg.EngineError, match="a bias would become an N×N tensor"):
        rg.attend(*qkv(), rule, engine="sdpa")
    assert rg.plan(*qkv(), rule).reasons["sdpa"] == "a bias would become an N×N tensor"


@pytest.mark.parametrize("engine", ["reference", "tiled"])
def test_a_bias_of_minus_infinity_hides_what_its_pair_holds(engine):
    """Key 6 is behind −∞ for every row: NaN in it, or in the gradient of a row of nothing, reaches nothing."""
    additive = torch.zeros(5, 7, dtype=torch.float64)
    additive[:, 6], additive[2] = -INFINITY, -INFINITY
    clean, upstream = qkv(), numbers(2, 3, 5, 13, seed=5)
    dirty, grad = [t.clone() for t in clean], upstream.clone()
    dirty[1][..., 6, :], dirty[2][..., 6, :], grad[..., 2, :] = NAN, NAN, NAN
    rule = rg.bias.tensor(additive)
    expected = run(clean, rule, engine, upstream, query_start=0)
    for got, want in zip(run(dirty, rule, engine, grad, query_start=0), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("normalize", [rg.sparsemax(), rg.entmax15()])
def test_thresholds_survive_a_shift_of_the_scores(normalize):
    query, key, value = (t.float() for t in qkv())
    far = rg.Rule(bias=rg.bias.keys(torch.full((7,), 1000.0)), normalize=normalize)
    near = rg.weights(query, key, rg.Rule(normalize=normalize))
    torch.testing.assert_close(rg.weights(query, key, far), near, rtol=0, atol=1e-4)
    least = rg.Rule(bias=rg.bias.tensor(torch.full((7, 7), torch.finfo(torch.float32).min)), normalize=normalize)
    torch.testing.assert_close(rg.attend(query, key, value, least), value.mean(-2, keepdim=True).expand(2, 3, 5, 13))


def test_a_flat_partial_with_a_sink_keeps_its_shape():
    query, key, value = (t[0, 0] for t in qkv())
    assert rg.partial(query, key, value, rg.softmax(torch.zeros(1, dtype=torch.float64))).out.shape == (5, 13)
