"""Multi-head attention as a layer: projections around the equation."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from typing_extensions import Self

from regard.attention import attend, partial
from regard.errors import InputError
from regard.nn import exchange
from regard.nn.across import Across
from regard.nn.caches import Cache, Kept
from regard.nn.checks import check_rows, check_sizes
from regard.nn.held import Held
from regard.nn.positions import Rotary
from regard.nn.reach import by_distance
from regard.parts import merge
from regard.problem.door import probability
from regard.rule import Rule, as_rule
from regard.terms.bias import Bias
from regard.terms.pattern import Pattern
from regard.terms.tree import Term

__all__ = ["MultiHead"]

Pair = int | tuple[int, int]


class MultiHead(nn.Module):
    """Multi-head self- and cross-attention by any rule, with grouped heads, rotary positions and caches.

    `out = W_o [head_1 … head_n]`, `head_h = attend(W_q,h x, W_k,g y, W_v,g z, rule)`, g = h // (heads // kv_heads)

    The rule's learned tensors are this layer's parameters (`rule.bias.table`); see `Held`. `extra_key` and
    `extra_value`, None unless `learn_extra` or `from_torch` make them, are learned keys and values that every query
    sees, whatever the rule's pattern and bias.

    Args:
        dim: components of the queries' input, and of the output.
        heads: how many query heads.
        kv_heads: how many key and value heads, a divisor of `heads`; None is as many.
        head_dim: components of a head, or (of query and key, of value); None is dim / heads.
        source_dim: components of what keys and values are made of, or (keys', values'); None is `dim`.
        rule: a `Rule`, one term of it, or None: softmax over scaled dot products.
        rotary: turns queries and keys by their positions, as `rotary(64)`.
        dropout: probability with which a weight is dropped in training, in [0, 1).
        bias: whether projections add a vector: all of them, or (of query, key and value; of the output).

    Errors: InputError for sizes that don't fit, and for a rule that can't take these heads.

    Source: Vaswani et al. 2017, "Attention Is All You Need"; Ainslie et al. 2023 for grouped heads.
    """

    extra_key: nn.Parameter | None
    extra_value: nn.Parameter | None

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        head_dim: Pair | None = None,
        source_dim: Pair | None = None,
        rule: Rule | Term | None = None,
        rotary: Rotary | None = None,
        dropout: float = 0.0,
        bias: bool | tuple[bool, bool] = True,
    ) -> None:
        super().__init__()
        check_sizes("MultiHead", dim=dim, heads=heads, kv_heads=heads if kv_heads is None else kv_heads)
        self.dim, self.heads, self.kv_heads = dim, heads, heads if kv_heads is None else kv_heads
        self.head_dim, self.value_dim = _pair("head_dim", self._own_dim() if head_dim is None else head_dim)
        self.key_source, self.value_source = _pair("source_dim", dim if source_dim is None else source_dim)
        self.dropout, self.rotary = probability(dropout), rotary
        inside, outside = bias if isinstance(bias, tuple) else (bias, bias)
        self.query = nn.Linear(dim, heads * self.head_dim, inside)
        self.key = nn.Linear(self.key_source, self.kv_heads * self.head_dim, inside)
        self.value = nn.Linear(self.value_source, self.kv_heads * self.value_dim, inside)
        self.out = nn.Linear(heads * self.value_dim, dim, outside)
        self.register_parameter("extra_key", None)
        self.register_parameter("extra_value", None)
        self.rule = Held(as_rule(rule))
        self.across: Across | None = None
        self._check()
        self._begin()

    @classmethod
    def from_torch(cls, layer: nn.MultiheadAttention) -> Self:
        """The same layer with PyTorch's weights, copied.

        Inputs are `[..., positions, dim]` whatever `batch_first` says. Its masks are said in the call:
        `attn_mask` and `key_padding_mask` of booleans as `pattern=regard.mask(~mask)` and `regard.padding(~mask)`, of
        floats as `bias=regard.bias.tensor(mask)`, `is_causal` as `pattern=regard.causal()`. `add_zero_attn` is a
        softmax with a sink of 0; `add_bias_k` becomes `extra_key` and `extra_value`.
        """
        return exchange.from_torch(cls, layer)

    def to_torch(self, *, batch_first: bool = True) -> nn.MultiheadAttention:
        """A `torch.nn.MultiheadAttention` with this layer's weights, copied.

        Errors: InputError where PyTorch's layer has no place for what this one does, with the reason.
        """
        return exchange.to_torch(self, batch_first)

    def learn_extra(self, keys: int = 1) -> None:
        """Give every query some learned keys and values to look at besides the source's."""
        check_sizes("learn_extra", keys=keys)
        self.extra_key, self.extra_value = (
            nn.Parameter(self.query.weight.new_empty(self.kv_heads, keys, size))
            for size in (self.head_dim, self.value_dim)
        )
        for extra in (self.extra_key, self.extra_value):
            nn.init.normal_(extra, std=extra.shape[-1] ** -0.5)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        pattern: Pattern | None = None,
        bias: Bias | None = None,
        cache: Cache | None = None,
        query_start: int | Tensor | None = None,
        key_start: int | Tensor = 0,
    ) -> Tensor:
        """`[..., queries, dim]` → `[..., queries, dim]`.

        Args:
            query: what queries are made of, 2 to 4 axes.
            key: what keys are made of, `[..., keys, key_source]`; None is `query`: self-attention.
            value: what values are made of, `[..., keys, value_source]`; None is `key`.
            pattern: what must hold in this call besides the rule's pattern, as `padding(lengths)`.
            bias: what is added in this call to the rule's bias.
            cache: `Dynamic`, `Rolling` or `Static` in self-attention, `Memory` in cross-attention; it says where
                queries and keys stand.
            query_start: absolute position of the first query, as in `attend`.
            key_start: absolute position of the first key, likewise.
        """
        key = query if key is None else key
        value = key if value is None else value
        self._check_inputs(query, key, value)
        rule = _with(self.rule(), pattern, bias)
        if self.across is not None:
            self._check_across(cache, query_start, key_start)
            seen = self._attended_across(self.across, (query, key, value), rule)
            return self.out(seen.transpose(-2, -3).flatten(-2))  # type: ignore[no-any-return]
        queries = _split(self.query(query), self.heads)
        if cache is None:
            kept = Kept(*self._projected(key, value, key_start), key_start, query_start)
        else:
            kept = cache.extend(lambda start: self._projected(key, value, start), rule, query.shape[-2], query_start)
        if self.rotary is not None:
            queries = self.rotary(queries, _start(queries, kept))
        if cache is not None and kept.query_start is not None and by_distance(rule) and not self.training:
            # Moved to 0, the steps of a rolling cache are one and the same call, which is prepared once.
            kept = kept._replace(query_start=kept.query_start - kept.key_start, key_start=0)
        seen = self._attended(queries, kept, rule)
        return self.out(seen.transpose(-2, -3).flatten(-2))  # type: ignore[no-any-return]

    def _projected(self, key: Tensor, value: Tensor, start: int | Tensor) -> tuple[Tensor, Tensor]:
        keys, values = _split(self.key(key), self.kv_heads), _split(self.value(value), self.kv_heads)
        return (keys if self.rotary is None else self.rotary(keys, start)), values

    def _attended(self, query: Tensor, kept: Kept, rule: Rule) -> Tensor:
        chance = self.dropout if self.training else 0.0
        if self.extra_key is None or self.extra_value is None:
            return attend(
                query, *kept[:2], rule, query_start=kept.query_start, key_start=kept.key_start, dropout=chance
            )
        start = _start(query, kept)
        part = partial(query, *kept[:2], rule, query_start=start, key_start=kept.key_start, dropout=chance)
        bare = Rule(score=rule.score, normalize=rule.normalize)
        more = partial(query, self.extra_key, self.extra_value, bare, query_start=start, dropout=chance)
        return merge(part, replace(more, rule=part.rule)).out

    def _check_across(self, cache: Cache | None, query_start: int | Tensor | None, key_start: int | Tensor) -> None:
        refused = {
            "cache": cache is not None,
            "learned extra keys": self.extra_key is not None,
            "query_start": query_start is not None,
            "key_start": isinstance(key_start, Tensor) or key_start != 0,
        }
        if any(refused.values()):
            what = " and no ".join(name for name, given in refused.items() if given)
            raise InputError(f"a MultiHead over several ranks takes no {what}; set layer.across = None for one rank")

    def _attended_across(self, across: Across, inputs: tuple[Tensor, Tensor, Tensor], rule: Rule) -> Tensor:
        query, key, value = inputs
        queries, keys = _split(self.query(query), self.heads), _split(self.key(key), self.kv_heads)
        if self.rotary is not None:
            queries, keys = across.turned(self.rotary, queries, keys)
        values = _split(self.value(value), self.kv_heads)
        return across.attend(queries, keys, values, rule, self.dropout if self.training else 0.0)

    def _own_dim(self) -> int:
        if self.dim % self.heads:
            raise InputError(
                f"MultiHead(dim={self.dim}, heads={self.heads}): dim must be a multiple of heads, or say head_dim"
            )
        return self.dim // self.heads

    def _begin(self) -> None:
        """As PyTorch's layer begins: Xavier's weights, no bias."""
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def _check(self) -> None:
        if self.heads % self.kv_heads:
            raise InputError(f"MultiHead needs heads as a multiple of kv_heads, got {self.heads} and {self.kv_heads}")
        rule = self.rule()
        rule.score.check(self.head_dim, self.head_dim, self.heads)
        rule.normalize.check(self.heads)
        if rule.bias is not None:
            rule.bias.for_heads(self.heads, torch.device("cpu"))
        if self.rotary is not None and not (isinstance(self.rotary, Rotary) and self.rotary.dim <= self.head_dim):
            raise InputError(f"MultiHead needs rotary(dim) with dim ≤ head_dim = {self.head_dim}, got {self.rotary!r}")

    def _check_inputs(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        check_rows("MultiHead", "query", query, self.dim)
        check_rows("MultiHead", "key", key, self.key_source)
        check_rows("MultiHead", "value", value, self.value_source)
        if key.shape[-2] != value.shape[-2]:
            raise InputError(f"MultiHead needs as many keys as values, got {key.shape[-2]} and {value.shape[-2]}")

    def extra_repr(self) -> str:
        """Its sizes, as modules print them."""
        said = [f"{self.dim}, heads={self.heads}"]
        said += [f"kv_heads={self.kv_heads}"] * (self.kv_heads != self.heads)
        said += [] if self.extra_key is None else [f"extra_keys={self.extra_key.shape[-2]}"]
        said += [] if self.rotary is None else [f"rotary={self.rotary!r}"]
        said += [f"dropout={self.dropout:g}"] * bool(self.dropout)
        return ", ".join(said)


def _split(rows: Tensor, heads: int) -> Tensor:
    """`[..., positions, heads · dim]` → `[..., heads, positions, dim]`, a view."""
    return rows.unflatten(-1, (heads, -1)).transpose(-2, -3)  # type: ignore[no-any-return]


def _start(query: Tensor, kept: Kept) -> int | Tensor:
    """Where the queries stand; unless told, they are the last ones."""
    return kept.key_start + kept.key.shape[-2] - query.shape[-2] if kept.query_start is None else kept.query_start


def _with(rule: Rule, pattern: Pattern | None, bias: Bias | None) -> Rule:
    """The rule with what is said in one call."""
    if pattern is not None:
        rule = replace(rule, pattern=pattern if rule.pattern is None else rule.pattern & pattern)
    if bias is not None:
        rule = replace(rule, bias=bias if rule.bias is None else rule.bias + bias)
    return rule


def _pair(name: str, sizes: Pair) -> tuple[int, int]:
    first, second = sizes if isinstance(sizes, tuple) and len(sizes) == 2 else (sizes, sizes)
    check_sizes("MultiHead", **{name: first})
    check_sizes("MultiHead", **{name: second})
    return first, second
