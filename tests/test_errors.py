"""Bad input: one clear sentence with what was expected, what came, and what to do; and what is odd but good works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import regard as rg

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")

HEADS, QUERIES, KEYS, DIM, VALUE_DIM = 6, 5, 11, 7, 13


def query(*lead: int, heads: int = HEADS, dim: int = DIM, **how: Any) -> Tensor:
    return torch.randn(*lead, heads, QUERIES, dim, **how)


def key(*lead: int, heads: int = 2, keys: int = KEYS, dim: int = DIM, **how: Any) -> Tensor:
    return torch.randn(*lead, heads, keys, dim, **how)


def value(*lead: int, heads: int = 2, keys: int = KEYS, **how: Any) -> Tensor:
    return torch.randn(*lead, heads, keys, VALUE_DIM, **how)


def ones(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.bool)


def refused(call: Callable[[], Any], says: list[str]) -> None:
    with pytest.raises(rg.InputError) as caught:
        call()
    said = str(caught.value)
    assert all(part in said for part in says), said
    assert "\n" not in said and isinstance(caught.value, ValueError)


# --------------------------------------------------------------------------------- the three tensors


NESTED = torch.nested.nested_tensor([torch.randn(3, 7), torch.randn(2, 7)], layout=torch.jagged)

TENSORS: dict[str, tuple[Callable[[], tuple[Any, Any, Any]], list[str]]] = {
    "ndim 1": (
        lambda: (query()[0, 0], key(), value()),
        ["query must be [..., heads, positions, dim]", "2 to 5", "[7]"],
    ),
    "ndim 6": (lambda: (query(1, 1, 1), key(), value()), ["query", "2 to 5 axes", "[1, 1, 1, 6, 5, 7]"]),
    "ndim 6 key": (lambda: (query(), key(1, 1, 1), value()), ["key must be", "2 to 5 axes", "[1, 1, 1, 2, 11, 7]"]),
    "dim 0": (lambda: (query(dim=0), key(dim=0), value()), ["query must have dim ≥ 1", "[6, 5, 0]"]),
    "dims": (lambda: (query(), key(dim=3), value()), ["query and key of one dim", "got 7 and 3", "general(W)"]),
    "heads": (lambda: (query(), key(heads=5), value(heads=5)), ["multiple of key heads", "got 6 and 5"]),
    "fewer heads": (lambda: (query(heads=1), key(), value()), ["multiple of key heads", "got 1 and 2"]),
    "no heads": (lambda: (query(), key(heads=0), value(heads=0)), ["multiple of key heads", "got 6 and 0"]),
    "2-D query": (lambda: (query()[0], key(), value()), ["multiple of key heads", "got 1 and 2"]),
    "value heads": (lambda: (query(), key(), value(heads=3)), ["key and value need as many heads", "got 2 and 3"]),
    "positions": (lambda: (query(), key(), value(keys=10)), ["key and value need as many positions", "got 11 and 10"]),
    "batch": (lambda: (query(2), key(3), value(3)), ["leading dimensions", "must broadcast", "got [2], [3], [3]"]),
    "dtypes": (lambda: (query(), key().double(), value()), ["key is torch.float64, query torch.float32", "one dtype"]),
    "value dtype": (lambda: (query(), key(), value().half()), ["value is torch.float16, query torch.float32"]),
    "meta": (lambda: (query(), key(device="meta"), value()), ["key is on the meta device", "move it to a real one"]),
    "all meta": (lambda: (query(device="meta"),) * 3, ["query is on the meta device"]),
    "integers": (
        lambda: (query().int(), key(), value()),
        ["query must be float64, float32, bfloat16", "got torch.int32"],
    ),
    "booleans": (
        lambda: (query(), key() > 0, value()),
        ["key must be float64", "got torch.bool", ".to(torch.float32)"],
    ),
    "complex": (lambda: (query(), key(), value().to(torch.complex64)), ["value must be float64", "torch.complex64"]),
    "float8": (lambda: (query().to(torch.float8_e4m3fn), key(), value()), ["query must be", "torch.float8_e4m3fn"]),
    "sparse": (lambda: (query().to_sparse(), key(), value()), ["query must be strided", "sparse_coo", "to_dense()"]),
    "csr": (
        lambda: (query(), key(), value()[0].to_sparse_csr()),
        ["value must be strided", "sparse_csr", "to_dense()"],
    ),
    "nested": (
        lambda: (NESTED, key(), value()),
        ["query is a nested tensor", "query.values().transpose(0, 1)", "query.offsets()", "regard.varlen"],
    ),
    "list": (lambda: ([[1.0]], key(), value()), ["query must be a torch.Tensor", "got list"]),
    "none": (lambda: (query(), key(), None), ["value must be a torch.Tensor", "got NoneType"]),
    "numpy": (lambda: (query(), key().numpy(), value()), ["key must be a torch.Tensor", "got ndarray"]),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_do_not_fit(name: str) -> None:
    make, says = TENSORS[name]
    for call in (rg.attend, rg.plan, rg.partial, rg.steps):
        refused(lambda call=call: call(*make()), says)  # type: ignore[misc]
    if "value" not in says[0]:
        refused(lambda: rg.weights(*make()[:2]), says)


def test_fake_and_functional_tensors_are_refused() -> None:
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(t) for t in (query(), key(), value())]
    refused(lambda: rg.attend(*fakes, rg.causal()), ["query is a fake tensor", "outside of FakeTensorMode"])
    functional = torch.func.functionalize(lambda q: rg.attend(q, key(), value()))
    refused(lambda: functional(query()), ["query is a functional tensor", "outside of torch.func.functionalize"])


def plain(inputs: list[Tensor], rule: Any = None) -> Tensor:
    return rg.attend(*(t.detach().clone() for t in inputs), rule)


def test_negative_views_are_resolved() -> None:
    inputs = [query(), key(), value()]
    negated = [torch._neg_view(t) for t in inputs]
    assert negated[0].is_neg()
    for rule in (None, rg.causal()):
        torch.testing.assert_close(rg.attend(*negated, rule), rg.attend(*(-t for t in inputs), rule), rtol=0, atol=0)


def test_the_imaginary_part_of_a_conjugate_works() -> None:
    """The usual way to meet a negative view."""
    numbers = torch.randn(HEADS, QUERIES, DIM, dtype=torch.complex64)
    out = rg.attend(numbers.conj().imag, key(), value())
    assert numbers.conj().imag.is_neg() and out.isfinite().all()


def test_parameters_and_subclasses_work() -> None:
    class Marked(Tensor):
        pass

    inputs = [query(), key(), value()]
    parameters = [torch.nn.Parameter(t) for t in inputs]
    out = rg.attend(*parameters, rg.causal())
    assert torch.equal(out, plain(inputs, rg.causal()))
    out.sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in parameters)
    marked = rg.attend(*(t.as_subclass(Marked) for t in inputs), rg.causal())
    assert torch.equal(marked.as_subclass(Tensor), out.detach())


def test_frozen_and_inference_tensors_work() -> None:
    inputs = [query(), key(), value()]
    with torch.inference_mode():
        inside = rg.attend(*(t.clone() for t in inputs), rg.causal())
    assert torch.equal(inside.clone(), plain(inputs, rg.causal()))


# ------------------------------------------------------------------------------------------ autocast


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("region", [torch.bfloat16, torch.float16])
def test_autocast_as_torchs_own(dtype: torch.dtype, region: torch.dtype) -> None:
    inputs = [t.to(dtype) for t in (query(heads=2), key(), value())]
    with torch.autocast("cpu", dtype=region):
        ours = rg.attend(*inputs)
        theirs = torch.nn.functional.scaled_dot_product_attention(*inputs)
    assert ours.dtype == theirs.dtype == (torch.float64 if dtype == torch.float64 else region)
    expected = rg.attend(*(t.to(ours.dtype) for t in inputs))
    assert torch.equal(ours, expected)
    with torch.autocast("cpu", dtype=region, enabled=False):
        assert torch.equal(rg.attend(*inputs), plain(inputs))


@pytest.mark.parametrize("engine", [None, "reference"])
def test_autocast_does_not_touch_the_accumulation(engine: str | None) -> None:
    """Inputs are lowered, products are not: the same numbers as for inputs that were lowered outside."""
    inputs = [query(), key(), value()]
    lowered = [t.bfloat16() for t in inputs]
    rule = rg.Rule(rg.general(torch.randn(7, 7)), rg.causal(), rg.alibi(), rg.softmax(sink=torch.zeros(HEADS)))
    outside = rg.attend(*lowered, rule, engine=engine)
    parts = rg.partial(*lowered, rule, query_start=6, engine=engine)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rg.attend(*inputs, rule, engine=engine), outside)
        inside = rg.partial(*inputs, rule, query_start=6, engine=engine)
    assert torch.equal(inside.values, parts.values) and torch.equal(inside.lse, parts.lse)


def test_autocast_does_not_touch_weights_steps_and_gradients() -> None:
    inputs = [query(), key(), value()]
    lowered = [t.bfloat16().requires_grad_() for t in inputs]
    weights, steps = rg.weights(*lowered[:2], rg.causal()), rg.steps(*lowered, rg.causal())
    wanted = torch.autograd.grad(rg.attend(*lowered, rg.causal()).sum(), lowered)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rg.weights(*inputs[:2], rg.causal()), weights)
        assert torch.equal(rg.steps(*inputs, rg.causal()).out, steps.out)
        found = torch.autograd.grad(rg.attend(*lowered, rg.causal()).sum(), lowered)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True)), "also where backward runs inside"


def test_autocast_brings_dtypes_together_but_for_float64() -> None:
    mixed = [query(), key().bfloat16(), value().half()]
    refused(lambda: rg.attend(*mixed), ["key is torch.bfloat16, query torch.float32"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert rg.attend(*mixed).dtype == torch.bfloat16
        refused(lambda: rg.attend(query().double(), key(), value()), ["query torch.float64", "one dtype"])


def test_gradients_under_autocast_have_the_dtype_of_the_inputs() -> None:
    inputs = [t.requires_grad_() for t in (query(), key(), value())]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = rg.attend(*inputs, rg.causal())
    assert all(g.dtype == torch.float32 for g in torch.autograd.grad(out.float().sum(), inputs))


# -------------------------------------------------------------------------------- rules that do not fit


BATCH = (2, 3)


RULES: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "raw tensor": (lambda: ones(QUERIES, KEYS), ["regard.Rule or one of its terms", "got Tensor", "regard.mask(...)"]),
    "string": (lambda: "causal", ["regard.Rule or one of its terms", "got str"]),
    "function": (lambda: rg.causal, ["regard.Rule or one of its terms", "got function"]),
    "mask keys": (lambda: rg.mask(ones(KEYS, 10)), ["mask's key axis holds positions 0…9", "key positions 0…10"]),
    "mask queries": (lambda: rg.mask(ones(5, KEYS)), ["mask's query axis holds positions 0…4", "query positions 6…10"]),
    "mask heads": (lambda: rg.mask(ones(5, KEYS, KEYS)), ["5 heads", "6", "one"]),
    "mask batch": (lambda: rg.mask(ones(5, 1, KEYS, KEYS)), ["[5, 1, 11, 11]", "don't broadcast", "the batch [2, 3]"]),
    "padding": (lambda: rg.padding(ones(10)), ["padding holds positions 0…9", "key positions 0…10", "as long as"]),
    "padding batch": (lambda: rg.padding(ones(5, KEYS)), ["[5, 11]", "don't broadcast", "[2, 3]"]),
    "documents": (
        lambda: rg.documents([3, 4]),
        ["documents holds positions 0…6", "must sum to the sequence", "packed"],
    ),
    "packed": (lambda: rg.packed([3, 1], [4, 7]), ["packed's query lengths", "query_start=0"]),
    "per_head": (lambda: rg.per_head(rg.causal(), rg.window(3)), ["2 patterns", "6 heads", "one for each"]),
    "per_batch": (lambda: rg.per_batch(rg.causal(), rg.window(3)), ["2 patterns", "6 batch entries"]),
    "grid": (
        lambda: rg.neighborhood((3, 3), (3, 3)),
        ["neighborhood's grid holds positions 0…8", "query positions 6…10"],
    ),
    "blocks": (lambda: rg.blocks(4, ones(2, 2)), ["blocks' layout holds positions 0…7", "query positions 6…10"]),
    "tensor": (lambda: rg.bias.tensor(torch.randn(5, KEYS)), ["query positions 0…4", "6…10", "pass query_start"]),
    "tensor keys": (lambda: rg.bias.tensor(torch.randn(KEYS, 10)), ["key positions 0…9", "0…10", "pass key_start"]),
    "tensor heads": (lambda: rg.bias.tensor(torch.randn(5, KEYS, KEYS)), ["has 5 heads", "the query 6"]),
    "tensor batch": (lambda: rg.bias.tensor(torch.randn(5, 1, KEYS, KEYS)), ["[5, 1, 11, 11]", "don't broadcast"]),
    "tensor meta": (lambda: rg.bias.tensor(torch.ones(KEYS, KEYS, device="meta")), ["is on meta, query on cpu"]),
    "keys": (lambda: rg.bias.keys(torch.randn(10)), ["key positions 0…9", "key positions 0…10"]),
    "relative": (lambda: rg.relative(torch.randn(5, 7)), ["relative(table) is for 5 heads", "the query has 6"]),
    "t5": (lambda: rg.t5(torch.randn(5, 8)), ["t5(table) is for 5 heads", "the query has 6"]),
    "edges": (lambda: rg.bias.edges(torch.tensor([[0], [1]]), torch.ones(5, 1)), ["for 5 heads", "has 6"]),
    "alibi": (lambda: rg.alibi(5), ["alibi(heads) is for 5 heads", "the query has 6"]),
    "slopes": (lambda: rg.alibi(torch.ones(5)), ["alibi(slopes) is for 5 heads", "the query has 6"]),
    "sink": (lambda: rg.softmax(sink=torch.ones(5)), ["softmax(sink)", "5", "6", "a head"]),
    "shift": (lambda: rg.sigmoid(torch.ones(5)), ["sigmoid(shift)", "5", "6", "a head"]),
    "scale": (lambda: rg.dot(torch.ones(5)), ["dot(scale)", "5", "6", "a head"]),
    "sigma": (lambda: rg.gaussian(torch.ones(5)), ["gaussian(sigma)", "5", "6", "a head"]),
    "general": (lambda: rg.general(torch.ones(5, 7)), ["general(W) must be [7, 7] or [6, 7, 7]", "got [5, 7]"]),
    "additive": (
        lambda: rg.additive(torch.ones(3, 5), torch.ones(3, 7), torch.ones(3)),
        ["additive's W must be [3, 7] or [6, 3, 7]", "got [3, 5]"],
    ),
    "vector": (
        lambda: rg.additive(torch.ones(3, 7), torch.ones(3, 7), torch.ones(5)),
        ["additive's v must be [3] or [6, 3]", "got [5]"],
    ),
    "capped": (lambda: rg.softcap(rg.dot(torch.ones(5)), 3), ["dot(scale)", "5", "6", "a head"]),
}


@pytest.mark.parametrize("engine", [None, "reference"])
@pytest.mark.parametrize("name", RULES)
def test_rules_that_do_not_fit(name: str, engine: str | None) -> None:
    """Whatever engine runs: none may take what another refuses."""
    make, says = RULES[name]
    refused(lambda: rg.attend(query(*BATCH), key(*BATCH), value(*BATCH), make(), engine=engine), says)


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("raw tensor", "string", "function")])
def test_steps_and_weights_refuse_the_same(name: str) -> None:
    make, says = RULES[name]
    refused(lambda: rg.weights(query(*BATCH), key(*BATCH), make()), says)
    refused(lambda: rg.steps(query(*BATCH), key(*BATCH), value(*BATCH), make()), says)


# --------------------------------------------------------------------------------- terms that can't be


TERMS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "negative window": (lambda: rg.window(-1), ["window's size", "at least 1", "got -1"]),
    "window of none": (lambda: rg.window(0), ["window's size", "at least 1", "got 0"]),
    "negative side": (lambda: rg.window(before=-1, after=2), ["window's before", "at least 0", "got -1"]),
    "both windows": (lambda: rg.window(3, before=2), ["a size, or before= and after=", "both"]),
    "broken window": (lambda: rg.window(2.5), ["whole number", "2.5"]),  # type: ignore[arg-type]
    "nan window": (lambda: rg.window(float("nan")), ["whole number", "nan"]),  # type: ignore[arg-type]
    "negative stride": (lambda: rg.strided(-2), ["strided's stride", "at least 1", "got -2"]),
    "negative length": (lambda: rg.documents([3, -1]), ["documents' lengths", "at least 0", "got -1"]),
    "integer mask": (lambda: rg.mask(torch.ones(3, 3, dtype=torch.int64)), ["bool", "torch.int64", "x != 0"]),
    "additive mask": (lambda: rg.mask(torch.zeros(3, 3)), ["bool", "torch.float32", "additive mask"]),
    "numpy mask": (lambda: rg.mask(np.ones((3, 3), bool)), ["bool tensor", "ndarray", "torch.as_tensor"]),  # type: ignore[arg-type]
    "boolean bias": (lambda: rg.bias.tensor(ones(3, 3)), ["floating-point", "torch.bool", "regard.mask"]),
    "integer bias": (lambda: rg.bias.keys(torch.ones(3, dtype=torch.int64)), ["floating-point", "torch.int64 [3]"]),
    "even table": (lambda: rg.relative(torch.ones(4)), ["[2r + 1]", "odd number", "[4]"]),
    "odd buckets": (lambda: rg.t5(torch.ones(7)), ["even number ≥ 4", "[7]"]),
    "near buckets": (lambda: rg.t5(torch.ones(32), max_distance=8), ["max_distance", "beyond", "got 8"]),
    "alibi of none": (lambda: rg.alibi(0), ["at least one head", "got 0"]),
    "repeated edge": (lambda: rg.bias.edges(torch.ones(2, 2).long(), torch.ones(2)), ["every edge once"]),
    "edge values": (lambda: rg.bias.edges(torch.ones(2, 1).long(), torch.ones(2)), ["1 edges", "values [2]"]),
    "edge shape": (lambda: rg.edges(torch.ones(3, 2).long()), ["[2, edges]", "(3, 2)"]),
    "sink matrix": (lambda: rg.softmax(torch.ones(2, 3)), ["softmax", "got 2 axes"]),
    "relu power": (lambda: rg.relu(0.5), ["power ≥ 1", "got 0.5"]),
    "relu nan": (lambda: rg.relu(float("nan")), ["power ≥ 1", "got nan"]),
    "relu divide": (lambda: rg.relu(1, float("nan")), ["number > 0", "got nan"]),
    "hard nan": (lambda: rg.hard(float("nan")), ["temperature > 0", "got nan"]),
    "hard zero": (lambda: rg.hard(0.0), ["temperature > 0", "got 0"]),
    "top none": (lambda: rg.top_k(0), ["k ≥ 1", "got 0"]),
    "sigma nan": (lambda: rg.gaussian(float("nan")), ["bandwidth > 0", "got nan"]),
    "sigma zero": (lambda: rg.gaussian(0.0), ["bandwidth > 0", "got 0"]),
    "cap nan": (lambda: rg.softcap(rg.dot(), float("nan")), ["finite c > 0", "got nan"]),
    "cap of a pattern": (lambda: rg.softcap(rg.causal(), 3), ["caps a score", "got Causal"]),  # type: ignore[arg-type]
    "scale matrix": (lambda: rg.dot(torch.ones(2, 3)), ["0 or 1 axes", "got 2 axes"]),
    "and": (lambda: rg.causal() and rg.window(3), ["&, | and ~"]),
    "pattern & tensor": (lambda: rg.causal() & ones(3, 3), ["& takes patterns", "regard.mask"]),  # type: ignore[operator]
    "tensor | pattern": (lambda: ones(3, 3) | rg.causal(), ["| takes patterns", "regard.mask"]),
    "pattern & bias": (lambda: rg.causal() & rg.alibi(), ["& takes patterns", "alibi()"]),  # type: ignore[operator]
    "bias + tensor": (lambda: rg.alibi() + torch.ones(3), ["a bias adds to a bias", "regard.bias.tensor"]),  # type: ignore[operator]
    "score slot": (lambda: rg.Rule(rg.causal()), ["Rule(score=…)", "regard.dot()", "got Causal"]),  # type: ignore[arg-type]
    "pattern slot": (lambda: rg.Rule(pattern=rg.alibi()), ["Rule(pattern=…)", "got Alibi"]),  # type: ignore[arg-type]
    "mask slot": (lambda: rg.Rule(pattern=ones(3, 3)), ["Rule(pattern=…)", "regard.mask(...)", "got Tensor"]),  # type: ignore[arg-type]
    "bias slot": (lambda: rg.Rule(bias=torch.ones(3, 3)), ["Rule(bias=…)", "regard.bias.tensor(...)", "got Tensor"]),  # type: ignore[arg-type]
    "normalize slot": (lambda: rg.Rule(normalize=rg.dot()), ["Rule(normalize=…)", "regard.softmax()", "got Dot"]),  # type: ignore[arg-type]
    "normalize None": (lambda: rg.Rule(normalize=None), ["Rule(normalize=…)", "got NoneType"]),  # type: ignore[arg-type]
    # NaN where a number is meant, a number where a whole one is meant
    "scale nan": (lambda: rg.dot(float("nan")), ["dot", "nan"]),
    "cosine nan": (lambda: rg.cosine(float("nan")), ["cosine", "nan"]),
    "shift nan": (lambda: rg.sigmoid(float("nan")), ["sigmoid(shift)", "nan"]),
    "sink nan": (lambda: rg.softmax(float("nan")), ["softmax(sink)", "nan"]),
    "slope nan": (
        lambda: rg.additive(torch.ones(3, 7), torch.ones(3, 7), torch.ones(3), negative_slope=float("nan")),
        ["negative_slope", "nan"],
    ),
    "distance nan": (lambda: rg.t5(torch.ones(8), max_distance=float("nan")), ["max_distance", "nan"]),  # type: ignore[arg-type]
    "top half": (lambda: rg.top_k(2.5), ["top_k", "2.5"]),  # type: ignore[arg-type]
    "top half of a tensor": (lambda: rg.top_k(torch.tensor(2.5)), ["top_k", "2.5"]),  # type: ignore[arg-type]
    "top nan": (lambda: rg.top_k(float("nan")), ["top_k", "nan"]),  # type: ignore[arg-type]
    "slopes list": (lambda: rg.alibi([0.5, 0.25]), ["alibi", "tensor"]),  # type: ignore[arg-type]
    "heads broken": (lambda: rg.alibi(2.5), ["alibi", "2.5"]),  # type: ignore[arg-type]
    "integer table": (lambda: rg.relative(torch.ones(5, dtype=torch.int64)), ["relative(table)", "torch.int64"]),
    "far prefix": (lambda: rg.prefix(2**70), ["prefix must be below 2⁶²", f"got {2**70}"]),
    "far window": (lambda: rg.window(before=2**63), ["window's before must be below 2⁶²"]),
    "far edge": (
        lambda: rg.bias.edges(torch.tensor([[0], [2**31]]), torch.ones(1)),
        ["positions from 0 to 2³¹ − 1", "got 0…2147483648"],
    ),
    "pattern plus bias": (lambda: rg.causal() + rg.alibi(), ["causal is none", "give both to regard.Rule"]),  # type: ignore[operator]
    "bias plus pattern": (lambda: rg.alibi() + rg.causal(), ["causal is none", "give both to regard.Rule"]),
    "number plus bias": (lambda: 3 + rg.alibi(), ["wrap a int in regard.bias.tensor"]),
    "integer matrix": (lambda: rg.general(torch.ones(7, 7, dtype=torch.int64)), ["general(W)", "torch.int64"]),
}


@pytest.mark.parametrize("name", TERMS)
def test_terms_that_can_not_be(name: str) -> None:
    refused(*TERMS[name])


# ------------------------------------------------------------------------------------ offsets and numbers


OPTIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "float": ({"query_start": 1.5}, ["query_start must be an int or an integer tensor", "got float"]),
    "bool": ({"query_start": True}, ["query_start must be an int", "got bool"]),
    "list": ({"query_start": [1, 2]}, ["query_start must be an int or an integer tensor per batch entry", "got list"]),
    "floats": ({"query_start": torch.ones(2, 3)}, ["query_start must hold integers", "torch.float32"]),
    "bools": ({"key_start": ones(2, 3)}, ["key_start must hold integers", "torch.bool"]),
    "complex": ({"key_start": torch.tensor(1j)}, ["key_start must hold integers", "torch.complex64"]),
    "meta": ({"query_start": torch.ones(2, 3, device="meta").long()}, ["query_start is on the meta device"]),
    "shape": ({"query_start": torch.ones(6).long()}, ["of shape [2, 3], one a batch entry", "got [6]"]),
    "far": (
        {"query_start": -(2**70)},
        ["query_start must lie between -2**40 and 2**40", "got -1180591620717411303424"],
    ),
    "far key": ({"key_start": torch.tensor(2**41)}, ["key_start must lie between", "got 2199023255552"]),
    "negative key": ({"key_start": -1}, ["key_start must be ≥ 0", "got -1"]),
    "negative keys": ({"key_start": torch.tensor([[0, 1, -2]])}, ["key_start must be ≥ 0", "got -2"]),
    "dropout": ({"dropout": 1.0}, ["probability in [0, 1)", "got 1.0"]),
    "dropout in letters": ({"dropout": "a"}, ["probability in [0, 1)", "got 'a'"]),
    "dropout nan": ({"dropout": float("nan")}, ["probability in [0, 1)", "got nan"]),
    "engine": ({"engine": "fast"}, ["sdpa, flex, tiled, reference", "got 'fast'"]),
    "broken seed": ({"dropout": 0.5, "seed": 1.5}, ["seed", "1.5"]),
    "broken seed in a tensor": ({"dropout": 0.5, "seed": torch.tensor(1.5)}, ["seed", "1.5"]),
    "seeds": ({"dropout": 0.5, "seed": torch.tensor([1, 2])}, ["seed", "[1, 2]"]),
    "seed in letters": ({"dropout": 0.5, "seed": "a"}, ["seed", "'a'"]),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_can_not_be(name: str) -> None:
    options, says = OPTIONS[name]
    refused(lambda: rg.attend(query(*BATCH), key(*BATCH), value(*BATCH), rg.causal(), **options), says)
    refused(lambda: rg.plan(query(*BATCH), key(*BATCH), value(*BATCH), rg.causal(), **options), says)


@pytest.mark.parametrize("start", [np.int64(8), torch.tensor(8), torch.tensor([8]), torch.full((2, 3), 8).int()])
def test_offsets_of_any_integer_kind(start: Any) -> None:
    inputs = (query(*BATCH), key(*BATCH), value(*BATCH))
    wanted = rg.attend(*inputs, rg.causal(), query_start=8)
    assert torch.equal(rg.attend(*inputs, rg.causal(), query_start=start), wanted)
    assert not torch.equal(rg.attend(*inputs, rg.causal()), wanted)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([5], ["rows must be integers from 0 to 4", "got 5"]),
        ([-6], ["rows must be integers from 0 to 4", "got -6"]),
        ([1.5], ["rows must be integers", "got 1.5"]),
        ([True, False, True, False, True], ["rows must be integers"]),
        (ones(5), ["rows must be integers"]),
        (slice(2), ["rows must be integers", "got slice"]),
        ("a", ["rows must be integers", "got str"]),
    ],
)
def test_rows_that_can_not_be(rows: Any, says: list[str]) -> None:
    refused(lambda: rg.weights(query(), key(), rows=rows), says)


def test_heads_of_nothing() -> None:
    """Zero lengths are allowed everywhere, also where a bias counts heads."""
    empty = torch.zeros(2, 0, 5, DIM)
    for rule in (None, rg.causal(), rg.alibi()):
        assert rg.attend(empty, empty, empty, rule).shape == (2, 0, 5, DIM)


def test_our_errors_are_pythons_as_well() -> None:
    assert issubclass(rg.InputError, ValueError) and issubclass(rg.EngineError, RuntimeError)
    assert issubclass(rg.MissingError, ImportError)
    assert all(issubclass(e, rg.RegardError) for e in (rg.InputError, rg.EngineError, rg.MissingError))
