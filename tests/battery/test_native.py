"""The CPU kernels against float64: every pattern, shapes of every kind, every instruction set, the same bits."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from members import BATCH, HEADS, KEYS, KV_HEADS, PATTERNS, QUERIES, numbers
from test_battery import first_query
from torch import Tensor

import regard as rg
from regard.engines import native


def test_the_kernels_were_built():
    query = torch.randn(1, 3, 5)
    assert rg.plan(query, query, query).engine == "native"


def run(inputs: list[Tensor], rule: object, engine: str, dtype: torch.dtype, **options: object) -> list[Tensor]:
    leaves = [t.to(dtype).requires_grad_() for t in inputs]
    out = rg.attend(*leaves, rule, engine=engine, **options)
    upstream = numbers(*out.shape, seed=9).to(dtype)
    return [out, *torch.autograd.grad(out, leaves, upstream)]


def fused(inputs: list[Tensor], rule: object, **options: object) -> list[Tensor]:
    """PyTorch's own fused kernel in float32, which takes the gradient from the output as ours does."""
    leaves = [t.requires_grad_() for t in inputs]
    visible = rg.steps(*leaves, rule, **options).visible
    out = torch.nn.functional.scaled_dot_product_attention(*leaves, attn_mask=visible, enable_gqa=True)
    return [out, *torch.autograd.grad(out, leaves, numbers(*out.shape, seed=9).float())]


ROUNDINGS = 2 if os.environ.get(native.ISA) == "baseline" else 1
"""Without a fused multiply-add every product rounds once more; PyTorch's float32, to compare with, has it."""


def agree(inputs: list[Tensor], rule: object, **options: object) -> None:
    """Against float64: at most 2 × (gradients 3 ×) the error of PyTorch's own float32, eager or fused, and a floor."""
    inputs = [t.float() for t in inputs]
    exact = run(inputs, rule, "reference", torch.float64, **options)
    eager = run(inputs, rule, "reference", torch.float32, **options)
    theirs = fused(inputs, rule, **options)
    found = run(inputs, rule, "native", torch.float32, **options)
    for n, (got, one, other, want) in enumerate(zip(found, eager, theirs, exact, strict=True)):
        floor = 2 * ((want.float() + 0.3 - 0.3) - want.float()).abs().max().double()
        off, their_off = (got - want).abs().max(), max((one - want).abs().max(), (other - want).abs().max())
        assert off <= ROUNDINGS * (2 if n == 0 else 3) * their_off + floor, (n, off.item(), their_off.item())


def inputs_of(queries: int, keys: int, dim: int, value_dim: int, heads: int = 6, kv_heads: int = 3, batch: int = 2):
    shapes = (batch, heads, queries, dim), (batch, kv_heads, keys, dim), (batch, kv_heads, keys, value_dim)
    return [numbers(*shape, seed=n, scale=3 if n == 0 else 1) for n, shape in enumerate(shapes)]


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns(name):
    agree(inputs_of(QUERIES, KEYS, 7, 5, HEADS, KV_HEADS, BATCH), PATTERNS[name](), query_start=first_query(name))


LONG = {
    "everything": rg.everything(),
    "causal": rg.causal(),
    "window": rg.causal() & rg.window(37),
    "two-sided": rg.window(before=70, after=3),
    "documents": rg.documents([1, 127, 130, 73]),
    "strided": rg.strided(7),
    "random": rg.mask(numbers(331, 331) > 0.5),
    "few": rg.mask(numbers(2, 1, 331, 331) > 2.5),
    "heads": rg.per_head(*[rg.causal() & rg.window(20 * h + 1) for h in range(6)]),
    "batch": rg.per_batch(rg.causal(), rg.prefix(200)),
    "lengths": rg.padding(torch.tensor([64, 331])),
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("queries", [331, 65, 1])
def test_patterns_over_many_blocks(name, queries):
    agree(inputs_of(queries, 331, 17, 23), LONG[name])


@pytest.mark.parametrize("dim", [1, 2, 3, 15, 16, 17, 40, 64, 80, 128, 256, 512])
def test_dims(dim):
    agree(inputs_of(67, 71, dim, 19, 2, 2, 1), rg.causal())
    agree(inputs_of(67, 71, 19, dim, 2, 2, 1), rg.causal())


@pytest.mark.parametrize("keys", [1, 2, 63, 64, 65, 127, 128, 129, 256, 257, 1025])
def test_lengths(keys):
    agree(inputs_of(3, keys, 16, 16, 4, 2, 1), None)
    agree(inputs_of(keys, keys, 5, 7, 2, 1, 1), rg.causal())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("learning", [False, True])
def test_the_result_lies_as_the_query_does(dtype, learning):
    """A model keeps [batch, tokens, heads, dim]: what comes back in that order needs no copy, at any call."""
    query, key, value = (torch.randn(2, n, 3, 17).to(dtype).transpose(1, 2) for n in (7, 11, 11))
    query.requires_grad_(learning)
    for _ in range(3):
        out = rg.attend(query, key, value, engine="native")
        assert out.transpose(1, 2).is_contiguous()
        assert torch.equal(out, rg.attend(query.contiguous(), key, value, engine="native"))
        assert rg.attend(query, key, value[..., :13], engine="native").is_contiguous()
        assert rg.attend(query.mT.contiguous().mT, key, value, engine="native").is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [192, 193, 23])
@pytest.mark.parametrize("apart", [0, 1, 2])
@pytest.mark.parametrize("rule", [rg.causal(), rg.window(3), rg.documents([1, 255, 1])], ids=repr)
def test_a_row_with_one_key_has_no_slope(rule, apart, width, dtype):
    """Its weight is 1 whatever its score: do · v and do · out are one sum in one order, however far apart do lies."""
    query, key, value = (numbers(2, 3, 257, n, seed=n).to(dtype).requires_grad_() for n in (67, 67, width))
    upstream = (
        numbers(2, 3, 257, 2 * width, seed=1)
        .to(dtype)
        .as_strided(value.shape, (1542 * width, 514 * width, 2 * width, apart))
    )
    out = rg.attend(query, key, value, rule, engine="native")
    to_query, to_key = torch.autograd.grad(out, (query, key), upstream)
    alone = torch.tensor([0, 256] if "documents" in repr(rule) else [0])
    others = torch.ones(257, dtype=torch.bool).index_fill(0, alone, False)
    assert torch.all(to_query[..., alone, :] == 0) and not torch.any(to_query[..., others, :].abs().amax(-1) == 0)
    if "documents" in repr(rule):
        assert torch.all(to_key[..., alone, :] == 0)  # nobody else sees them


def test_strides_are_taken_as_they_are():
    query, key, value = (t.float() for t in inputs_of(67, 71, 17, 23))
    expected = rg.attend(query, key, value, rg.causal(), engine="native")
    wide = torch.full((*key.shape[:-1], 34), float("nan"))
    wide[..., ::2] = key
    odd = (query.transpose(1, 2).contiguous().transpose(1, 2), wide[..., ::2], value.mT.contiguous().mT)
    torch.testing.assert_close(rg.attend(*odd, rg.causal(), engine="native"), expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("room", [65, 67, 96])
def test_rows_any_distance_apart(room, dtype):
    """Rows that begin at an odd number are not pairs where they lie."""
    apart = [numbers(1, 2, 131, room, seed=n).to(dtype)[..., 1:65] for n in range(4)]
    close = [t.contiguous() for t in apart]

    def result(query: Tensor, key: Tensor, value: Tensor, grad: Tensor) -> list[Tensor]:
        leaves = [t.detach().requires_grad_() for t in (query, key, value)]
        out = rg.attend(*leaves, rg.causal(), engine="native")
        return [out, *torch.autograd.grad(out, leaves, grad)]

    for got, want in zip(result(*apart), result(*close), strict=True):
        assert torch.equal(got, want)


def test_parts_sinks_and_their_gradients():
    query, key, value = (t.float() for t in inputs_of(67, 71, 17, 23))
    sink = numbers(6).float().requires_grad_()
    rule = rg.Rule(pattern=rg.causal(), normalize=rg.softmax(sink))

    def result(engine: str, dtype: torch.dtype) -> list[Tensor]:
        q, k, v = (t.to(dtype).requires_grad_() for t in (query, key, value))
        s = sink.detach().to(dtype).requires_grad_()
        whole = rg.Rule(pattern=rg.causal(), normalize=rg.softmax(s))
        parts = [
            rg.partial(q, k[..., low:high, :], v[..., low:high, :], whole, query_start=4, key_start=low, engine=engine)
            for low, high in ((0, 13), (13, 71))
        ]
        merged = rg.merge(*parts)
        loss = merged.out.square().sum() + merged.lse.square().sum()
        return [merged.out, merged.lse, *torch.autograd.grad(loss, (q, k, v, s))]

    assert rg.plan(query, key, value, rule).engine == "native"
    for got, want in zip(result("native", torch.float32), result("reference", torch.float64), strict=True):
        torch.testing.assert_close(got.double(), want, rtol=0, atol=2e-5 * max(1, want.abs().max().item()))


def test_rows_of_nothing():
    query, key, value = (t.float().requires_grad_() for t in inputs_of(67, 71, 17, 23))
    seen = torch.ones(67, 71, dtype=torch.bool)
    seen[5], seen[64:] = False, False
    part = rg.partial(query, key, value, rg.mask(seen), query_start=0, engine="native")
    assert (part.lse[..., [5, 64, 65, 66]] == -float("inf")).all()
    assert not part.out[..., [5, 64, 65, 66], :].any()
    part.out.sum().backward()
    assert not query.grad[..., [5, 64, 65, 66], :].any()
    assert all(t.grad.isfinite().all() for t in (query, key, value))


@pytest.mark.parametrize("rule", [None, rg.causal(), rg.mask(numbers(71, 71) > 0)], ids=["all", "causal", "mask"])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_poison_goes_where_it_is_seen_and_nowhere_else(poison, where, rule):
    inputs = [t.float() for t in inputs_of(67, 71, 17, 23)]
    inputs[where][0, 0, 37, 2] = poison
    found, clean = ([t.clone().requires_grad_() for t in inputs] for _ in range(2))
    out, expected = rg.attend(*found, rule, engine="native"), rg.attend(*clean, rule, engine="reference")
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-4, equal_nan=True)
    assert expected.isfinite().any() and not expected.isfinite().all()
    weight = torch.where(expected.isfinite(), 1.0, 0)
    grads = (
        torch.autograd.grad(torch.where(o.isfinite(), o, 0), i, weight) for o, i in ((out, found), (expected, clean))
    )
    for got, want in zip(*grads, strict=True):
        assert torch.equal(got.isnan(), want.isnan())


def test_a_poisoned_gradient_takes_the_fallback():
    inputs = [t.float().requires_grad_() for t in inputs_of(67, 71, 17, 23)]
    upstream = torch.ones(2, 6, 67, 23)
    upstream[..., 0, :] = float("nan")
    found = torch.autograd.grad(rg.attend(*inputs, rg.causal(), engine="native"), inputs, upstream)
    want = torch.autograd.grad(rg.attend(*inputs, rg.causal(), engine="tiled"), inputs, upstream)
    for got, expected in zip(found, want, strict=True):
        assert torch.equal(got.isnan(), expected.isnan())


def test_second_derivatives_take_the_fallback():
    def second(engine: str, dtype: torch.dtype) -> tuple[Tensor, ...]:
        inputs = [t.to(dtype).requires_grad_() for t in inputs_of(13, 17, 7, 5)]
        out = rg.attend(*inputs, rg.causal(), engine=engine).square().sum()
        first = torch.autograd.grad(out, inputs, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    for got, want in zip(second("native", torch.float32), second("reference", torch.float64), strict=True):
        torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-4 * want.abs().max().item())


def test_the_same_bits_for_any_threads_and_any_other_rows():
    inputs = [t.float() for t in inputs_of(331, 331, 17, 23)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = run(inputs, rg.causal(), "native", torch.float32)
        torch.set_num_threads(2)
        two = run(inputs, rg.causal(), "native", torch.float32)
        again = run(inputs, rg.causal(), "native", torch.float32)
    finally:
        torch.set_num_threads(before)
    for a, b, c in zip(one, two, again, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(b, c)
    alone = rg.attend(*(t[1:, :2] if n == 0 else t[1:, :1] for n, t in enumerate(inputs)), rg.causal(), engine="native")
    assert torch.equal(alone, one[0][1:, :2])


FAR = {
    "everything": rg.everything(),
    "causal": rg.causal(),
    "two-sided": rg.window(before=70, after=3),
    "heads": rg.per_head(rg.causal(), rg.window(20), rg.prefix(500), rg.causal() & rg.window(400)),
}


def by_threads(inputs: list[Tensor], rule: object, *counts: int) -> list[list[Tensor]]:
    before = torch.get_num_threads()
    try:
        found = []
        for count in counts:
            torch.set_num_threads(count)
            found.append(run(inputs, rule, "native", inputs[0].dtype))
    finally:
        torch.set_num_threads(before)
    return found


@pytest.mark.parametrize("name", FAR)
def test_heads_beyond_the_nearer_caches(name):
    """Of so many keys and rows several blocks go through a head together, fewer the more threads there are."""
    inputs = inputs_of(1009, 1009, 61, 67, 4, 2, 1)
    agree(inputs, FAR[name])
    for dtype in (torch.float32, torch.bfloat16):
        few, more, most = by_threads([t.to(dtype) for t in inputs], FAR[name], 1, 3, 13)
        for a, b, c in zip(few, more, most, strict=True):
            assert torch.equal(a, b)
            assert torch.equal(b, c)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [3, 1499])
def test_powers_over_all_their_range(dtype, rows):
    """Two keys whose scores lie x apart: the weights are 1 / (1 + e^−x) and e^−x / (1 + e^−x), and e^−x ends in 0."""
    unit, least = torch.finfo(dtype).eps / 2, torch.tensor(torch.finfo(dtype).tiny, dtype=torch.float64).log()
    x = torch.linspace(0, -1.2 * least.item(), rows, dtype=dtype).view(1, 1, rows, 1)
    key, value = torch.tensor([[0.0], [-1.0]], dtype=dtype), torch.eye(2, dtype=dtype)
    found = rg.attend(x, key.view(1, 1, 2, 1), value.view(1, 1, 2, 2), engine="native").double()
    expected = torch.stack((torch.sigmoid(x[..., 0].double()), torch.sigmoid(-x[..., 0].double())), -1)
    assert (found[0, 0, 0] == 0.5).all()
    near = x[..., 0] < -least - 1
    assert ((found / expected - 1).abs() <= 4 * unit * (1 + x.double()))[near].all()
    far = x[..., 0] > 1.02 * -least
    assert far.any()
    assert (found[far] == torch.tensor([1.0, 0.0], dtype=torch.float64)).all()


def test_lse_of_bfloat16():
    """Its powers are right to 3e-6 and hardly off on the average; so is what they sum up to."""
    query, key, value = (t.bfloat16() for t in inputs_of(131, 257, 61, 67))
    found = rg.partial(query, key, value, engine="native").lse.double()
    expected = rg.partial(*(t.double() for t in (query, key, value)), engine="reference").lse
    assert (found - expected).abs().max() <= 1e-5


ISAS = ["avx512bf16", "avx512", "avx2", "baseline"]


def passes_under(isa: str, file: str, chosen: str) -> None:
    """Those tests of a file pass with the kernels of one instruction set, which is chosen once a process."""
    asking = f"import torch; from regard import _native; _native.Engine('{isa}')"
    there = subprocess.run([sys.executable, "-c", asking], capture_output=True, check=False)
    if there.returncode:
        pytest.skip(f"this processor does not run {isa}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", file, "-k", chosen]
    done = subprocess.run(command, env={**os.environ, native.ISA: isa}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set(isa):
    chosen = "test_dims or test_lengths or test_patterns_over_many_blocks or same_bits or rows_of_nothing"
    chosen += " or powers or lse_of"
    passes_under(isa, __file__, chosen)


def test_an_unknown_instruction_set_is_a_reason():
    program = "import torch, regard as rg; q = torch.randn(1, 3, 5); print(rg.plan(q, q, q).reasons['native'])"
    env = {**os.environ, native.ISA: "mmx"}
    said = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
    assert "does not run REGARD_ISA=mmx" in said


def test_one_openmp_runtime():
    """PyTorch's and ours are one: two would each start threads of their own."""
    program = """
import torch, regard as rg
q = torch.randn(1, 3, 5)
rg.attend(q, q, q, engine="native")
with open("/proc/self/maps") as maps:
    print(len({line.split()[-1] for line in maps if any(name in line for name in ("libgomp", "libomp", "libiomp"))}))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "1"


def test_a_forked_child_uses_one_thread():
    """OpenMP's threads are gone after a fork; the child neither hangs nor gives other bits."""
    query = torch.randn(1, 4, 257, 16)
    expected = rg.attend(query, query, query, rg.causal(), engine="native")
    child = os.fork()
    if not child:
        os._exit(0 if torch.equal(rg.attend(query, query, query, rg.causal(), engine="native"), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_least_numbers_are_kept_outside_of_the_kernels():
    """Within them results below the least normal number become 0, on every thread of theirs, and only there."""
    least, threads = torch.full((1 << 16,), 1e-40), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        query, key, value = (numbers(1, 2, 131, 17, seed=n).float().requires_grad_() for n in range(3))
        out = rg.attend(query, key, value, rg.alibi(), engine="native")
        out.sum().backward()
        assert torch.equal(least * 1, least) and (least * 1 != 0).all()
    finally:
        torch.set_num_threads(threads)
