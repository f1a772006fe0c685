"""Networks that read a week and tell the next day's difference to the same day a week before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regard.nn import Block, MultiHead, Pyramid

__all__ = ["Recurrent", "Scales"]

DAY, DIM, HEADS = 48, 32, 4


class Scales(nn.Module):
    """Two blocks of attention at several scales, and one in which tomorrow looks at them."""

    def __init__(self) -> None:
        super().__init__()
        self.past, self.day = nn.Linear(7, DIM), nn.Linear(6, DIM)
        self.blocks = nn.Sequential(*[Block(Pyramid(DIM, HEADS, (3, 6, 12, 24), (1, 6, 48))) for _ in range(2)])
        self.norm, self.cross = nn.LayerNorm(DIM), MultiHead(DIM, HEADS)
        self.end = nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, 2 * DIM), nn.GELU(), nn.Linear(2 * DIM, 1))

    def forward(self, past: Tensor, day: Tensor) -> Tensor:
        """The difference to last week, `[windows, 48]`."""
        query, memory = self.met(past, day)
        return self.end(query + self.cross(query, memory))[..., 0]  # type: ignore[no-any-return]

    def met(self, past: Tensor, day: Tensor) -> tuple[Tensor, Tensor]:
        """What looks, and at what."""
        ahead = torch.linspace(0, 1, DAY).expand(len(day), -1)[..., None]
        return self.day(torch.cat((day, ahead), -1)), self.norm(self.blocks(self.past(past)))


class Recurrent(nn.Module):
    """An LSTM reads the week; a network makes tomorrow from its last state and the calendar."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.LSTM(7, 2 * DIM, batch_first=True)
        self.end = nn.Sequential(nn.Linear(2 * DIM + 5 * DAY, 4 * DIM), nn.GELU(), nn.Linear(4 * DIM, DAY))

    def forward(self, past: Tensor, day: Tensor) -> Tensor:
        """The difference to last week, `[windows, 48]`."""
        return self.end(torch.cat((self.read(past)[0][:, -1], day.flatten(1)), -1))  # type: ignore[no-any-return]
