"""Every feature of the CPU kernels in every kind of problem: few rows, groups packed, sparse rows, tiles, and mixtures.

Which kernel runs is chosen in native/choose.hpp by sizes and pattern; each problem here is far from the bounds.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from members import numbers, positive
from test_native import ROUNDINGS, agree, fused, inputs_of
from torch import Tensor

import regard as rg

KEYS, HEADS, BATCH = 211, 6, 2


def graph(edges: int, seed: int = 3) -> Tensor:
    return torch.randint(0, KEYS, (2, edges), generator=torch.Generator().manual_seed(seed))


def sparse() -> rg.Pattern:
    """Some 3 of 211 keys a row; row 7 sees nothing, row 11 one key, and 150 rows see key 5."""
    index = graph(3 * KEYS)
    hub = torch.stack((torch.full((150,), 5), torch.arange(KEYS - 150, KEYS)))
    kept = index[:, (index[1] != 7) & (index[1] != 11)]
    return rg.edges(torch.cat((kept, torch.tensor([[13], [11]]), hub), 1))


def per_head(*patterns: rg.Pattern) -> Callable[[], rg.Pattern]:
    return lambda: rg.per_head(*patterns)


WINDOW = rg.causal() & rg.window(101)
PROBLEMS: dict[str, tuple[int, int, Callable[[], rg.Pattern]]] = {
    # queries, kv_heads, pattern
    "one row": (1, 6, rg.causal),
    "few rows": (3, 2, rg.causal),
    "few rows, window": (7, 3, lambda: WINDOW),
    "few rows, bits": (5, 2, lambda: rg.mask(numbers(KEYS, KEYS) > 0)),
    "few rows, per head": (2, 1, per_head(rg.causal(), rg.causal(), WINDOW, WINDOW, rg.everything(), rg.strided(7))),
    "packed": (23, 2, rg.everything),
    "packed, causal": (17, 1, rg.causal),
    "packed, window": (37, 3, lambda: WINDOW),
    "packed, bits": (17, 1, lambda: rg.mask(numbers(KEYS, KEYS) > 0)),
    "packed, some": (23, 2, per_head(rg.causal(), rg.causal(), rg.causal(), WINDOW, rg.causal(), WINDOW)),
    "sparse": (KEYS, 6, sparse),
    "sparse, group": (199, 2, sparse),
    "tiles": (67, 3, rg.causal),
    "tiles and sparse": (KEYS, 3, lambda: rg.per_head(sparse(), sparse(), rg.causal(), sparse(), sparse(), sparse())),
}
FEATURES: dict[str, Callable[[], rg.Rule]] = {
    "plain": rg.Rule,
    "negative": lambda: rg.Rule(score=rg.dot(-0.4)),
    "cap": lambda: rg.Rule(score=rg.softcap(rg.dot(), 2.0)),
    "table": lambda: rg.Rule(bias=rg.relative(numbers(HEADS, 31, seed=4))),
    "keys": lambda: rg.Rule(bias=rg.bias.keys(numbers(BATCH, HEADS, KEYS, seed=5))),
    "tensor": lambda: rg.Rule(bias=rg.bias.tensor(numbers(HEADS, KEYS, KEYS, seed=6))),
    "shared tensor": lambda: rg.Rule(bias=rg.bias.tensor(numbers(KEYS, KEYS, seed=6))),
    "edges": lambda: rg.Rule(bias=rg.bias.edges(EDGES, numbers(HEADS, EDGES.shape[1], seed=7))),
    "sigmoid": lambda: rg.Rule(normalize=rg.sigmoid(numbers(HEADS, seed=8))),
    "sink": lambda: rg.Rule(normalize=rg.softmax(numbers(HEADS, seed=9))),
    "all": lambda: rg.Rule(
        score=rg.softcap(rg.dot(), 3.0),
        bias=rg.alibi(positive(HEADS, seed=10)) + rg.bias.tensor(numbers(HEADS, KEYS, KEYS, seed=11)),
        normalize=rg.softmax(numbers(HEADS, seed=12)),
    ),
}
EDGES = torch.unique(graph(2_000, seed=13), dim=1)


def problem(name: str, feature: str, dim: int = 19, value_dim: int = 13) -> tuple[list[Tensor], rg.Rule]:
    queries, kv_heads, pattern = PROBLEMS[name]
    rule = FEATURES[feature]()
    rule = rg.Rule(score=rule.score, pattern=pattern(), bias=rule.bias, normalize=rule.normalize)
    return inputs_of(queries, KEYS, dim, value_dim, HEADS, kv_heads, BATCH), rule


def results(inputs: list[Tensor], rule: rg.Rule, engine: str, **options: object) -> list[Tensor]:
    """Output, then gradients of query, key, value and all that the rule holds."""
    learned = [n for n, leaf in enumerate(rule.leaves()) if leaf.is_floating_point()]
    leaves = list(rule.leaves())
    wide = [t.detach().clone().requires_grad_() for t in (*inputs, *(leaves[n] for n in learned))]
    for n, leaf in zip(learned, wide[3:], strict=True):
        leaves[n] = leaf
    out = rg.attend(*wide[:3], rule.with_leaves(leaves), engine=engine, **options)
    return [out, *torch.autograd.grad(out, wide, numbers(*out.shape, seed=9).to(out.dtype))]


def close(found: list[Tensor], expected: list[Tensor]) -> None:
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12 * max(1, want.abs().max().item()))


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("name", PROBLEMS)
def test_every_feature_in_every_problem(name, feature):
    inputs, rule = problem(name, feature)
    close(results(inputs, rule, "native"), results(inputs, rule, "reference"))


@pytest.mark.parametrize("feature", ["plain", "sigmoid", "all"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_dropout_in_every_problem(name, feature):
    inputs, rule = problem(name, feature)
    close(*(results(inputs, rule, e, dropout=0.3, seed=2**40 + 5) for e in ("native", "tiled")))


def test_a_bias_that_is_left_out_is_noticed():
    inputs, rule = problem("sparse", "edges")
    plain = rg.attend(*inputs, rg.Rule(pattern=rule.pattern), engine="native")
    assert (plain - rg.attend(*inputs, rule, engine="native")).abs().max() > 0.1


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_error_in_float32(name):
    inputs, rule = problem(name, "plain", 40, 17)
    agree(inputs, rule)


@pytest.mark.parametrize("dim", [1, 3, 4, 8, 16, 20, 33, 64, 128, 257])
@pytest.mark.parametrize("name", ["few rows", "packed, causal", "sparse"])
def test_dims(name, dim):
    for dims in ((dim, 5), (5, dim)):
        inputs, rule = problem(name, "plain", *dims)
        close(results(inputs, rule, "native"), results(inputs, rule, "reference"))


def no_rougher(inputs: list[Tensor], rule: rg.Rule) -> None:
    """In the root mean square: the output is as near to float64 as PyTorch's in float32, the gradients within 3 ×."""
    inputs = [t.float() for t in inputs]
    exact = results([t.double() for t in inputs], rule, "reference")
    others = results(inputs, rule, "reference"), fused(inputs, rule)
    found = results(inputs, rule, "native")
    for n, (got, want, *theirs) in enumerate(zip(found, exact, *others, strict=True)):
        off, *their_off = ((t - want).square().mean().sqrt().item() for t in (got, *theirs))
        assert off <= ROUNDINGS * (3 if n else 1.05) * max(their_off) + 1e-9, (n, off, their_off)


@pytest.mark.parametrize("keys", [1, 2, 63, 64, 65, 127, 1023, 1024, 1025, 2049])
@pytest.mark.parametrize(("queries", "heads", "kv_heads"), [(1, 4, 1), (1, 3, 3), (2, 3, 1), (3, 4, 2), (7, 4, 1)])
def test_few_rows_of_many_keys(queries, heads, kv_heads, keys):
    inputs = inputs_of(queries, keys, 16, 7, heads, kv_heads, 1)
    rule = rg.Rule(pattern=rg.causal() & ~rg.window(3) | rg.window(1))
    close(results(inputs, rule, "native"), results(inputs, rule, "reference"))
    no_rougher(inputs_of(queries, keys, 16, 7, heads, kv_heads, 41), rg.Rule())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", PROBLEMS)
def test_numbers_of_16_bits(name, dtype):
    """As exact as PyTorch's own of that kind, which goes through 16 bits more often."""
    inputs, rule = problem(name, "plain", 40, 17)
    inputs = [t.to(dtype) for t in inputs]
    exact = results([t.double() for t in inputs], rule, "reference")
    theirs = results(inputs, rule, "reference")
    for n, (got, one, want) in enumerate(zip(results(inputs, rule, "native"), theirs, exact, strict=True)):
        floor = 2 * ((want.to(dtype) + 0.3 - 0.3) - want.to(dtype)).abs().max().double()
        assert (got - want).abs().max() <= (2 if n == 0 else 3) * (one - want).abs().max() + floor


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_number_of_16_bits_is_read_as_it_is(dtype):
    """All 65,536 patterns as values; a row sees one key: its output is its value, or 0 below the least normal one."""
    least = 2.0**-126
    value = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype).reshape(2**11, 32)
    query, key = torch.ones(1, 31, 8, dtype=dtype), torch.ones(1, 31, 8, dtype=dtype)
    for rows in value.split(31):
        out = rg.attend(query[:, : len(rows)], key[:, : len(rows)], rows[None], rg.window(1), engine="native")
        rows = torch.where(rows.float().abs() < least, 0, rows)
        torch.testing.assert_close(out[0], rows, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", PROBLEMS)
def test_strides(name):
    """Columns that lie apart, rows that don't follow one another, a key head for all entries."""
    inputs, rule = problem(name, "plain")
    expected = results(inputs, rule, "native")
    query, key, value = inputs
    wide = torch.full((*key.shape[:-1], 2 * key.shape[-1]), float("nan"), dtype=key.dtype)
    wide[..., ::2] = key
    found = rg.attend(
        query.transpose(1, 2).contiguous().transpose(1, 2), wide[..., ::2], value.mT.contiguous().mT, rule
    )
    torch.testing.assert_close(found, expected[0], rtol=0, atol=0)
    shared = key[:1].expand_as(key)
    close(results([query, shared, value], rule, "native"), results([query, shared, value], rule, "reference"))


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize("name", PROBLEMS)
def test_poison_goes_where_it_is_seen(name, where, poison):
    inputs, rule = problem(name, "plain")
    inputs[where][0, 0, inputs[where].shape[2] // 2, 2] = poison
    found, clean = ([t.clone().requires_grad_() for t in inputs] for _ in range(2))
    out, expected = rg.attend(*found, rule, engine="native"), rg.attend(*clean, rule, engine="reference")
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12, equal_nan=True)
    weight = torch.where(expected.isfinite(), 1.0, 0)
    grads = (
        torch.autograd.grad(torch.where(o.isfinite(), o, 0), i, weight) for o, i in ((out, found), (expected, clean))
    )
    for got, want in zip(*grads, strict=True):
        assert torch.equal(got.isnan(), want.isnan())


@pytest.mark.parametrize("poison", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_bias_of_minus_infinity_hides(name, poison):
    """What it hides is never met, be it NaN; a whole row of it is a row that sees nothing."""
    inputs, rule = problem(name, "plain")
    gone = numbers(KEYS, KEYS, seed=15) > 0.5
    gone[-1], gone[:, 113] = True, True
    bias = torch.where(gone, -float("inf"), numbers(KEYS, KEYS, seed=16))
    inputs[1][:, :, 113], inputs[2][:, :, 113] = poison, poison
    moved = rg.Rule(pattern=rule.pattern, bias=rg.bias.tensor(bias))
    found = results(inputs, moved, "native")
    close(found, results(inputs, moved, "reference"))
    assert all(t.isfinite().all() for t in found)
    assert not found[0][..., -1, :].any()


@pytest.mark.parametrize("name", PROBLEMS)
def test_lse_and_its_gradient(name):
    inputs, rule = problem(name, "plain")
    queries, start = inputs[0].shape[2], KEYS - inputs[0].shape[2]

    def loss(engine: str) -> list[Tensor]:
        leaves = [t.clone().requires_grad_() for t in inputs]
        part = rg.partial(*leaves, rule, query_start=start, engine=engine)
        seen = part.lse.isfinite()
        total = (part.values * numbers(*part.values.shape, seed=17)).sum()
        total = total + (torch.where(seen, part.lse, 0) * numbers(BATCH, HEADS, queries, seed=18)).sum()
        return [part.values, part.lse, *torch.autograd.grad(total, leaves)]

    for got, want in zip(loss("native"), loss("reference"), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("feature", ["plain", "all"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_same_bits_for_any_threads_and_entries(name, feature):
    inputs, rule = problem(name, feature)
    inputs = [t.float() for t in inputs]
    before = torch.get_num_threads()
    try:
        every = []
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            every.append(results(inputs, rule, "native"))
    finally:
        torch.set_num_threads(before)
    for other in every[1:]:
        assert all(torch.equal(a, b) for a, b in zip(every[0], other, strict=True))
    alone = results([t[1:] for t in inputs], rule, "native")
    upstream = numbers(*every[0][0].shape, seed=9).float()[1:]
    leaves = [t[1:].clone().requires_grad_() for t in inputs]
    alone = torch.autograd.grad(out := rg.attend(*leaves, rule, engine="native"), leaves, upstream)
    assert torch.equal(out, every[0][0][1:])
    assert all(torch.equal(a, b[1:]) for a, b in zip(alone, every[0][1:4], strict=True))


def test_a_head_has_the_same_bits_whatever_the_others_see():
    """Tiles, packed and sparse heads side by side, each as if it were alone with its like."""
    inputs, rule = problem("tiles and sparse", "plain")
    found = rg.attend(*inputs, rule, engine="native")
    for first, pattern in ((0, sparse()), (4, sparse())):
        one = [t[:, first : first + 2] if n == 0 else t[:, first // 2 : first // 2 + 1] for n, t in enumerate(inputs)]
        assert torch.equal(found[:, first : first + 2], rg.attend(*one, pattern, engine="native"))


def test_a_row_of_one_key_has_a_slope_of_zero():
    """Its weight is exactly 1 and its output exactly its value, so that nothing flows to query and key."""
    leaves = [t.float().requires_grad_() for t in inputs_of(KEYS, KEYS, 19, 13)]
    single = rg.edges(torch.stack((torch.randperm(KEYS), torch.arange(KEYS))))
    out = rg.attend(*leaves, single, engine="native")
    query, key, _ = torch.autograd.grad(out, leaves, numbers(*out.shape, seed=20).float())
    assert not query.any()
    assert not key.any()


def test_a_graph_of_20_000_nodes():
    """Against the sums by edges; the scores of all pairs would be 3.2 GB a head."""
    nodes = 20_000
    index = torch.randint(0, nodes, (2, 5 * nodes), generator=torch.Generator().manual_seed(19))
    query, key, value = leaves = [numbers(2, nodes, 8, seed=n).requires_grad_() for n in range(3)]
    out = rg.attend(query, key, value, rg.edges(index), query_start=0, engine="native")
    source, target = torch.unique(index, dim=1)
    power = ((query[:, target] * key[:, source]).sum(-1) * 8**-0.5).exp()
    total = numbers(2, nodes).mul(0).index_add(1, target, power)
    weight = power / total[:, target]
    expected = numbers(2, nodes, 8).mul(0).index_add(1, target, weight[..., None] * value[:, source])
    close([out, *_gradients(out, leaves)], [expected, *_gradients(expected, leaves)])


def _gradients(out: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(out.square().sum(), leaves)
