"""The models: a recurrent one that looks back in two ways or not at all, and a transformer with any attention."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from regard.nn import Additive, Block, Encoder, Luong, MultiHead, sinusoidal
from regard.terms.pattern import Pattern

__all__ = ["Approximated", "Bahdanau", "Looking", "Model", "Recurrent", "Transformer"]

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(query, key, value), each `[batch, heads, positions, dim]` → the output."""

DIM, HEADS, LAYERS = 64, 4, 2


class Model(nn.Module):
    """Reads a source, then a prompt, and gives logits for what the prompt asks.

    Args:
        tokens: how many different ones there are.
        symbols: how many different answers.
        out_dim: components of what the answers are read from.
    """

    def __init__(self, tokens: int, symbols: int, out_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, DIM)
        self.head = nn.Linear(out_dim, symbols)

    def inputs(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Tokens and where they stand: `[batch, positions, parts]` → `[batch, positions, dim]`."""
        found: Tensor = self.embedding(tokens).sum(-2)
        return found + sinusoidal(tokens.shape[-2], DIM, start=start).to(found)

    def parameter_count(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    @abstractmethod
    def forward(self, source: Tensor, prompt: Tensor) -> Tensor:
        """`[batch, sources, parts]`, `[batch, answers, parts]` → `[batch, answers, symbols]`."""

    @abstractmethod
    def links(self, length: int) -> Tensor:
        """Which position (row) reads which (column) in one step: bool `[length, length]`."""

    @abstractmethod
    def sequential(self, length: int) -> int:
        """How many steps wait for one another, one after the other."""


class Recurrent(Model):
    """A GRU reads the source, and hands its last state to a GRU that answers (Sutskever et al. 2014; Cho et al. 2014).

    Args:
        tokens: as of `Model`; so is symbols.
        width: components of the states.
    """

    writer: nn.Module
    attention: nn.Module

    def __init__(self, tokens: int, symbols: int, width: int) -> None:
        super().__init__(tokens, symbols, width)
        self.reader, self.writer = nn.GRU(DIM, width, batch_first=True), nn.GRU(DIM, width, batch_first=True)

    def forward(self, source: Tensor, prompt: Tensor) -> Tensor:
        memory, state = self.reader(self.inputs(source))
        return self.head(self.written(memory, state, self.inputs(prompt, source.shape[-2])))  # type: ignore[no-any-return]

    def written(self, memory: Tensor, state: Tensor, prompt: Tensor) -> Tensor:
        """The states that answer: `[batch, sources, width]`, `[1, batch, width]`, `[batch, answers, dim]`."""
        states: Tensor = self.writer(prompt, state)[0]
        return states

    def links(self, length: int) -> Tensor:
        place = torch.arange(length)
        return place[:, None] - place == 1

    def sequential(self, length: int) -> int:
        return length


class Looking(Recurrent):
    """The same; each state of the answer looks back at all states of the source, by Luong's *general* score."""

    def __init__(self, tokens: int, symbols: int, width: int) -> None:
        super().__init__(tokens, symbols, width)
        self.attention = Luong(width, out_dim=width)

    def written(self, memory: Tensor, state: Tensor, prompt: Tensor) -> Tensor:
        seen: Tensor = self.attention(super().written(memory, state, prompt), memory)
        return seen

    def links(self, length: int) -> Tensor:
        place = torch.arange(length)
        return super().links(length) | ((place[:, None] >= length // 2) & (place < length // 2))


class Bahdanau(Looking):
    """The same by Bahdanau's score: state and prompt look back, and the next state is made of what they saw.

    So each look waits for the one before. That the prompt looks too is Sennrich et al. 2017 (Nematus): the state alone
    does not know yet what is asked.
    """

    def __init__(self, tokens: int, symbols: int, width: int) -> None:
        Recurrent.__init__(self, tokens, symbols, width)
        self.attention, self.writer = Additive(width + DIM, width, width), nn.GRUCell(DIM + width, width)

    def written(self, memory: Tensor, state: Tensor, prompt: Tensor) -> Tensor:
        state, made = state[0], []
        for given in prompt.unbind(1):
            seen = self.attention(torch.cat((state, given), -1)[:, None], memory)[:, 0]
            state = self.writer(torch.cat((given, seen), -1), state)
            made.append(state)
        return torch.stack(made, 1)


class Transformer(Model):
    """Two blocks over source and prompt together, any position to any that the pattern shows (Vaswani et al. 2017).

    Args:
        tokens: as of `Model`; so is symbols.
        hidden: components inside of a block's second half.
        pattern: what a position sees, by length; None is everything.
        approximation: in place of the exact equation.
    """

    def __init__(
        self,
        tokens: int,
        symbols: int,
        hidden: int,
        pattern: Callable[[int], Pattern] | None = None,
        approximation: Attend | None = None,
    ) -> None:
        super().__init__(tokens, symbols, DIM)
        self.pattern = pattern
        layers = [MultiHead(DIM, HEADS) for _ in range(LAYERS)]
        given = layers if approximation is None else [Approximated(layer, approximation) for layer in layers]
        self.encoder = Encoder(Block(layer, hidden=hidden) for layer in given)

    def forward(self, source: Tensor, prompt: Tensor) -> Tensor:
        inputs = self.inputs(torch.cat((source, prompt), -2))
        pattern = None if self.pattern is None else self.pattern(inputs.shape[-2])
        return self.head(self.encoder(inputs, pattern=pattern)[:, source.shape[-2] :])  # type: ignore[no-any-return]

    def links(self, length: int) -> Tensor:
        place = torch.arange(length)
        if self.pattern is None:
            return torch.ones(length, length, dtype=torch.bool)
        return self.pattern(length).allows(place[:, None], place)

    def sequential(self, length: int) -> int:
        return LAYERS


class Approximated(nn.Module):
    """A `MultiHead` layer whose heads attend by an approximation.

    Args:
        layer: whose projections are used.
        attend: the approximation.
    """

    def __init__(self, layer: MultiHead, attend: Attend) -> None:
        super().__init__()
        self.layer, self.attend, self.dim = layer, attend, layer.dim

    def forward(self, inputs: Tensor) -> Tensor:
        """`[batch, positions, dim]` → the same."""
        parts = (self.layer.query(inputs), self.layer.key(inputs), self.layer.value(inputs))
        seen = self.attend(*(part.unflatten(-1, (self.layer.heads, -1)).transpose(1, 2) for part in parts))
        return self.layer.out(seen.transpose(1, 2).flatten(-2))  # type: ignore[no-any-return]
