"""What else moves the score: bias_ij, by distance, by key, by edge, or a tensor.

Reached as `regard.bias.keys`, `regard.bias.edges`, `regard.bias.tensor`; `alibi`, `relative` and `t5` are also at the
top. Biases add up with `+`, and every tensor in them gets its gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.tree import Term, number, term

__all__ = ["Bias", "alibi", "edges", "keys", "relative", "t5", "tensor"]


class Bias(Term):
    """bias_ij for every pair of a tile."""

    positional = True
    """Whether the value depends on where the rows and keys stand."""

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        """Absolute positions `[batch|1, 1, queries, 1]`, `[batch|1, 1, 1, keys]` → broadcast to `[batch, heads, queries, keys]`."""
        raise TypeError(f"{type(self).__name__} does not say how it moves a pair: define pairs(query, key)")

    def for_heads(self, heads: int, device: torch.device) -> Bias:
        """The same bias with all that depends on the number of query heads filled in, or InputError."""
        return self

    def __add__(self, other: object) -> Bias:
        if not isinstance(other, Bias):
            raise InputError(f"a bias adds to a bias; wrap a {type(other).__name__} in regard.bias.tensor(...)")
        return Sum((*_parts(self), *_parts(other)))


@term
class Sum(Bias):
    """The sum of several biases."""

    parts: tuple[Bias, ...]

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        total = self.parts[0].pairs(query, key)
        for part in self.parts[1:]:
            total = total + part.pairs(query, key)
        return total

    def for_heads(self, heads: int, device: torch.device) -> Bias:
        return Sum(tuple(part.for_heads(heads, device) for part in self.parts))

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))


@term
class Alibi(Bias):
    """−slope_h · |i − j|."""

    slopes: Tensor | int | None = None
    roles = {"slopes": ("head",)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        assert isinstance(self.slopes, Tensor)
        return -self.slopes[:, None, None] * (query - key).abs().to(self.slopes.dtype)

    def for_heads(self, heads: int, device: torch.device) -> Bias:
        if isinstance(self.slopes, Tensor):
            _check_count("alibi(slopes)", self.slopes.shape[0], heads)
            return self
        if self.slopes is not None:
            _check_count("alibi(heads)", self.slopes, heads)
        return Alibi(torch.tensor(_slopes(heads), dtype=torch.float64, device=device))

    def __repr__(self) -> str:
        return f"alibi({'' if self.slopes is None else number(self.slopes)})"


@term
class Relative(Bias):
    """table[h, clip(j − i, −r, r) + r]."""

    table: Tensor
    roles = {"table": ("head", None)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        reach = self.table.shape[-1] // 2
        return _look_up(self.table, (key - query).clamp(-reach, reach) + reach)

    def for_heads(self, heads: int, device: torch.device) -> Bias:
        _check_table("relative(table)", self.table, heads)
        return self

    def __repr__(self) -> str:
        return f"relative({number(self.table)})"


@term
class Bucketed(Bias):
    """table[h, bucket(j − i)], T5's buckets: exact when near, logarithmic when far."""

    table: Tensor
    bidirectional: bool = True
    max_distance: int = 128
    roles = {"table": ("head", None)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        return _look_up(self.table, self.bucket(key - query))

    def bucket(self, distance: Tensor) -> Tensor:
        """j − i → the index of its bucket, both integer tensors of one shape."""
        count = self.table.shape[-1] // (2 if self.bidirectional else 1)
        after = torch.where(distance > 0, count, 0) if self.bidirectional else 0
        far = distance.abs() if self.bidirectional else (-distance).clamp(min=0)
        exact = count // 2
        # float32, as the published models were trained: the rounding decides the bucket at exact powers.
        ratio = (far.clamp(min=1).to(torch.float32) / exact).log() / math.log(self.max_distance / exact)
        coarse = (exact + (ratio * (count - exact)).to(torch.int64)).clamp(max=count - 1)
        return after + torch.where(far < exact, far, coarse)

    def for_heads(self, heads: int, device: torch.device) -> Bias:
        _check_table("t5(table)", self.table, heads)
        return self

    def __repr__(self) -> str:
        return f"t5({number(self.table)}{'' if self.bidirectional else ', bidirectional=False'})"


@term
class Keys(Bias):
    """values[h, j]."""

    values: Tensor
    roles = {"values": ("batch", "head", "key")}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        return self.values[..., None, :]

    def __repr__(self) -> str:
        return f"keys({number(self.values)})"


@term
class Edges(Bias):
    """values[h, e] where (j → i) is edge e, 0 elsewhere."""

    index: Tensor
    values: Tensor
    roles = {"values": ("head", None)}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        source, target = self.index
        if not source.numel():
            return self.values.new_zeros((1, 1, 1))
        # One integer a pair, so that an edge is found by bisection.
        stride = int(source.max()) + 1
        order = torch.argsort(target * stride + source)
        codes = (target * stride + source)[order]
        wanted = query * stride + key
        place = torch.searchsorted(codes, wanted.expand(-1, 1, query.shape[2], key.shape[3]).contiguous()).clamp(
            max=codes.shape[0] - 1
        )
        found = (codes[place] == wanted) & (key < stride)
        return torch.where(found, _look_up(self.values[..., order], place), 0)

    def for_heads(self, heads: int, device: torch.device) -> Bias:
        if self.values.ndim == 2:
            _check_count("edges(values)", self.values.shape[0], heads)
        return self

    def __repr__(self) -> str:
        return f"edges({self.index.shape[1]} edges)"


@term
class Given(Bias):
    """values[b, h, i, j]."""

    values: Tensor
    roles = {"values": ("batch", "head", "query", "key")}  # noqa: RUF012

    def pairs(self, query: Tensor, key: Tensor) -> Tensor:
        return self.values

    def __repr__(self) -> str:
        return f"tensor({number(self.values)})"


def alibi(slopes: Tensor | int | None = None) -> Alibi:
    """A penalty that grows with distance, at a slope of its own for every head.

    `bias_ij = −slope_h · |i − j|`

    Args:
        slopes: None (the paper's slopes for as many query heads as there are), the number of query heads, or a tensor
            `[heads]` (it may be learned), in units of score per position.

    Source: Press et al. 2022, "Train Short, Test Long: Attention with Linear Biases".
    """
    if isinstance(slopes, Tensor) and slopes.ndim != 1:
        raise InputError(f"alibi(slopes) needs a tensor [heads], got {list(slopes.shape)}")
    if isinstance(slopes, int) and slopes < 1:
        raise InputError(f"alibi(heads) needs at least one head, got {slopes}")
    return Alibi(slopes)


def relative(table: Tensor) -> Relative:
    """A learned table by distance, clipped at its ends.

    `bias_ij = table[h, clip(j − i, −r, r) + r]`

    Args:
        table: `[2r + 1]` or `[heads, 2r + 1]`, entry r is distance 0, entries above it are later keys.

    Source: Shaw et al. 2018, "Self-Attention with Relative Position Representations" (its scalar form).
    """
    if not isinstance(table, Tensor) or table.ndim not in (1, 2) or table.shape[-1] % 2 == 0:
        got = list(table.shape) if isinstance(table, Tensor) else type(table).__name__
        raise InputError(f"relative(table) needs [2r + 1] or [heads, 2r + 1], an odd number of distances, got {got}")
    return Relative(table)


def t5(table: Tensor, *, bidirectional: bool = True, max_distance: int = 128) -> Bucketed:
    """A learned table by bucketed distance: exact when near, logarithmic when far.

    `bias_ij = table[h, bucket(j − i)]`

    Args:
        table: `[buckets]` or `[heads, buckets]`.
        bidirectional: half of the buckets for later keys (encoders); else later keys share bucket 0 (decoders).
        max_distance: from here on all distances share the last bucket, in positions.

    Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer".
    """
    least = 4 if bidirectional else 2
    if not isinstance(table, Tensor) or table.ndim not in (1, 2) or table.shape[-1] < least or table.shape[-1] % 2:
        got = list(table.shape) if isinstance(table, Tensor) else type(table).__name__
        raise InputError(
            f"t5(table) needs [buckets] or [heads, buckets], an even number ≥ {least} of buckets, got {got}"
        )
    if max_distance <= table.shape[-1] // (4 if bidirectional else 2):
        raise InputError(f"t5(max_distance) must lie beyond the exact buckets, got {max_distance}")
    return Bucketed(table, bidirectional, max_distance)


def keys(values: Tensor) -> Keys:
    """A number per key.

    `bias_ij = values[h, j]`, j absolute

    Args:
        values: broadcast to `[..., heads, keys]`; −∞ hides a key.
    """
    return Keys(_given("keys", values, 1))


def edges(index: Tensor, values: Tensor) -> Edges:
    """A number per edge of a graph; 0 where there is no edge.

    `bias_ij = values[h, e]`, e the edge j → i

    Args:
        index: integers `[2, edges]`: row 0 the keys j (sources), row 1 the queries i (targets); no edge twice.
        values: `[edges]` or `[heads, edges]`.
    """
    if not isinstance(index, Tensor) or index.ndim != 2 or index.shape[0] != 2 or index.is_floating_point():
        got = f"{list(index.shape)} of {index.dtype}" if isinstance(index, Tensor) else type(index).__name__
        raise InputError(f"bias.edges(index, values) needs integers [2, edges], got {got}")
    _given("edges", values, 1)
    if values.ndim > 2 or values.shape[-1] != index.shape[1]:
        raise InputError(f"bias.edges needs one value an edge: {index.shape[1]} edges, got values {list(values.shape)}")
    if index.numel() and index.min() < 0:
        raise InputError(f"bias.edges needs positions ≥ 0, got {int(index.min())}")
    if torch.unique(index, dim=1).shape[1] != index.shape[1]:
        raise InputError("bias.edges needs every edge once; sum the values of repeated edges first")
    return Edges(index.to(torch.int64), values)


def tensor(values: Tensor) -> Given:
    """Any additive bias or mask, as a tensor.

    `bias_ij = values[b, h, i, j]`, i and j absolute

    Args:
        values: broadcast to `[..., heads, queries, keys]`; −∞ hides a pair. Its gradient has its shape.
    """
    return Given(_given("tensor", values, 0))


def _parts(bias: Bias) -> tuple[Bias, ...]:
    return bias.parts if isinstance(bias, Sum) else (bias,)


def _given(name: str, values: Tensor, least: int) -> Tensor:
    if not isinstance(values, Tensor) or not values.is_floating_point() or values.ndim < least:
        got = f"{values.dtype} {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        hint = "; regard.mask(...) takes booleans" if isinstance(values, Tensor) and values.dtype == torch.bool else ""
        raise InputError(f"bias.{name} needs a floating-point tensor of at least {least} axes, got {got}{hint}")
    return values


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    """`[entries]` or `[heads, entries]` at an index `[batch|1, 1, queries, keys]` → `[batch|1, heads|1, queries, keys]`."""
    if table.ndim == 1:
        return table[index]
    if index.shape[0] == 1:
        return table[:, index[0, 0]]
    return table[:, index[:, 0]].movedim(0, 1)


def _slopes(heads: int) -> list[float]:
    """The paper's: 2^(−8h/n) for a power of two n; otherwise those of the power below, then every second of the next."""
    power = 2 ** math.floor(math.log2(heads))
    first = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    return first + [2 ** (-4 * (2 * h + 1) / power) for h in range(heads - power)]


def _check_count(name: str, got: int, heads: int) -> None:
    if got != heads:
        raise InputError(f"{name} is for {got} heads, the query has {heads}")


def _check_table(name: str, table: Tensor, heads: int) -> None:
    if table.ndim == 2:
        _check_count(name, table.shape[0], heads)
