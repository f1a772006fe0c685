"""MultiHead equals PyTorch's layer with the same weights, for each of its options; and what it can besides."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard as rg

BATCH, QUERIES, KEYS, HEADS, DIM = 2, 13, 17, 3, 21
TOLERANCE = 1e-5

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"bias": False},
    "kdim": {"kdim": 11},
    "vdim": {"vdim": 7},
    "kdim and vdim": {"kdim": 11, "vdim": 7},
    "add_bias_kv": {"add_bias_kv": True},
    "add_zero_attn": {"add_zero_attn": True},
    "all": {"kdim": 11, "vdim": 7, "add_bias_kv": True, "add_zero_attn": True, "bias": False},
}
REAL = torch.tensor([11, 17])
SEEN = torch.rand(QUERIES, KEYS, generator=torch.Generator().manual_seed(3)) > 0.4
ADDED = torch.randn(QUERIES, KEYS, generator=torch.Generator().manual_seed(4))
PADDED = torch.arange(KEYS) >= REAL[:, None]
CAUSAL = ~torch.ones(QUERIES, KEYS, dtype=torch.bool).tril()
MASKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "none": ({}, {}),
    "padding": ({"key_padding_mask": PADDED}, {"pattern": rg.padding(REAL)}),
    "attn_mask": ({"attn_mask": ~SEEN}, {"pattern": rg.mask(SEEN)}),
    "causal": ({"attn_mask": CAUSAL}, {"pattern": rg.causal()}),
    "float mask": ({"attn_mask": ADDED}, {"bias": rg.bias.tensor(ADDED)}),
    "both": (
        {"attn_mask": ~SEEN, "key_padding_mask": PADDED},
        {"pattern": rg.mask(SEEN) & rg.padding(~PADDED)},
    ),
    "per head": (
        {"attn_mask": ~SEEN.expand(BATCH * HEADS, -1, -1).clone().tril_(5)},
        {"pattern": rg.mask(SEEN.expand(BATCH, HEADS, -1, -1).clone().tril_(5))},
    ),
}


def theirs(**options: Any) -> nn.MultiheadAttention:
    """PyTorch's layer, its weights large enough for scores with a spread of about 3, its biases not zero."""
    layer = nn.MultiheadAttention(DIM, HEADS, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.45 * torch.randn(parameter.shape))
        layer.out_proj.weight.mul_(0.1)
    return layer


def inputs(layer: nn.MultiheadAttention) -> tuple[Tensor, Tensor, Tensor]:
    """Batch first."""
    return torch.randn(BATCH, QUERIES, DIM), torch.randn(BATCH, KEYS, layer.kdim), torch.randn(BATCH, KEYS, layer.vdim)


def close(ours: Tensor, others: Tensor) -> None:
    assert (ours - others).abs().max() <= TOLERANCE


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("name", OPTIONS)
def test_equal_to_pytorch(name: str, masks: str) -> None:
    layer = theirs(batch_first=True, **OPTIONS[name])
    given, (said, ours) = inputs(layer), MASKS[masks]
    wanted, _ = layer(*given, need_weights=False, **said)
    made = rg.nn.MultiHead.from_torch(layer)
    # PyTorch counts causal from the first key, whatever the lengths.
    close(made(*given, **ours, query_start=0), wanted)
    back = made.to_torch()
    close(back(*given, need_weights=False, **said)[0], wanted)
    assert list(back.state_dict()) == list(layer.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(back.state_dict().values(), layer.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "plain"])
def test_every_option_matters(name: str) -> None:
    """Without it the result moves by far more than the tolerance, so the test above can fail."""
    layer = theirs(batch_first=True, **OPTIONS[name])
    given = inputs(layer)
    made = rg.nn.MultiHead.from_torch(layer)
    wanted = layer(*given, need_weights=False)[0]
    if "kdim" in OPTIONS[name] or "vdim" in OPTIONS[name]:
        given = given[0], 2 * given[1], 2 * given[2]
        assert (made(*given) - wanted).abs().max() > 100 * TOLERANCE
        return
    with torch.no_grad():
        if name == "no bias":
            made.query.bias = nn.Parameter(torch.ones(DIM))
        if name == "add_bias_kv":
            made.extra_key, made.extra_value = None, None
        if name == "add_zero_attn":
            made.rule = rg.nn.Held(rg.Rule())
    assert (made(*given) - wanted).abs().max() > 100 * TOLERANCE


def test_batch_first_or_not() -> None:
    layer = theirs(batch_first=False)
    query, key, value = inputs(layer)
    wanted = layer(query.mT.permute(2, 0, 1), key.permute(1, 0, 2), value.permute(1, 0, 2))[0].transpose(0, 1)
    made = rg.nn.MultiHead.from_torch(layer)
    close(made(query, key, value), wanted)
    last = made.to_torch(batch_first=False)
    close(last(*(t.transpose(0, 1) for t in (query, key, value)))[0].transpose(0, 1), wanted)
    assert last.batch_first is False and made.to_torch().batch_first is True


def test_the_hint_is_causal() -> None:
    """PyTorch leaves the mask out then, which hides the keys of `add_bias_kv` and `add_zero_attn` too."""
    layer = theirs(batch_first=True)
    given = inputs(layer)
    wanted, _ = layer(*given, need_weights=False, attn_mask=CAUSAL, is_causal=True)
    close(rg.nn.MultiHead.from_torch(layer)(*given, pattern=rg.causal(), query_start=0), wanted)


def test_without_a_batch() -> None:
    layer = theirs(batch_first=True)
    query, key, value = (t[0] for t in inputs(layer))
    close(rg.nn.MultiHead.from_torch(layer)(query, key, value), layer(query, key, value)[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_dropout_and_mode_are_taken_over(dtype: torch.dtype) -> None:
    layer = theirs(batch_first=True, dropout=0.25).to(dtype).eval()
    made = rg.nn.MultiHead.from_torch(layer)
    assert made.out.weight.dtype == dtype and made.dropout == 0.25 and not made.training
    assert made.train().to_torch().dropout == 0.25 and made.to_torch().training


def test_gradients_equal_pytorchs() -> None:
    layer = theirs(batch_first=True, add_bias_kv=True, add_zero_attn=True)
    made, given = rg.nn.MultiHead.from_torch(layer), inputs(layer)
    upstream = torch.randn(BATCH, QUERIES, DIM)
    layer(*given, need_weights=False)[0].backward(upstream)
    made(*given).backward(upstream)
    packed = torch.cat([made.query.weight.grad, made.key.weight.grad, made.value.weight.grad])
    for ours, others in (
        (packed, layer.in_proj_weight.grad),
        (made.out.weight.grad, layer.out_proj.weight.grad),
        (made.extra_key.grad, layer.bias_k.grad.view(HEADS, 1, -1)),
        (made.extra_value.grad, layer.bias_v.grad.view(HEADS, 1, -1)),
    ):
        torch.testing.assert_close(ours, others, rtol=1e-4, atol=1e-4)


NO_PLACE = {
    "as many key heads": {"kv_heads": 1},
    "dim / heads components": {"head_dim": 5},
    "no rotary": {"rotary": rg.rotary(4)},
    "on all projections or on none": {"bias": (True, False)},
    "no pattern": {"rule": rg.causal()},
    "no bias of its own": {"rule": rg.alibi()},
    "softmax( dot/√d ) alone": {"rule": rg.dot(1.0)},
    "dot/√d ) alone": {"rule": rg.sigmoid()},
    "no sink but that of 0": {"rule": rg.softmax(sink=1.0)},
}


@pytest.mark.parametrize("reason", NO_PLACE)
def test_what_pytorchs_layer_has_no_place_for(reason: str) -> None:
    with pytest.raises(rg.InputError, match=r"torch\.nn\.MultiheadAttention has ") as caught:
        rg.nn.MultiHead(DIM, HEADS, **NO_PLACE[reason]).to_torch()
    assert reason in str(caught.value)


def test_two_extra_keys_have_no_place_in_pytorchs_layer() -> None:
    made = rg.nn.MultiHead(DIM, HEADS)
    made.learn_extra(2)
    with pytest.raises(rg.InputError, match="one extra key"):
        made.to_torch()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: rg.nn.MultiHead(20, 3), "dim must be a multiple of heads, or say head_dim"),
        (lambda: rg.nn.MultiHead(21, 0), "(heads) needs a whole number ≥ 1, got 0"),
        (lambda: rg.nn.MultiHead(21.0, 3), "(dim) needs a whole number"),  # type: ignore[arg-type]
        (lambda: rg.nn.MultiHead(21, 3, kv_heads=2), "multiple of kv_heads, got 3 and 2"),
        (lambda: rg.nn.MultiHead(21, 3, head_dim=(7, 0)), "(head_dim) needs a whole number ≥ 1, got 0"),
        (lambda: rg.nn.MultiHead(21, 3, source_dim=(7, 5, 3)), "(source_dim) needs a whole number"),  # type: ignore[arg-type]
        (lambda: rg.nn.MultiHead(21, 3, rotary=rg.rotary(8)), "dim ≤ head_dim = 7, got rotary(8)"),
        (lambda: rg.nn.MultiHead(21, 3, rule=rg.alibi(2)), "2"),
        (lambda: rg.nn.MultiHead(21, 3, rule=rg.softmax(torch.ones(2))), "2 query heads, but there are 3"),
        (lambda: rg.nn.MultiHead(21, 3, dropout=1.0), "[0, 1)"),
        (lambda: rg.nn.MultiHead.from_torch(nn.Linear(2, 3)), "needs a torch.nn.MultiheadAttention, got Linear"),
    ],
)
def test_bad_sizes(make: Any, says: str) -> None:
    with pytest.raises(rg.InputError) as caught:
        make()
    assert says in str(caught.value), caught.value


# ------------------------------------------------------------------------------------- beyond PyTorch's layer


def test_the_example_of_the_design() -> None:
    rule = rg.Rule(pattern=rg.causal() & rg.window(5), bias=rg.alibi())
    layer = rg.nn.MultiHead(96, heads=6, kv_heads=3, rule=rule, rotary=rg.rotary(14))
    x = torch.randn(2, 13, 96)
    query, key, value = (
        part(x).unflatten(-1, (heads, 16)).transpose(1, 2)
        for part, heads in ((layer.query, 6), (layer.key, 3), (layer.value, 3))
    )
    turn = rg.rotary(14)
    wanted = rg.attend(turn(query), turn(key), value, rule).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer(x), layer.out(wanted))


def test_positions_reach_rotary_and_rule() -> None:
    layer = rg.nn.MultiHead(21, 3, rule=rg.alibi(), rotary=rg.rotary(6)).double()
    x = torch.randn(2, 13, 21, dtype=torch.float64)
    whole = layer(x)
    torch.testing.assert_close(layer(x[:, 9:], x), whole[:, 9:])  # the queries are the last ones
    torch.testing.assert_close(layer(x[:, 4:9], x, query_start=4), whole[:, 4:9])
    moved = torch.tensor([100, 1000])
    torch.testing.assert_close(layer(x[:, 4:9], x, query_start=moved + 4, key_start=moved), whole[:, 4:9])
    assert (layer(x[:, 4:9], x) - whole[:, 4:9]).abs().max() > 1e-3


def test_patterns_and_biases_of_a_call_join_those_of_the_rule() -> None:
    x, lengths, bias = torch.randn(2, 13, 21), torch.tensor([7, 11]), rg.bias.keys(torch.randn(13))
    layer = rg.nn.MultiHead(21, 3, rule=rg.Rule(pattern=rg.causal(), bias=rg.alibi()))
    whole = rg.nn.MultiHead(21, 3, rule=rg.Rule(pattern=rg.causal() & rg.padding(lengths), bias=rg.alibi() + bias))
    for name in ("query", "key", "value", "out"):
        getattr(whole, name).load_state_dict(getattr(layer, name).state_dict())
    torch.testing.assert_close(layer(x, pattern=rg.padding(lengths), bias=bias), whole(x))


def test_extra_keys_are_seen_by_every_query() -> None:
    """As keys and values appended to the source, which the pattern lets everyone see and no bias moves."""
    rule = rg.Rule(pattern=rg.causal(), bias=rg.alibi(), normalize=rg.softmax(sink=torch.randn(3)))
    layer = rg.nn.MultiHead(21, 3, rule=rule)
    layer.learn_extra(2)
    x = torch.randn(2, 13, 21)
    query, key, value = (p(x).unflatten(-1, (3, 7)).transpose(1, 2) for p in (layer.query, layer.key, layer.value))
    key, value = (
        torch.cat((old, new.expand(2, -1, -1, -1)), 2)
        for old, new in ((key, layer.extra_key), (value, layer.extra_value))
    )
    shown = torch.ones(13, 15, dtype=torch.bool).tril() | (torch.arange(15) >= 13)
    slopes = torch.tensor(2.0) ** (-8 * torch.tensor([2.0, 4.0, 1.0]) / 4)
    assert slopes.tolist() == [0.0625, 0.00390625, 0.25]
    distance = (torch.arange(13)[:, None] - torch.arange(15)).abs() * (torch.arange(15) < 13)
    bias = rg.bias.tensor(-slopes[:, None, None] * distance)
    wanted = rg.attend(
        query, key, value, rg.Rule(pattern=rg.mask(shown), bias=bias, normalize=rule.normalize), query_start=0
    )
    torch.testing.assert_close(layer(x), layer.out(wanted.transpose(1, 2).flatten(2)))


def test_extra_keys_need_a_normalizer_whose_parts_merge() -> None:
    layer = rg.nn.MultiHead(21, 3, rule=rg.sparsemax())
    layer.learn_extra()
    with pytest.raises(rg.InputError, match="sparsemax finds one threshold"):
        layer(torch.randn(2, 5, 21))


def test_dropout_in_training_alone() -> None:
    layer = rg.nn.MultiHead(21, 3, dropout=0.5)
    x = torch.randn(2, 13, 21)
    assert (layer(x) - layer(x)).abs().max() > 1e-3
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_a_learned_table_is_a_parameter() -> None:
    layer = rg.nn.MultiHead(21, 3, rule=rg.relative(nn.Parameter(torch.zeros(3, 9))))
    assert "rule.bias.table" in dict(layer.named_parameters())
    layer(torch.randn(2, 13, 21)).square().sum().backward()
    assert layer.rule.bias.table.grad.abs().max() > 1e-4
    assert "relative(<3×9>)" in repr(layer)
