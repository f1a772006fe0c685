"""MultiHead from `torch.nn.MultiheadAttention`, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from regard.errors import InputError
from regard.rule import Rule
from regard.terms.normalize import Softmax, softmax
from regard.terms.score import Dot

if TYPE_CHECKING:
    from regard.nn.multihead import MultiHead

__all__ = ["from_torch", "to_torch"]

Made = TypeVar("Made", bound="MultiHead")


def from_torch(kind: type[Made], layer: nn.MultiheadAttention) -> Made:
    """`MultiHead.from_torch`."""
    if not isinstance(layer, nn.MultiheadAttention):
        raise InputError(f"from_torch needs a torch.nn.MultiheadAttention, got {type(layer).__name__}")
    made = kind(
        layer.embed_dim,
        layer.num_heads,
        source_dim=(layer.kdim, layer.vdim),
        rule=softmax(sink=0.0) if layer.add_zero_attn else None,
        dropout=layer.dropout,
        bias=layer.in_proj_bias is not None,
    )
    made.to(layer.out_proj.weight).train(layer.training)
    if layer.bias_k is not None:
        made.learn_extra(1)
    with torch.no_grad():
        for ours, theirs in _counterparts(made, layer):
            ours.copy_(theirs.view_as(ours))
    return made


def to_torch(made: MultiHead, batch_first: bool) -> nn.MultiheadAttention:
    """`MultiHead.to_torch`."""
    reason = _unlike(made, made.rule())
    if reason is not None:
        raise InputError(f"torch.nn.MultiheadAttention has {reason}; this layer is {made.extra_repr()}, {made.rule()}")
    weight = made.out.weight
    layer = nn.MultiheadAttention(
        made.dim,
        made.heads,
        dropout=made.dropout,
        bias=made.out.bias is not None,
        add_bias_kv=made.extra_key is not None,
        add_zero_attn=made.rule().normalize.sink is not None,
        kdim=made.key_source,
        vdim=made.value_source,
        batch_first=batch_first,
        device=weight.device,
        dtype=weight.dtype,
    )
    with torch.no_grad():
        for ours, theirs in _counterparts(made, layer):
            theirs.copy_(ours.view_as(theirs))
    return layer.train(made.training)


def _counterparts(made: MultiHead, layer: nn.MultiheadAttention) -> list[tuple[Tensor, Any]]:
    """Each tensor of ours beside PyTorch's, the latter as views that can be written."""
    inside = (made.query, made.key, made.value)
    packed = layer.in_proj_weight
    weights = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight) if packed is None else packed.chunk(3)
    pairs: list[tuple[Tensor, Any]] = [(ours.weight, theirs) for ours, theirs in zip(inside, weights, strict=True)]
    pairs.append((made.out.weight, layer.out_proj.weight))
    if layer.in_proj_bias is not None:
        pairs += [(ours.bias, theirs) for ours, theirs in zip(inside, layer.in_proj_bias.chunk(3), strict=True)]
        pairs.append((made.out.bias, layer.out_proj.bias))
    if layer.bias_k is not None and made.extra_key is not None and made.extra_value is not None:
        pairs += [(made.extra_key, layer.bias_k), (made.extra_value, layer.bias_v)]
    return pairs


def _unlike(made: MultiHead, rule: Rule) -> str | None:
    """What PyTorch's layer has instead of what this one does; None where they agree."""
    plain = isinstance(rule.score, Dot) and rule.score.scale is None
    sink = rule.normalize.sink if isinstance(rule.normalize, Softmax) else None
    extra = made.extra_key
    asked = (
        (made.kv_heads != made.heads, "as many key heads as query heads"),
        (made.heads * made.head_dim != made.dim or made.value_dim != made.head_dim, "heads of dim / heads components"),
        (made.rotary is not None, "no rotary positions"),
        ((made.query.bias is None) != (made.out.bias is None), "a bias on all projections or on none"),
        (rule.positional, "no pattern and no bias of its own: they are said in its call"),
        (not plain or not isinstance(rule.normalize, Softmax), "softmax( dot/√d ) alone"),
        (isinstance(sink, Tensor) or sink not in (None, 0.0), "no sink but that of 0 (add_zero_attn)"),
        (extra is not None and extra.shape[-2] != 1, "one extra key (add_bias_kv)"),
    )
    return next((has for differs, has in asked if differs), None)
