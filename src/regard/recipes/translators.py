"""Networks that read one row of signs and write another, by a GRU, by one with attention, by a transformer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from regard.attention import weights
from regard.nn import Additive, Block, Decoder, Encoder, Luong, MultiHead
from regard.recipes.teaching import begun, lengths
from regard.recipes.writer import Sizes, Writer
from regard.terms.pattern import causal, padding
from regard.terms.score import general

__all__ = ["Recurrent", "Transformer", "bahdanau", "looked", "luong"]

KNOWN = ", word known"


class Recurrent(Writer):
    """A GRU in both directions reads; a GRU writes, and after each step looks at what was read.

    `s_t = GRU(s_{t−1}, y_t)`, `state_t = tanh(W [context_t; s_t])`, `context_t = attention(s_t, memory)`, or, where
    there is none, the mean of the memory, the same at each step. The GRU that writes doesn't read the contexts, so
    that one pass trains all steps and nothing but the score differs.

    Args:
        sizes: how large.
        attention: `bahdanau(dim)`, `luong(dim)`, or None.
    """

    def __init__(self, sizes: Sizes, attention: Additive | Luong | None) -> None:
        super().__init__(sizes)
        dim = sizes.dim
        self.reader = nn.GRU(dim, dim // 2, batch_first=True, bidirectional=True)
        self.begin, self.writer = nn.Linear(dim, dim), nn.GRU(dim, dim, batch_first=True)
        self.read_norm, self.write_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention, self.combine = attention, nn.Linear(2 * dim, dim)

    def read(self, source: Tensor) -> Tensor:
        """`[rows, keys, parts]` → `[rows, keys, dim]`."""
        inputs = self.embedded(source)
        packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths(source), batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(
            self.reader(packed)[0], batch_first=True, total_length=inputs.shape[1]
        )
        return self.read_norm(inputs + states)  # type: ignore[no-any-return]

    def states(self, memory: Tensor, real: Tensor, target: Tensor) -> Tensor:
        """`[rows, signs]` → `[rows, signs, dim]`."""
        states, mean = self._written(memory, real, target)
        context = mean.expand_as(states) if self.attention is None else self.attention(states, memory, lengths=real)
        return self.combine(torch.cat((context, states), -1)).tanh()  # type: ignore[no-any-return]

    def looks(self, memory: Tensor, real: Tensor, target: Tensor) -> Tensor:
        """How much each written sign looks at each of the source, `[rows, signs, keys]`."""
        assert self.attention is not None
        states, _ = self._written(memory, real, target)
        rule = replace(self.attention.rule(), pattern=padding(real))
        return weights(states[:, None], memory[:, None], rule, query_start=0)[:, 0]

    def found(self, memory: Tensor, real: Tensor, target: Tensor, answer: Tensor) -> Tensor:
        """As `looks`, once the sign itself is known: `w_tj · p(y_t | s_t, h_j)`, to a sum of 1, `[rows, signs, keys]`.

        Source: Shankar & Sarawagi 2019, "Posterior Attention Models for Sequence to Sequence Learning".
        """
        states, _ = self._written(memory, real, target)
        pairs = torch.broadcast_tensors(memory[:, None], states[:, :, None])
        said = self.logits(self.combine(torch.cat(pairs, -1)).tanh()).log_softmax(-1)
        share = said.gather(-1, answer[:, :, None, None].expand(-1, -1, memory.shape[1], 1))[..., 0].exp()
        both = self.looks(memory, real, target) * share
        return both / both.sum(-1, keepdim=True)

    def _written(self, memory: Tensor, real: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The states of the GRU that writes, and the mean of what was read."""
        here = torch.arange(memory.shape[1]) < real[:, None]
        mean = (memory * here[..., None]).sum(1, keepdim=True) / real[:, None, None]
        states, _ = self.writer(self.begun(target), self.begin(mean[:, 0]).tanh()[None])
        return self.write_norm(states), mean


def bahdanau(dim: int) -> Additive:
    """`v · tanh(W s + U h)`."""
    return Additive(dim, dim, dim)


def luong(dim: int) -> Luong:
    """*general*, `s · W h / √dim`; W begins as one."""
    return Luong(dim, dim, score=general(nn.Parameter(torch.eye(dim)), scale=dim**-0.5))


class Transformer(Writer):
    """Blocks of self-attention read; blocks of causal self-attention write, and look at what was read.

    Args:
        sizes: how large.
        depth: how many blocks read, and how many write.
        heads: of each attention.
    """

    def __init__(self, sizes: Sizes, depth: int = 2, heads: int = 4) -> None:
        super().__init__(sizes)
        dim, hidden, drop = sizes.dim, 2 * sizes.dim, sizes.dropout
        self.reader = Encoder(Block(MultiHead(dim, heads), hidden=hidden, dropout=drop) for _ in range(depth))
        own, cross = (partial(MultiHead, dim, heads, rule=rule) for rule in (causal(), None))
        self.writer = Decoder(Block(own(), cross=cross(), hidden=hidden, dropout=drop) for _ in range(depth))

    def read(self, source: Tensor) -> Tensor:
        """`[rows, keys, parts]` → `[rows, keys, dim]`."""
        return self.reader(self.embedded(source), pattern=padding(lengths(source)))  # type: ignore[no-any-return]

    def states(self, memory: Tensor, real: Tensor, target: Tensor) -> Tensor:
        """`[rows, signs]` → `[rows, signs, dim]`."""
        return self.writer(self.begun(target), memory, memory_pattern=padding(real))  # type: ignore[no-any-return]

    def looks(self, memory: Tensor, real: Tensor, target: Tensor) -> Tensor:
        """How much each written sign looks at each of the source: mean of the first block's heads."""
        block = cast(Block, self.writer.blocks[0])
        inputs, cross = self.begun(target), block.cross
        assert cross is not None and block.cross_norm is not None
        inputs = inputs + block.attention(block.attention_norm(inputs))
        split = (cross.heads, -1)
        query = cross.query(block.cross_norm(inputs)).unflatten(-1, split).transpose(1, 2)
        key = cross.key(memory).unflatten(-1, split).transpose(1, 2)
        return weights(query, key, padding(real), query_start=0).mean(1)


@torch.no_grad()
def looked(model: Recurrent | Transformer, source: Tensor, target: Tensor) -> dict[str, list[Tensor]]:
    """How much each sign of a row looks at each of its source, `[signs, keys]` a row; the true ones stand before it.

    And, for a GRU, the same once the sign itself is known.
    """
    kinds: dict[str, list[Tensor]] = {}
    for one, row in zip(source.split(16), target.split(16), strict=True):
        given = model.read(one), lengths(one), begun(row)
        kinds.setdefault("", []).extend(model.looks(*given))
        if isinstance(model, Recurrent):
            kinds.setdefault(KNOWN, []).extend(model.found(*given, row))
    return kinds
