"""Blocks of a transformer, with the norms before the layers; an encoder and a decoder of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from regard.errors import InputError
from regard.nn.caches import Cache, Dynamic, Memory
from regard.nn.checks import check_rows, check_sizes
from regard.nn.multihead import MultiHead
from regard.problem.door import probability
from regard.terms.pattern import Pattern

__all__ = ["Block", "Decoder", "Encoder"]

Caches = tuple[Cache, Cache]
"""Of a block's self-attention, and of its cross-attention."""


class Block(nn.Module):
    """One block of a transformer, pre-norm.

    `x ← x + attention(norm(x))`, `x ← x + cross(norm(x), memory)` where there is one, `x ← x + feed(norm(x))`,
    `feed(x) = W_2 f(W_1 x + b_1) + b_2`

    Args:
        attention: a `MultiHead`, or any module with a `dim` that maps `[..., positions, dim]` to the same shape
            and takes `pattern` and `cache` where they are given.
        cross: attention to a memory, or None; its `dim` is that of `attention`.
        hidden: components inside of `feed`; None is 4 · dim.
        activation: f; None is GELU.
        dropout: probability with which a component of a layer's output is dropped in training, in [0, 1).

    Source: Vaswani et al. 2017, "Attention Is All You Need"; Xiong et al. 2020, "On Layer Normalization in the
    Transformer Architecture".
    """

    def __init__(
        self,
        attention: nn.Module,
        *,
        cross: MultiHead | None = None,
        hidden: int | None = None,
        activation: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        dim = getattr(attention, "dim", None)
        if not isinstance(attention, nn.Module) or not isinstance(dim, int):
            raise InputError(
                f"Block(attention) needs a module with a dim, as MultiHead, got {type(attention).__name__}"
            )
        if cross is not None and (not isinstance(cross, MultiHead) or cross.dim != dim):
            raise InputError(f"Block(cross) needs a MultiHead of dim {dim}, as attention has, got {cross}")
        self.dim = dim
        hidden = 4 * dim if hidden is None else hidden
        check_sizes("Block", hidden=hidden)
        self.attention, self.cross = attention, cross
        self.attention_norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.cross_norm = None if cross is None else nn.LayerNorm(dim)
        self.dropout = nn.Dropout(probability(dropout))
        act = nn.GELU() if activation is None else activation
        self.feed = nn.Sequential(nn.Linear(dim, hidden), act, nn.Dropout(dropout), nn.Linear(hidden, dim))

    def forward(
        self,
        inputs: Tensor,
        memory: Tensor | None = None,
        *,
        pattern: Pattern | None = None,
        memory_pattern: Pattern | None = None,
        caches: Caches | None = None,
    ) -> Tensor:
        """`[..., positions, dim]` → the same.

        Args:
            inputs: 2 to 4 axes.
            memory: what `cross` attends to, `[..., keys, source_dim]`; with caches it is read in the first step alone.
            pattern: what must hold in self-attention besides its rule, as `padding(lengths)`.
            memory_pattern: likewise in cross-attention.
            caches: of self-attention and of cross-attention, as `Decoder.caches` makes them.
        """
        check_rows("Block", "inputs", inputs, self.dim)
        if (memory is None) != (self.cross is None):
            raise InputError(
                "this Block has no cross-attention; leave memory out"
                if self.cross is None
                else "this Block has cross-attention; give it the memory"
            )
        own, other = (None, None) if caches is None else caches
        given = {name: value for name, value in (("pattern", pattern), ("cache", own)) if value is not None}
        inputs = inputs + self.dropout(self.attention(self.attention_norm(inputs), **given))
        if self.cross is not None and self.cross_norm is not None:
            seen = self.cross(self.cross_norm(inputs), memory, pattern=memory_pattern, cache=other)
            inputs = inputs + self.dropout(seen)
        return inputs + self.dropout(self.feed(self.feed_norm(inputs)))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Blocks one after the other, and a norm: `norm(block_n(… block_1(x)))`.

    Args:
        blocks: at least one, all of one dim, none with cross-attention.

    Source: Vaswani et al. 2017, "Attention Is All You Need".
    """

    def __init__(self, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.blocks = _stacked("Encoder", blocks)
        if any(block.cross is not None for block in self.blocks):
            raise InputError("Encoder takes blocks without cross-attention; Decoder takes both")
        self.dim = self.blocks[0].dim
        self.norm = nn.LayerNorm(self.dim)

    def forward(self, inputs: Tensor, *, pattern: Pattern | None = None) -> Tensor:
        """`[..., positions, dim]` → the same; `pattern` must hold besides the blocks' rules."""
        for block in self.blocks:
            inputs = block(inputs, pattern=pattern)
        return self.norm(inputs)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Blocks one after the other, and a norm, with or without a memory; step by step with caches.

    The blocks' own rules say what a position sees: give their attention `rule=causal()`.

    Args:
        blocks: at least one, all of one dim, with cross-attention or all without.

    Source: Vaswani et al. 2017, "Attention Is All You Need".
    """

    def __init__(self, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.blocks = _stacked("Decoder", blocks)
        if len({block.cross is None for block in self.blocks}) > 1:
            raise InputError("Decoder needs cross-attention in all of its blocks or in none")
        self.dim = self.blocks[0].dim
        self.norm = nn.LayerNorm(self.dim)

    def caches(self, make: Callable[[], Cache] = Dynamic) -> list[Caches]:
        """Empty caches for one batch of texts, as `caches(lambda: Rolling(256))`; the memory has one of its own."""
        return [(make(), Memory()) for _ in self.blocks]

    def forward(
        self,
        inputs: Tensor,
        memory: Tensor | None = None,
        *,
        pattern: Pattern | None = None,
        memory_pattern: Pattern | None = None,
        caches: Sequence[Caches] | None = None,
    ) -> Tensor:
        """`[..., positions, dim]` → the same.

        Args:
            inputs: all positions, or with caches the new ones.
            memory: what cross-attention attends to, `[..., keys, source_dim]`.
            pattern: what must hold in self-attention besides the blocks' rules.
            memory_pattern: likewise in cross-attention.
            caches: what `caches()` made; one step after the other with them equals the whole.
        """
        if caches is not None and len(caches) != len(self.blocks):
            raise InputError(
                f"Decoder has {len(self.blocks)} blocks, got caches for {len(caches)}; make them by caches()"
            )
        for number, block in enumerate(self.blocks):
            inputs = block(
                inputs,
                memory,
                pattern=pattern,
                memory_pattern=memory_pattern,
                caches=None if caches is None else caches[number],
            )
        return self.norm(inputs)  # type: ignore[no-any-return]


def _stacked(name: str, blocks: Iterable[Block]) -> nn.ModuleList:
    found = list(blocks)
    if not found or not all(isinstance(block, Block) for block in found):
        raise InputError(f"{name} needs at least one Block, got {[type(block).__name__ for block in found]}")
    if len({block.dim for block in found}) > 1:
        raise InputError(f"{name} needs blocks of one dim, got {[block.dim for block in found]}")
    return nn.ModuleList(found)
