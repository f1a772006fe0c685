"""Drop-ins: PyTorch's signature, and packed rows by cumulative lengths."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from regard.attention import attend
from regard.errors import InputError
from regard.problem.door import admit
from regard.rule import Rule, as_rule
from regard.terms import bias as biases
from regard.terms.later import later
from regard.terms.pattern import Pattern, causal, everything, mask, packed, prefix
from regard.terms.score import dot
from regard.terms.tree import Term

__all__ = ["scaled_dot_product_attention", "varlen"]


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`torch.nn.functional.scaled_dot_product_attention`, same signature, same meaning, by regard's engines.

    `softmax(scale · q kᵀ + mask) v`

    Args:
        query: `[..., heads, queries, dim]`.
        key: `[..., heads or kv_heads, keys, dim]`.
        value: `[..., heads or kv_heads, keys, value_dim]`.
        attn_mask: boolean (True may attend) or additive, broadcast to `[..., heads, queries, keys]`.
        dropout_p: probability with which a weight is dropped, always applied, as in PyTorch.
        is_causal: the first query stands at the first key (top-left), as in PyTorch; not together with `attn_mask`.
        scale: None is 1/√dim.
        enable_gqa: key heads may be fewer than query heads, and divide them.

    Returns: `[..., heads, queries, value_dim]`; a row that may attend to nothing is 0.

    Errors: InputError.
    """
    if is_causal and attn_mask is not None:
        raise InputError("attn_mask and is_causal exclude each other; put the causal part into the mask")
    query, key, value = _broadcast(query, key, value, enable_gqa)
    _check_mask(attn_mask, (*query.shape[:-1], key.shape[-2]))
    lead = query.shape[:-3]
    if query.ndim > 5:
        query, key, value = (t.flatten(0, -4) for t in (query, key, value))
        if attn_mask is not None and attn_mask.ndim > 3:
            attn_mask = attn_mask.expand(*lead, *attn_mask.shape[-3:]).flatten(0, -4)
    rule = Rule(dot(scale), _pattern(attn_mask, is_causal), _bias(attn_mask))
    if dropout_p == 1:  # every weight is dropped: as if there were nothing to see
        rule, dropout_p = Rule(pattern=prefix(0)), 0.0
    out = attend(query, key, value, rule, query_start=0, dropout=dropout_p)
    return out.unflatten(0, lead) if len(lead) > 2 else out


def varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_offsets: Tensor | list[int],
    key_offsets: Tensor | list[int] | None = None,
    rule: Rule | Term | None = None,
    *,
    dropout: float = 0.0,
    seed: int | None = None,
    engine: str | None = None,
) -> Tensor:
    """Attention inside each of many sequences that are packed into one, without padding.

    Sequence n has queries `query_offsets[n] … query_offsets[n + 1]` and keys `key_offsets[n] … key_offsets[n + 1]`; the
    rule's pattern holds inside each, its last query standing at its last key.

    A nested tensor of layout `torch.jagged`, `[batch, ragged, heads, dim]`, is such a packing:
    `out = varlen(q.values().transpose(0, 1), …, q.offsets(), k.offsets())`, and
    `torch.nested.nested_tensor_from_jagged(out.transpose(0, 1), q.offsets())` is its result.

    Args:
        query: `[..., heads, all queries, dim]`.
        key: `[..., kv_heads, all keys, dim]`.
        value: `[..., kv_heads, all keys, value_dim]`.
        query_offsets: cumulative lengths, sequences + 1 integers from 0 to all queries.
        key_offsets: likewise for the keys; None where they are those of the queries.
        rule: as in `attend`.
        dropout: as in `attend`.
        seed: as in `attend`.
        engine: as in `attend`.

    Returns: `[..., heads, all queries, value_dim]`.

    Errors: InputError for offsets that don't start at 0, fall, or don't end at the last row, and for a bias by
    distance where query and key offsets differ.
    """
    said = as_rule(rule)
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if admit(name, tensor).ndim < 2:
            raise InputError(f"{name} must be [..., heads, positions, dim] with 2 to 5 axes, got {list(tensor.shape)}")
    inside = said.pattern if said.pattern is not None else everything()
    bias = None if said.bias is None else repr(said.bias)
    pattern = _sequences(query_offsets, key_offsets, query.shape[-2], key.shape[-2], inside, bias)
    whole = Rule(said.score, pattern, said.bias, said.normalize)
    return attend(query, key, value, whole, query_start=0, dropout=dropout, seed=seed, engine=engine)


@later(Pattern)
def _sequences(
    query_offsets: Tensor | list[int],
    key_offsets: Tensor | list[int] | None,
    queries: int,
    keys: int,
    inside: Pattern,
    bias: str | None,
) -> Pattern:
    """`inside` within each sequence; `bias` is how the rule's bias prints."""
    rows = _lengths("query_offsets", query_offsets, queries)
    columns = rows if key_offsets is None else _lengths("key_offsets", key_offsets, keys)
    if key_offsets is None and keys != queries:
        raise InputError(f"{queries} queries and {keys} keys need key_offsets of their own")
    if len(rows) != len(columns):
        raise InputError(f"query_offsets tell of {len(rows)} sequences, key_offsets of {len(columns)}")
    if rows != columns and bias is not None:
        raise InputError(f"{bias} counts positions across the packing, which differ for queries and keys")
    return packed(rows, columns, inside)


def _broadcast(query: Tensor, key: Tensor, value: Tensor, grouped: bool) -> tuple[Tensor, Tensor, Tensor]:
    """PyTorch broadcasts heads like any other leading dimension, unless they are grouped."""
    last = 3 if grouped else 2
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if admit(name, tensor).ndim < last:
            raise InputError(f"{name} needs at least {last} axes, got {list(tensor.shape)}")
    shapes = [t.shape[:-last] for t in (query, key, value)]
    try:
        lead = torch.broadcast_shapes(*shapes)
    except RuntimeError:
        said = ", ".join(str(list(shape)) for shape in shapes)
        hint = "" if grouped else "; enable_gqa=True lets key heads be fewer"
        raise InputError(f"leading dimensions of query, key and value must broadcast, got {said}{hint}") from None
    query, key, value = (t.expand(*lead, *t.shape[-last:]) for t in (query, key, value))
    return query, key, value


def _check_mask(attn_mask: Tensor | None, shape: tuple[int, ...]) -> None:
    """Elsewhere a mask may reach further than the keys at hand; in PyTorch it broadcasts, or it is an error."""
    if attn_mask is None:
        return
    if not isinstance(attn_mask, Tensor) or not (attn_mask.dtype == torch.bool or attn_mask.is_floating_point()):
        got = attn_mask.dtype if isinstance(attn_mask, Tensor) else type(attn_mask).__name__
        raise InputError(f"attn_mask must be a boolean tensor (True may attend) or a floating-point one, got {got}")
    ends = zip(reversed(attn_mask.shape), reversed((*(1,) * attn_mask.ndim, *shape)), strict=False)
    if any(size not in (1, whole) for size, whole in ends):
        raise InputError(f"attn_mask must broadcast to {list(shape)}, got {list(attn_mask.shape)}")


def _pattern(attn_mask: Tensor | None, is_causal: bool) -> Pattern | None:
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        return mask(attn_mask)
    return causal() if is_causal else None


def _bias(attn_mask: Tensor | None) -> biases.Bias | None:
    if attn_mask is None or attn_mask.dtype == torch.bool:
        return None
    return biases.tensor(attn_mask)


def _lengths(name: str, offsets: Tensor | list[int], total: int) -> list[int]:
    try:
        found = torch.as_tensor(offsets)
    except (RuntimeError, TypeError, ValueError):
        raise InputError(f"{name} must be cumulative lengths, integers, got {type(offsets).__name__}") from None
    whole = not (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool) or not found.numel()
    if found.ndim != 1 or not whole or found.is_meta:
        got = f"{found.dtype} of shape {list(found.shape)}" + " on the meta device" * found.is_meta
        raise InputError(f"{name} must be cumulative lengths, integers in one axis, got {got}")
    marks = [int(mark) for mark in found.tolist()]
    lengths = [high - low for low, high in pairwise(marks)]
    if not marks or marks[0] != 0 or marks[-1] != total or min(lengths, default=0) < 0:
        raise InputError(f"{name} must rise from 0 to {total}, got {marks if len(marks) < 9 else [*marks[:8], '…']}")
    return lengths
