"""Prepared calls: what the long way gives, to the bit; never a stale result; nothing unusual taken; bounded."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable
from types import FrameType

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import regard as rg
from regard.planning import solve
from regard.prepared import CALLS, recall, signed
from regard.problem import pose
from regard.problem.lowering import LOWERED
from regard.recent import Recent, contents

pytestmark = pytest.mark.skipif(
    not hasattr(Tensor, "__dlpack_c_exchange_api__"), reason="PyTorch tells C++ of its tensors from 2.10 on"
)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * 3


def qkv(heads: int = 6, kv_heads: int = 3, queries: int = 5, keys: int = 7, lead: tuple[int, ...] = (2,)):
    shapes = (*lead, heads, queries, 11), (*lead, kv_heads, keys, 11), (*lead, kv_heads, keys, 13)
    return [numbers(*shape, seed=n) for n, shape in enumerate(shapes)]


def long_way(query: Tensor, key: Tensor, value: Tensor, rule: object = None, **starts: int) -> Tensor:
    problem = pose(query, key, value, rule, **starts)
    return problem.shaped(solve(problem, "native").out)


def ready(query: Tensor, key: Tensor, value: Tensor, rule: object = None, **starts: int) -> Tensor | None:
    """What a prepared call gives; None where there is none."""
    signature = signed(query, key, value, rule, starts.get("query_start"), starts.get("key_start", 0), 0.0, None, None)
    return None if signature is None else recall(signature, query, key, value)


def gradients(made: Callable[..., Tensor], inputs: list[Tensor], *rest: object, **starts: int) -> list[Tensor]:
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    out = made(*leaves, *rest, **starts)
    return [out.detach(), *torch.autograd.grad(out, leaves, numbers(*out.shape, seed=9))]


def equal(found: list[Tensor], expected: list[Tensor]) -> None:
    for got, want in zip(found, expected, strict=True):
        assert got.shape == want.shape
        assert torch.equal(got, want)


RULES = {
    "none": lambda: None,
    "rule": lambda: rg.Rule(rg.dot(0.5)),
    "causal": rg.causal,
    "window": lambda: rg.Rule(pattern=rg.causal() & rg.window(3)),
    "mask": lambda: rg.mask(numbers(2, 6, 7, 7) > 0),
    "padding": lambda: rg.causal() & rg.padding(torch.tensor([3, 7])),
    "documents": lambda: rg.Rule(pattern=rg.documents([2, 5])),
    "heads": lambda: rg.per_head(*[rg.window(h + 1) for h in range(6)]),
}


@pytest.mark.parametrize("name", RULES)
def test_the_bits_of_the_long_way(name):
    inputs, rule = qkv(), RULES[name]()
    expected = gradients(long_way, inputs, rule)
    for _ in range(3):
        equal(gradients(rg.attend, inputs, rule), expected)
        equal([rg.attend(*inputs, rule)], expected[:1])
    assert torch.equal(ready(*inputs, RULES[name]()), expected[0])  # an equal rule finds it as well
    assert ready(*inputs, rg.window(5)) is None


@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 3), (1, 3), (2, 1)])
def test_any_leading_dimensions(lead):
    inputs = qkv(lead=lead)
    equal(gradients(rg.attend, inputs), gradients(long_way, inputs))
    assert ready(*inputs).shape == (*lead, 6, 5, 13)


def test_two_axes():
    inputs = [t[0, 0] for t in qkv(1, 1)]
    equal(gradients(rg.attend, inputs), gradients(long_way, inputs))
    assert ready(*inputs).shape == (5, 13)


@pytest.mark.parametrize("lead", [(2,), (2, 3)])
def test_keys_that_serve_all_batch_entries(lead):
    """Their gradient is a sum, which the long way takes; without it there is nothing to sum."""
    query, key, value = qkv(lead=lead)
    inputs = [query, key[(0,) * len(lead)], value[(0,) * len(lead)][(None,) * len(lead)]]
    expected = gradients(long_way, inputs)
    for _ in range(2):
        equal(gradients(rg.attend, inputs), expected)
        equal([rg.attend(*inputs)], expected[:1])
    assert torch.equal(ready(*inputs), expected[0])
    assert ready(inputs[0], inputs[1].requires_grad_(), inputs[2]) is None


def odd_strides(tensor: Tensor) -> list[Tensor]:
    wide = torch.full((*tensor.shape[:-1], 2 * tensor.shape[-1]), float("nan"))
    wide[..., ::2] = tensor
    return [
        tensor.transpose(1, 2).contiguous().transpose(1, 2),
        wide[..., ::2],
        tensor.mT.contiguous().mT,
        tensor.flip(0).flip(0)[:, :, :].clone(memory_format=torch.channels_last),
    ]


def test_strides_are_each_call_s_own():
    inputs = qkv()
    expected = gradients(long_way, inputs, rg.causal())
    rg.attend(*inputs, rg.causal())
    for odd in zip(*map(odd_strides, inputs), strict=True):
        assert torch.equal(ready(*odd, rg.causal()), expected[0])
        leaves = [t.detach().requires_grad_() for t in odd]
        upstream = numbers(2, 6, 5, 13, seed=9).mT.contiguous().mT
        equal(list(torch.autograd.grad(rg.attend(*leaves, rg.causal()), leaves, upstream)), expected[1:])


def test_five_axes_that_strides_don_t_join_go_the_long_way():
    query, key, value = (t.transpose(0, 1) for t in qkv(lead=(2, 3)))
    expected = long_way(query, key, value)
    assert torch.equal(rg.attend(query, key, value), expected)
    assert ready(query, key, value) is None
    assert torch.equal(rg.attend(*(t.contiguous() for t in (query, key, value))), expected)


def test_an_upstream_gradient_of_five_axes_in_any_order():
    inputs = [t.requires_grad_() for t in qkv(lead=(2, 3))]
    upstream = numbers(3, 2, 6, 5, 13, seed=9).transpose(0, 1)
    want = torch.autograd.grad(rg.attend(*inputs), inputs, upstream.contiguous())
    equal(list(torch.autograd.grad(rg.attend(*inputs), inputs, upstream)), list(want))


# ---- nothing stale


@pytest.mark.parametrize(
    "change", [lambda m: m.logical_not_(), lambda m: m.data.logical_not_(), lambda m: m.numpy().__ixor__(True)]
)
def test_a_mask_changed_in_place(change):
    """By autograd's book, past it, and through shared memory."""
    inputs, shown = qkv(), numbers(7, 7) > 0
    rule = rg.mask(shown)
    before = rg.attend(*inputs, rule)
    change(shown)
    after = rg.attend(*inputs, rule)
    assert torch.equal(after, long_way(*inputs, rg.mask(shown.clone())))
    assert not torch.equal(after, before)
    assert not torch.equal(rg.attend(*inputs, rule, engine="tiled"), before)


def test_a_mask_changed_between_forward_and_second_derivative():
    inputs, shown = [t.requires_grad_() for t in qkv()], numbers(7, 7) > -3
    expected = torch.autograd.grad(long_way(*inputs, rg.mask(shown)).square().sum(), inputs, create_graph=True)
    rg.attend(*inputs, rg.mask(shown))
    out = rg.attend(*inputs, rg.mask(shown))
    shown.zero_()
    found = torch.autograd.grad(out.square().sum(), inputs, create_graph=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_mask_is_let_go_while_its_call_is_kept():
    inputs, shown = qkv(), numbers(7, 7, seed=1) > 0
    expected, again, gone = rg.attend(*inputs, rg.mask(shown)), shown.clone(), weakref.ref(shown)
    del shown
    gc.collect()
    assert gone() is None
    assert torch.equal(ready(*inputs, rg.mask(again)), expected)


def test_masks_shared_by_heads_in_another_order_are_another_rule():
    one, two = numbers(7, 7, seed=1) > 0, numbers(7, 7, seed=2) > 0
    first, second = rg.mask(one), rg.mask(two)
    inputs = qkv(3, 3)
    left, right = rg.per_head(first, first, second), rg.per_head(first, second, second)
    assert not torch.equal(rg.attend(*inputs, left), rg.attend(*inputs, right))
    assert torch.equal(rg.attend(*inputs, right), long_way(*inputs, right))


def test_positions_move_on():
    query, key, value = qkv()
    for start in (0, 2, 5, 2):
        got = rg.attend(query, key, value, rg.causal(), query_start=start)
        assert torch.equal(got, long_way(query, key, value, rg.causal(), query_start=start))


def test_gradients_are_followed_where_they_are_wanted():
    query, key, value = qkv()
    rg.attend(query, key, value)
    value.requires_grad_()
    out = rg.attend(query, key, value)
    assert torch.autograd.grad(out.sum(), value)[0].shape == value.shape
    with torch.no_grad():
        assert not rg.attend(query, key, value).requires_grad
    assert not rg.attend(query, key, value.requires_grad_(False)).requires_grad


def test_prepared_in_inference_mode_used_outside():
    inputs = qkv(keys=17)
    with torch.inference_mode():
        assert rg.attend(*inputs).is_inference()
    assert ready(*inputs) is not None
    out = rg.attend(*(t.requires_grad_() for t in inputs))
    assert not out.is_inference()
    out.sum().backward()


def test_threads_are_asked_at_every_call():
    inputs = qkv(queries=131, keys=137)
    before = torch.get_num_threads()
    try:
        made = []
        for threads in (2, 1, 2):
            torch.set_num_threads(threads)
            made.append(gradients(rg.attend, inputs, rg.causal()))
    finally:
        torch.set_num_threads(before)
    equal(made[1], made[0])
    equal(made[2], made[0])


# ---- derivatives of every order, hooks, checkpoints


def test_second_derivatives_and_poisoned_gradients():
    def second(engine: str | None, dtype: torch.dtype) -> tuple[Tensor, ...]:
        inputs = [t.to(dtype).requires_grad_() for t in qkv()]
        rule = rg.causal() & rg.padding(torch.tensor([5, 7]))
        out = rg.attend(*inputs, rule, engine=engine)
        first = torch.autograd.grad(out.square().sum(), inputs, create_graph=True)
        upstream = torch.ones(2, 6, 5, 13, dtype=dtype)
        upstream[:, :, 0] = float("nan")
        poisoned = torch.autograd.grad(rg.attend(*inputs, rule, engine=engine), inputs, upstream)
        return *torch.autograd.grad(sum(g.square().sum() for g in first), inputs), *poisoned

    second(None, torch.float32)
    for got, want in zip(second(None, torch.float32), second("reference", torch.float64), strict=True):
        largest = want.nan_to_num().abs().max().item()
        torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-4 * largest, equal_nan=True)


def test_tensors_saved_elsewhere_come_back():
    inputs = qkv()
    expected = gradients(rg.attend, inputs)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.mT.contiguous(), lambda t: t.mT):
        leaves = [t.requires_grad_() for t in inputs]
        found = torch.autograd.grad(rg.attend(*leaves), leaves, numbers(2, 6, 5, 13, seed=9))
    equal(list(found), expected[1:])


def test_tensors_saved_in_another_type_are_not_misread():
    leaves = [t.requires_grad_() for t in qkv()]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.double(), lambda t: t):
        out = rg.attend(*leaves)
    found = torch.autograd.grad(out, leaves, numbers(2, 6, 5, 13, seed=9))
    want = torch.autograd.grad(rg.attend(*leaves, engine="tiled"), leaves, numbers(2, 6, 5, 13, seed=9))
    torch.testing.assert_close(found, want, rtol=1e-3, atol=1e-3)


def test_a_checkpoint_saves_the_same_the_second_time():
    """The first call of a kind is prepared already, else it would save other tensors than its repetition."""
    inputs = [t.requires_grad_() for t in qkv(keys=19)]
    out = checkpoint(lambda *t: rg.attend(*t, rg.causal()), *inputs, use_reentrant=False)
    equal(
        list(torch.autograd.grad(out.sum(), inputs)),
        list(torch.autograd.grad(rg.attend(*inputs, rg.causal()).sum(), inputs)),
    )


# ---- what is unusual goes the long way


class Named(Tensor):
    """A subclass."""


class Seeing(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen += 1
        return func(*args, **(kwargs or {}))


class Dispatching(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_modes_and_transforms_are_not_passed_by():
    inputs = qkv()
    expected = rg.attend(*inputs)
    assert ready(*inputs) is not None
    with Seeing() as mode:
        assert ready(*inputs) is None
        rg.attend(*inputs)
    assert mode.seen
    with Dispatching():
        assert ready(*inputs) is None
    with torch.autograd.forward_ad.dual_level():
        assert ready(torch.autograd.forward_ad.make_dual(inputs[0], inputs[0]), *inputs[1:]) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert ready(*inputs) is None
        assert rg.attend(*inputs).dtype == torch.bfloat16
    with FakeTensorMode() as fake, pytest.raises(rg.InputError, match="fake"):
        rg.attend(*map(fake.from_tensor, inputs))
    torch.testing.assert_close(torch.func.vmap(rg.attend)(*inputs), expected, rtol=1e-4, atol=1e-5)
    out, tangent = torch.func.jvp(lambda query: rg.attend(query, *inputs[1:]), (inputs[0],), (inputs[0],))
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    assert tangent.any()
    found = torch.func.grad(lambda query: rg.attend(query, *inputs[1:]).sum())(inputs[0])
    want = torch.autograd.grad(rg.attend(inputs[0].requires_grad_(), *inputs[1:]).sum(), inputs[0])[0]
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)


def test_tensors_that_are_not_plain():
    inputs = qkv()
    rg.attend(*inputs)
    minus = torch.complex(inputs[0], inputs[0]).conj().imag
    assert minus.is_neg()
    odd = [
        inputs[0].as_subclass(Named),
        minus,
        inputs[0].to("meta"),
        torch._efficientzerotensor(inputs[0].shape),
        inputs[0].to_sparse(),
        torch.nested.nested_tensor(list(inputs[0]), layout=torch.jagged),
        None,
    ]
    for tensor in odd:
        assert ready(tensor, *inputs[1:]) is None
    assert torch.equal(rg.attend(minus, *inputs[1:]), rg.attend(-inputs[0], *inputs[1:]))
    assert ready(torch.nn.Parameter(inputs[0]), *inputs[1:]) is not None


def test_wrong_arguments_say_so_after_a_call_like_theirs():
    inputs = qkv()
    rg.attend(*inputs, rg.causal(), query_start=1)
    for wrong in ({"query_start": True}, {"query_start": 1.0}, {"engine": "fast"}, {"dropout": 2.0}, {"seed": 0.5}):
        with pytest.raises(rg.InputError):
            rg.attend(*inputs, rg.causal(), **wrong)
    with pytest.raises(rg.InputError):
        rg.attend(*inputs, rg.causal(), key_start=False)
    with pytest.raises(rg.InputError):
        rg.attend(*inputs, inputs[0])


def test_dropout_and_learned_tensors_are_never_prepared():
    inputs = qkv()
    before = len(CALLS)
    scale = torch.full((6,), 0.5)
    for rule in (rg.dot(scale), rg.softmax(torch.zeros(6))):
        rg.attend(*inputs, rule)
        scale.add_(1)
        expected = rg.attend(*(t.double() for t in inputs), rule, engine="reference")
        torch.testing.assert_close(rg.attend(*inputs, rule).double(), expected, rtol=1e-4, atol=1e-5)
    dropped = [rg.attend(*inputs, dropout=0.5, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(dropped[0], dropped[1])
    assert not torch.equal(dropped[1], dropped[2])
    rg.attend(*inputs, engine="tiled")
    assert len(CALLS) == before


def test_a_hidden_nan_in_a_call_like_a_clean_one():
    inputs = qkv(5, 5, 5, 5)
    rg.attend(*inputs, rg.causal())
    inputs[2][:, :, 3] = float("nan")
    out = rg.attend(*inputs, rg.causal())
    assert out[:, :, :3].isfinite().all()
    assert out[:, :, 3:].isnan().all()


# ---- how much is done, and kept


def python_calls(work: Callable[[], object], name: str | None = None) -> int:
    """How many Python functions run, or how often those of one name do."""
    count = 0

    def tell(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call" and name in (None, frame.f_code.co_name)

    sys.setprofile(tell)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_a_prepared_call_is_a_few_lines():
    query, key, value = qkv()
    expected = python_calls(lambda: long_way(query, key, value))
    assert expected > 100
    rg.attend(query, key, value)
    assert python_calls(lambda: rg.attend(query, key, value)) < 15
    rg.attend(query, key, value, rg.causal())
    assert python_calls(lambda: rg.attend(query, key, value, rg.causal())) < 25


@pytest.mark.parametrize("name", ["window", "padding", "bias"])
@pytest.mark.parametrize("engine", [None, "tiled"])
def test_layers_lower_their_pattern_once(name, engine):
    """Seven layers, three steps of decoding: once a step, for whichever engine."""
    padded = rg.padding(torch.arange(53) > 2)

    def decode() -> None:
        for step in range(3):
            query, key, value = qkv(queries=1, keys=41 + step)
            for _ in range(7):
                pattern = rg.causal() & (padded if name == "padding" else rg.window(23))
                rule = rg.Rule(pattern=pattern, bias=rg.alibi() if name == "bias" else None)
                rg.attend(query, key, value, rule, engine=engine, query_start=40 + step)

    LOWERED.clear()
    CALLS.clear()
    assert python_calls(decode, "_lower") == 3
    assert len(LOWERED) == 3


def test_no_more_is_kept_than_the_bound():
    recent: Recent[str] = Recent(count=3, nbytes=100)
    for n in range(7):
        recent.put(n, str(n), 10)
        recent.get(4)
    assert len(recent) == 3
    assert recent.get(4) == "4"
    assert recent.get(3) is None
    recent.put("large", "large", 90)
    assert (len(recent), recent.held) == (2, 100)
    recent.put("too large", "too large", 101)
    assert recent.get("too large") is None
    recent.put("large", "again", 95)
    assert recent.held == 95


def test_calls_are_bounded():
    key = qkv(keys=CALLS.count + 9)
    for keys in range(1, CALLS.count + 7):
        rg.attend(key[0], key[1][..., :keys, :], key[2][..., :keys, :], rg.causal(), query_start=3)
    assert len(CALLS) == CALLS.count
    assert len(LOWERED) <= LOWERED.count
    assert ready(key[0], key[1][..., :1, :], key[2][..., :1, :], rg.causal(), query_start=3) is None


def test_equal_contents_are_one_key_and_a_copy_is_kept():
    tensor = torch.arange(1009)
    one, other = contents([tensor]), contents([tensor.clone()])
    assert one == other
    assert hash(one) == hash(other)
    assert one != contents([tensor.int()])
    assert one != contents([tensor[None]])
    one.keep()
    tensor[501] += 1
    assert one == other
    assert one != contents([tensor])
    assert contents([tensor.to("meta")]) is None
    assert contents([torch.zeros(2, requires_grad=True)]) is None


def test_a_rule_asked_for_its_hash_can_be_copied_and_sent():
    rule = rg.Rule(pattern=rg.causal() & rg.mask(numbers(7, 7) > 0))
    assert hash(rule) == id(rule)
    for other in (copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))):
        assert torch.equal(rg.attend(*qkv(), other), rg.attend(*qkv(), rule))
    plain = rg.Rule(pattern=rg.causal() & rg.window(3))
    assert len({plain, pickle.loads(pickle.dumps(plain)), rg.Rule(pattern=rg.causal() & rg.window(3))}) == 1


def test_without_the_exchange_every_call_goes_the_long_way():
    program = """
import torch
torch.Tensor.__dlpack_c_exchange_api__ = None
import regard as rg
from regard.prepared import CALLS
q = torch.randn(1, 3, 5)
torch.testing.assert_close(rg.attend(q, q, q), torch.nn.functional.scaled_dot_product_attention(q, q, q))
rg.attend(q, q, q)
print(rg.plan(q, q, q).engine, len(CALLS))
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["native", "0"]


def test_the_drop_in_and_varlen_are_prepared_too():
    query, key, value = qkv(4, 4, 5, 5)
    CALLS.clear()
    for _ in range(2):
        out = rg.compat.scaled_dot_product_attention(query, key, value, is_causal=True)
        packed = rg.varlen(query, key, value, [0, 2, 5])
    want = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(out, want, rtol=1e-4, atol=1e-5)
    assert torch.equal(packed, long_way(query, key, value, rg.documents([2, 3]), query_start=0))
    assert len(CALLS) == 2
