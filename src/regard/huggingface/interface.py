"""The attention that transformers calls: what a model hands over becomes a rule, and regard computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from regard.attention import attend, partial, weights
from regard.errors import InputError
from regard.huggingface.library import capturing
from regard.huggingface.masks import Mask
from regard.rule import Rule
from regard.terms import bias as biases
from regard.terms.normalize import softmax
from regard.terms.pattern import Pattern, causal, documents, window
from regard.terms.pattern import mask as given
from regard.terms.score import Score, dot, softcap

__all__ = ["Call", "attention", "changing", "scaling", "watching"]

UNDERSTOOD = (
    *("dropout", "scaling", "is_causal", "sliding_window", "softcap", "s_aux", "position_bias"),
    *("output_attentions", "cu_seq_lens_q", "cu_seq_lens_k"),
)

HARMLESS = (
    # Already in the mask, in the queries and keys, or in the lengths.
    *("position_ids", "cache_position", "position_embeddings", "max_length_q", "max_length_k", "seq_idx"),
    *("cu_seqlens", "token_type_ids", "mm_token_type_ids"),
    # About other parts of a model.
    *("output_hidden_states", "output_router_logits", "num_items_in_batch", "use_cache", "return_dict"),
    *("return_loss", "labels", "logits_to_keep", "deterministic", "interpolate_pos_encoding", "hidden_states"),
)

REFUSED = {
    "head_mask": "it scales whole heads after the softmax, which is no term of the equation",
    "layer_head_mask": "it scales whole heads after the softmax, which is no term of the equation",
    "cache": "paged caches are out of regard's scope: use a dynamic, sliding or static cache",
    "block_table": "paged caches are out of regard's scope: use a dynamic, sliding or static cache",
    "indices": "keys chosen by a model's own indexer reach regard only inside a mask",
    "block_indices": "keys chosen by a model's own indexer reach regard only inside a mask",
    "sinks": "sink logits that differ by query are no term of the equation",
}


class Call(NamedTuple):
    """What one attention layer asks for: tensors `[batch, heads, tokens, dim]`, the rule, and where they stand.

    lse: of every row over real keys, `[batch, heads, queries]`; known to watchers, who are told of what is computed.
    """

    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    rule: Rule
    query_start: int
    key_start: int
    dropout: float
    lse: Tensor | None = None


_watcher: ContextVar[Callable[[Call], None] | None] = ContextVar("watcher", default=None)


@contextmanager
def watching(watcher: Callable[[Call], None]) -> Iterator[None]:
    """While this is open, `watcher` is told of every call in this thread, when it is computed; after outer ones."""
    outer = _watcher.get()

    def told(call: Call) -> None:
        if outer is not None:
            outer(call)
        watcher(call)

    before = _watcher.set(told)
    try:
        yield
    finally:
        _watcher.reset(before)


Scale = Callable[[Call], Tensor | None]
_scaler: ContextVar[Scale | None] = ContextVar("scaler", default=None)


@contextmanager
def scaling(scaler: Scale) -> Iterator[None]:
    """While this is open, what each head gives is multiplied by `scaler(call)`, `[heads]` or `[batch, heads]`.

    None is 1. In this thread; an outer one multiplies, too.
    """
    outer = _scaler.get()

    def both(call: Call) -> Tensor | None:
        factors = [factor for one in (outer, scaler) if one is not None and (factor := one(call)) is not None]
        return None if not factors else factors[0] if len(factors) == 1 else factors[0] * factors[1]

    before = _scaler.set(both)
    try:
        yield
    finally:
        _scaler.reset(before)


_change: ContextVar[Callable[[Call], Rule] | None] = ContextVar("change", default=None)


@contextmanager
def changing(change: Callable[[Call], Rule]) -> Iterator[None]:
    """While this is open, every call in this thread is computed by the rule that `change` gives for it: what if …"""
    before = _change.set(change)
    try:
        yield
    finally:
        _change.reset(before)


class Terms(NamedTuple):
    """What the mask says: which pairs, what is added to their scores, and where the queries and keys stand."""

    pattern: Pattern | None
    bias: biases.Bias | None
    query_start: int
    key_start: int


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """One layer's attention, as transformers' `AttentionInterface` asks for it.

    Args:
        module: the attention layer; its `training` and `is_causal` are read.
        query: `[batch, heads, queries, dim]`.
        key: `[batch, kv_heads, keys, dim]`, not repeated.
        value: `[batch, kv_heads, keys, value_dim]`.
        attention_mask: a `Mask`; or a user's own, `[batch or 1, heads or 1, queries or 1, keys]`: bool (True attends)
            or floating (added), which is then all that hides a key, as in eager attention; or None.
        options: `dropout` (in training only), `scaling` (None is 1/√dim), `softcap`, `s_aux` (sink logits `[heads]`),
            `position_bias` (added, broadcasts to `[batch, heads, queries, keys]`), `output_attentions`,
            `cu_seq_lens_q` (cumulative lengths of packed documents); `is_causal` and `sliding_window` count where
            there is no mask. Any other option that may change the result raises.

    Returns:
        The output `[batch, queries, heads, value_dim]`, contiguous; and None, or where the caller collects them the
        weights `[batch, heads, queries, keys]` (without dropout; a sink's share is missing from them).
    """
    call = _asked(module, query, key, value, attention_mask, options)
    change, watcher = _change.get(), _watcher.get()
    if change is not None:
        call = call._replace(rule=change(call))
    start, first = call.query_start, call.key_start
    if watcher is None:
        out = attend(query, key, value, call.rule, query_start=start, key_start=first, dropout=call.dropout)
    else:  # the parts of a result hold lse; the other way is a call made ready, which leaves no more than the output
        part = partial(query, key, value, call.rule, query_start=start, key_start=first, dropout=call.dropout)
        watcher(call._replace(lse=part.lse.detach()))
        out = part.out
    scaler = _scaler.get()
    factor = None if scaler is None else scaler(call)
    if factor is not None:
        out = out * factor[..., None, None].to(out.dtype)
    out = out.transpose(1, 2).contiguous()
    if not (options.get("output_attentions") or capturing()):
        return out, None
    return out, weights(query, key, call.rule, query_start=start, key_start=first).to(query.dtype)


def _asked(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: Mapping[str, Any]
) -> Call:
    _refuse_others(options)
    terms = _terms(module, query, key, mask, options)
    sink = options.get("s_aux")
    normalize = softmax(None if sink is None else sink.reshape(-1))
    rule = Rule(_score(options), terms.pattern, terms.bias, normalize)
    dropout = float(options.get("dropout") or 0.0) if module.training else 0.0
    return Call(module, query, key, value, rule, terms.query_start, terms.key_start, dropout)


def _refuse_others(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if value is None or value is False or name in UNDERSTOOD or name in HARMLESS:
            continue
        reason = REFUSED.get(name, "regard does not know whether it changes the result")
        raise InputError(
            f"the model hands {name}={type(value).__name__} to its attention, and {reason}; "
            'leave it out, or use model.set_attn_implementation("eager")'
        )


def _score(options: Mapping[str, Any]) -> Score:
    score = dot(options.get("scaling"))
    cap = options.get("softcap")
    return score if cap is None else softcap(score, cap)


def _terms(module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, options: Mapping[str, Any]) -> Terms:
    queries, keys = query.shape[-2], key.shape[-2]
    if isinstance(mask, Mask):
        if tuple(mask.shape[-2:]) != (queries, keys):
            raise InputError(
                f"the mask is for {mask.shape[-2]} queries and {mask.shape[-1]} keys, and the layer has {queries} and "
                f"{keys}; make one with the cache that the layer uses"
            )
        terms = Terms(mask.pattern, None, mask.grid.query_start, mask.grid.key_start)
    elif mask is not None:
        terms = _own(mask)
    else:
        terms = _unmasked(module, queries, keys, options)
    position_bias = options.get("position_bias")
    if position_bias is not None:
        added = biases.tensor(_placed(position_bias, terms.query_start, terms.key_start))
        terms = terms._replace(bias=added if terms.bias is None else terms.bias + added)
    return _packed(terms, query, keys, options)


def _own(mask: Tensor) -> Terms:
    """A user's own mask, which counts queries and keys from 0."""
    if mask.ndim != 4:
        raise InputError(f"a layer's own mask must be [batch, heads, queries, keys], got {list(mask.shape)}")
    if mask.dtype == torch.bool:
        return Terms(given(mask), None, 0, 0)
    if mask.is_floating_point():
        return Terms(None, biases.tensor(mask), 0, 0)
    raise InputError(f"a 4-D mask must be bool (True attends) or floating (added to the scores), got {mask.dtype}")


def _unmasked(module: nn.Module, queries: int, keys: int, options: Mapping[str, Any]) -> Terms:
    """No mask: causal if the call or the module says so, and there is more than the newest query."""
    said = options.get("is_causal")
    is_causal = queries > 1 and bool(getattr(module, "is_causal", True) if said is None else said)
    wide = options.get("sliding_window")
    if is_causal and queries != keys:
        raise InputError(
            f"a causal layer got {queries} queries, {keys} keys and no mask, so nothing says where the queries stand; "
            "pass an attention_mask"
        )
    if wide is not None and not is_causal and queries > 1:
        raise InputError(
            f"sliding_window={wide} came without a mask to a layer that is not causal, so its sides are unknown; "
            "pass an attention_mask"
        )
    pattern = causal() if is_causal or wide is not None else None
    if pattern is not None and wide is not None:
        pattern = pattern & window(wide)
    return Terms(pattern, None, keys - queries if wide is not None else 0, 0)


def _placed(values: Tensor, query_start: int, key_start: int) -> Tensor:
    """A tensor over this call's queries and keys as one over absolute positions: zeros before it."""
    before = (key_start if values.shape[-1] > 1 else 0, 0, query_start if values.shape[-2] > 1 else 0, 0)
    return functional.pad(values, before) if any(before) else values


def _packed(terms: Terms, query: Tensor, keys: int, options: Mapping[str, Any]) -> Terms:
    """Documents packed into one row and told by their cumulative lengths."""
    ends = options.get("cu_seq_lens_q")
    if ends is None:
        return terms
    other = options.get("cu_seq_lens_k")
    whole = int(ends[-1]) == query.shape[-2] == keys and query.shape[0] == 1
    if not whole or (other is not None and not torch.equal(ends, other)) or terms.query_start or terms.key_start:
        raise InputError(
            "cu_seq_lens_q must cut one row of queries, and its keys in the same way, into whole documents; got an end "
            f"of {int(ends[-1])} for {query.shape[0]} × {query.shape[-2]} queries and {keys} keys"
        )
    apart = documents(ends.diff())
    return terms._replace(pattern=apart if terms.pattern is None else terms.pattern & apart)
