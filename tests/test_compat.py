"""`regard.scaled_dot_product_attention` against PyTorch's own: same signature, same meaning, same gradients."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

import regard as rg

INF = float("inf")


@dataclass(repr=False)
class Case:
    query: Tensor
    key: Tensor
    value: Tensor
    options: dict[str, Any]

    def regard(self, **more: Any) -> Tensor:
        return rg.scaled_dot_product_attention(self.query, self.key, self.value, **{**self.options, **more})

    def torch(self, **more: Any) -> Tensor:
        """PyTorch on a query that already has all leading dimensions, for its masks don't broadcast against values.

        Of masks with fewer than two axes its fused kernel trips over the missing ones.
        """
        last = 3 if self.options.get("enable_gqa") else 2
        lead = torch.broadcast_shapes(*(t.shape[:-last] for t in (self.query, self.key, self.value)))
        query = self.query.expand(*lead, *self.query.shape[-last:])
        options = {**self.options, **more}
        if options.get("attn_mask") is not None:
            options["attn_mask"] = torch.atleast_2d(options["attn_mask"])
        return F.scaled_dot_product_attention(query, self.key, self.value, **options)

    def __repr__(self) -> str:
        said = {name: list(v.shape) if isinstance(v, Tensor) else v for name, v in self.options.items()}
        return f"Case({list(self.query.shape)}, {list(self.key.shape)}, {list(self.value.shape)}, {said})"


def normal(*shape: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Tensor:
    return (scale * torch.randn(shape, dtype=torch.float64)).to(dtype)


@st.composite
def cases(draw: st.DrawFn, masks: tuple[str, ...] = ("none", "causal", "boolean", "additive")) -> Case:
    torch.manual_seed(draw(st.integers(0, 2**31)))
    grouped = draw(st.booleans())
    ndim = draw(st.integers(3 if grouped else 2, 6))
    lead = draw(st.permutations([2, 3, 5, 7]))[: ndim - 2]
    queries, keys, dim, value_dim = draw(st.permutations([11, 13, 17, 19]))
    group = draw(st.sampled_from([2, 3])) if grouped else 1

    def leading(heads: list[int]) -> list[int]:
        """Every leading dimension as it is or 1; missing ones at the front."""
        kept = lead[:-1] if grouped else lead
        some = [draw(st.sampled_from([size, 1])) for size in kept]
        return [*some[draw(st.integers(0, len(some))) :], *heads]

    query = normal(*leading([lead[-1] * group] if grouped else []), queries, dim, scale=3)
    key = normal(*leading([lead[-1]] if grouped else []), keys, dim)
    value = normal(*leading([lead[-1]] if grouped else []), keys, value_dim)
    options: dict[str, Any] = {"enable_gqa": grouped, "scale": draw(st.sampled_from([None, 0.37]))}
    last = 3 if grouped else 2
    whole = [*torch.broadcast_shapes(*(t.shape[:-last] for t in (query, key, value)))]
    whole = [*whole, *([lead[-1] * group] if grouped else []), queries, keys]
    kind = draw(st.sampled_from(masks))
    if kind == "causal":
        options["is_causal"] = True
    elif kind != "none":
        shape = [draw(st.sampled_from([size, size, 1])) for size in whole][draw(st.integers(0, len(whole))) :]
        options["attn_mask"] = torch.rand(shape) > 0.4 if kind == "boolean" else normal(*shape, scale=3)
    return Case(query, key, value, options)


def seen(case: Case, out: Tensor) -> Tensor:
    """Rows that may attend to something; for those that may not, PyTorch's kernels don't all answer alike."""
    mask = case.options.get("attn_mask")
    if mask is None or mask.dtype != torch.bool:
        return torch.ones_like(out[..., :1], dtype=torch.bool)
    rows = mask.expand(*(1,) * max(0, 2 - mask.ndim), *mask.shape).any(-1, keepdim=True)
    return rows.expand(*out.shape[:-1], 1)


@settings(max_examples=100)
@given(cases())
def test_equals_torch(case: Case) -> None:
    ours, theirs = case.regard(), case.torch()
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    visible = seen(case, theirs)
    torch.testing.assert_close(ours, torch.where(visible, theirs, 0), rtol=1e-12, atol=1e-12)


@settings(max_examples=40)
@given(cases(masks=("none", "causal", "additive")))
def test_gradients_equal_torchs(case: Case) -> None:
    tensors = [case.query, case.key, case.value]
    tensors += [case.options["attn_mask"]] if "attn_mask" in case.options else []
    for tensor in tensors:
        tensor.requires_grad_()
    ours, theirs = case.regard(), case.torch()
    upstream = torch.randn_like(theirs)
    mine, wanted = (torch.autograd.grad(out, tensors, upstream) for out in (ours, theirs))
    for a, b in zip(mine, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@settings(max_examples=40)
@given(cases(), st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_low_precision_is_as_good_as_torchs(case: Case, dtype: torch.dtype) -> None:
    case.query, case.key, case.value = (t.to(dtype) for t in (case.query, case.key, case.value))
    mask = case.options.get("attn_mask")
    if mask is not None and mask.is_floating_point():
        case.options["attn_mask"] = mask.to(dtype)
    ours, theirs = case.regard(), case.torch()
    with sdpa_kernel([SDPBackend.MATH]):
        eager = case.torch()
    wide = {name: v.double() if isinstance(v, Tensor) and v.dtype == dtype else v for name, v in case.options.items()}
    exact = Case(case.query.double(), case.key.double(), case.value.double(), wide).torch()
    visible = seen(case, exact)
    assert ours.dtype == dtype
    ours, theirs, eager, exact = (torch.where(visible, t, 0) for t in (ours, theirs, eager, exact))
    low = exact.to(dtype)
    floor = 2 * (low + 0.3 - 0.3 - low).abs().max().item()
    allowed = 2 * max((t.double() - exact).abs().max().item() for t in (theirs, eager)) + floor
    assert (ours.double() - exact).abs().max().item() <= allowed


FEATURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "scale": ({"scale": 0.37}, {"scale": None}),
    "causal": ({"is_causal": True}, {"is_causal": False}),
    "boolean": ({"attn_mask": torch.arange(7 * 11).reshape(7, 11) % 3 > 0}, {"attn_mask": None}),
    "additive": ({"attn_mask": torch.linspace(-5, 5, 77, dtype=torch.float64).reshape(7, 11)}, {"attn_mask": None}),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_the_comparison_can_fail(feature: str) -> None:
    """Each option moves the result by far more than the tolerance of `test_equals_torch`."""
    query, key, value = normal(2, 3, 7, 5, scale=3), normal(2, 3, 11, 5), normal(2, 3, 11, 13)
    with_it, without = FEATURES[feature]
    case = Case(query, key, value, {})
    assert (case.regard(**with_it) - case.torch(**with_it)).abs().max() < 1e-12
    assert (case.regard(**with_it) - case.torch(**without)).abs().max() > 1e-2


def test_heads_are_grouped_in_runs() -> None:
    """Query head h uses key head h // group; h % kv_heads would be another result."""
    query, key, value = normal(6, 5, 7, scale=3), normal(2, 11, 7), normal(2, 11, 13)
    ours = rg.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    runs = [F.scaled_dot_product_attention(query[h], key[h // 3], value[h // 3]) for h in range(6)]
    turns = [F.scaled_dot_product_attention(query[h], key[h % 2], value[h % 2]) for h in range(6)]
    torch.testing.assert_close(ours, torch.stack(runs), rtol=1e-12, atol=1e-12)
    assert (ours - torch.stack(turns)).abs().max() > 1e-2


@pytest.mark.parametrize(("queries", "keys"), [(3, 5), (5, 3), (5, 5)])
def test_causal_starts_top_left(queries: int, keys: int) -> None:
    """With all scores equal and v_j = j, row i is the mean of 0 … min(i, keys − 1): i / 2, then (keys − 1) / 2."""
    query, key = torch.zeros(2, queries, 7), torch.randn(2, keys, 7)
    value = torch.arange(keys, dtype=torch.float32)[:, None].expand(2, keys, 1)
    out = rg.scaled_dot_product_attention(query, key, value, is_causal=True)
    expected = torch.tensor([min(row, keys - 1) / 2 for row in range(queries)])
    torch.testing.assert_close(out, expected[None, :, None].expand(2, queries, 1))
    bottom_right = rg.attend(query, key, value, rg.causal())
    assert (queries == keys) == torch.allclose(out, bottom_right)


def test_signature_is_torchs() -> None:
    text = " ".join((F.scaled_dot_product_attention.__doc__ or "").split())
    documented = re.match(r"scaled_dot_product_attention\((.*?)\) -> Tensor", text)
    assert documented, text
    wanted = inspect.signature(eval(f"lambda {documented[1]}: 0"))
    ours = inspect.signature(rg.scaled_dot_product_attention)
    assert [(p.name, p.default, p.kind) for p in ours.parameters.values()] == [
        (p.name, p.default, p.kind) for p in wanted.parameters.values()
    ]


def test_rows_that_see_nothing_are_zero() -> None:
    query, key, value = (normal(2, 3, n, 7).requires_grad_() for n in (5, 11, 11))
    shown = torch.rand(5, 11) > 0.3
    shown[2] = False
    hidden = torch.zeros(5, 11, dtype=torch.float64).masked_fill(~shown, -INF)
    for mask in (shown, hidden):
        out = rg.scaled_dot_product_attention(query, key, value, mask)
        assert (out[:, :, 2] == 0).all() and (out[:, :, [0, 1, 3, 4]] != 0).all()
        to_query, to_key, to_value = torch.autograd.grad(out.sum(), (query, key, value))
        assert (to_query[:, :, 2] == 0).all() and to_query[:, :, 0].abs().min() > 0
        assert to_key.isfinite().all() and to_value.isfinite().all()


def test_a_row_of_the_lowest_number_is_the_mean() -> None:
    query, key, value = (normal(3, n, 7, dtype=torch.float32, scale=3) for n in (5, 11, 11))
    mask = torch.zeros(5, 11)
    mask[2] = torch.finfo(torch.float32).min
    out = rg.scaled_dot_product_attention(query, key, value, mask)
    torch.testing.assert_close(out[:, 2], value.mean(1))
    assert (out[:, 1] - value.mean(1)).abs().max() > 0.1


def test_dropout_repeats_after_a_seed() -> None:
    query, key, value = normal(2, 3, 5, 7), normal(2, 3, 11, 7), normal(2, 3, 11, 13)
    torch.manual_seed(7)
    first = rg.scaled_dot_product_attention(query, key, value, dropout_p=0.5)
    second = rg.scaled_dot_product_attention(query, key, value, dropout_p=0.5)
    torch.manual_seed(7)
    assert torch.equal(first, rg.scaled_dot_product_attention(query, key, value, dropout_p=0.5))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_expectation(p: float) -> None:
    """Equal weights 1/997 of ones: a row is a mean of 997 numbers of mean 1 and variance p/(1 − p)."""
    query, key, value = torch.zeros(101, 7), torch.randn(997, 7), torch.ones(997, 1)
    out = rg.scaled_dot_product_attention(query, key, value, dropout_p=p)
    spread = math.sqrt(p / (1 - p) / 997)
    assert abs(out.mean().item() - 1) < 5 * spread / math.sqrt(101)
    assert 0.7 * spread < out.std().item() < 1.3 * spread


def test_dropout_of_everything_is_zero() -> None:
    query, key, value = (normal(2, 3, 5, 7).requires_grad_() for _ in range(3))
    for mask in (None, torch.ones(5, 5, dtype=torch.bool), torch.zeros(2, 1, 5, 5, dtype=torch.float64)):
        out = rg.scaled_dot_product_attention(query, key, value, mask, dropout_p=1.0)
        assert (out == F.scaled_dot_product_attention(query, key, value, mask, dropout_p=1.0)).all()
        assert all((grad == 0).all() for grad in torch.autograd.grad(out.sum(), (query, key, value)))


@pytest.mark.parametrize(("queries", "keys", "batch"), [(0, 11, 3), (5, 0, 3), (0, 0, 3), (5, 11, 0)])
def test_nothing_to_do(queries: int, keys: int, batch: int) -> None:
    for lead in ((batch, 2), (2, batch, 1, 2)):
        query, key, value = torch.randn(*lead, queries, 7), torch.randn(*lead, keys, 7), torch.randn(*lead, keys, 13)
        out = rg.scaled_dot_product_attention(query, key, value, is_causal=True)
        assert out.shape == (*lead, queries, 13) and (out == 0).all()


def test_vmap_over_masks() -> None:
    query, key, value = normal(5, 3, 7, 2, scale=3), normal(3, 11, 2), normal(3, 11, 13)
    for masks in (torch.rand(5, 7, 11) > 0.4, normal(5, 7, 11)):
        masks[..., 0] = masks.dtype == torch.bool
        ours = torch.vmap(lambda q, m: rg.scaled_dot_product_attention(q, key, value, m))(query, masks)
        theirs = F.scaled_dot_product_attention(query, key, value, masks[:, None])
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


Q, K, V = torch.zeros(3, 5, 7), torch.zeros(3, 11, 7), torch.zeros(3, 11, 13)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((Q, K, V, torch.zeros(5, 11), 0.0, True), ["attn_mask and is_causal exclude each other", "into the mask"]),
        ((Q, K, V, torch.zeros(5, 12)), ["attn_mask must broadcast to [3, 5, 11]", "got [5, 12]"]),
        ((Q, K, V, torch.ones(6, 11, dtype=torch.bool)), ["must broadcast to [3, 5, 11]", "got [6, 11]"]),
        ((Q, K, V, torch.zeros(2, 3, 5, 11)), ["must broadcast to [3, 5, 11]", "got [2, 3, 5, 11]"]),
        ((Q, K, V, torch.ones(5, 11, dtype=torch.int64)), ["boolean", "floating-point", "got torch.int64"]),
        ((Q, K, V, [[True]]), ["attn_mask must be a boolean tensor", "got list"]),
        ((Q[0, 0], K, V), ["query needs at least 2 axes", "[7]"]),
        ((Q[0], K, V, None, 0.0, False, None, True), ["query needs at least 3 axes", "[5, 7]"]),
        ((Q, K[:2], V[:2]), ["must broadcast", "[3], [2], [2]", "enable_gqa=True"]),
        ((Q, K[:2], V[:2], None, 0.0, False, None, True), ["multiple of key heads", "3 and 2"]),
        ((Q, K, V, None, 1.5), ["probability", "got 1.5"]),
        ((Q, K.double(), V), ["key is torch.float64, query torch.float32", "one dtype"]),
    ],
)
def test_bad_input(arguments: tuple[Any, ...], says: list[str]) -> None:
    with pytest.raises(rg.InputError) as caught:
        rg.scaled_dot_product_attention(*arguments)
    assert all(part in str(caught.value) for part in says), caught.value
