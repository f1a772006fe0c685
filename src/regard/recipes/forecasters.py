"""Networks that read a week and tell how the next day differs from the same day a week before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regard.nn import Block, Encoder, LearnedPositions, MultiHead
from regard.recipes.pooling import looked
from regard.terms.pattern import per_head, window

__all__ = ["Normed", "Recurrent", "Scales"]

DAY, DIM, HEADS, PATCH, INSIDE = 48, 48, 4, 4, 9
"""Half-hours of a day; components; heads; half-hours of a token; numbers of a half-hour to tell, see `Normed`."""
REACH = (1, 3, 12, 84)
"""How many tokens of two hours each head looks back and ahead: two hours, six, a day, the week."""
NOISE, DROP = 0.05, 0.1


class Normed(nn.Module):
    """A network sees a week by its own mean and spread, so that January can teach what October needs.

    What it is told of a half-hour to come: demand and temperature there a week and a day before, and the calendar.
    In training the week is blurred a little.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, past: Tensor, day: Tensor) -> Tensor:
        """Past `[windows, 336, 7]`, the calendar `[windows, 48, 5]` → the difference to last week, `[windows, 48]`."""
        seen, told, spread = self.seen(past, day)
        return spread * self.network(seen, told)  # type: ignore[no-any-return]

    def seen(self, past: Tensor, day: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The week, what is told of the day, and the spread of the week's demand."""
        measured, spread = past[..., :2] - past[..., :2].mean(1, keepdim=True), past[..., 0].std(1, keepdim=True)
        measured = torch.stack((measured[..., 0] / spread, measured[..., 1]), -1)
        if self.training:
            measured = measured + NOISE * torch.randn_like(measured)
        told = torch.cat((measured[:, :DAY], measured[:, -DAY:], day), -1)
        return torch.cat((measured, past[..., 2:]), -1), told, spread


class Scales(nn.Module):
    """Tokens of two hours; two blocks whose heads look at several scales; then tomorrow looks at the whole week."""

    def __init__(self) -> None:
        super().__init__()
        self.past, self.day = nn.Linear(7 * PATCH, DIM), nn.Linear(INSIDE * PATCH + 1, DIM)
        self.place, self.placed = LearnedPositions(7 * DAY // PATCH, DIM), LearnedPositions(DAY // PATCH, DIM)
        near = per_head(*[window(before=reach, after=reach) for reach in REACH])
        blocks = [Block(MultiHead(DIM, HEADS, rule=near), hidden=2 * DIM, dropout=DROP) for _ in range(2)]
        self.blocks, self.norm, self.cross = Encoder(blocks), nn.LayerNorm(DIM), MultiHead(DIM, HEADS)
        self.end = _head(DIM * DAY // PATCH, DAY)

    def forward(self, past: Tensor, told: Tensor) -> Tensor:
        """The difference to last week, `[windows, 48]`."""
        query, memory = self.met(past, told)
        return self.end((query + self.cross(self.norm(query), memory)).flatten(1))  # type: ignore[no-any-return]

    def met(self, past: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """What looks, `[windows, 12, 48]`, and at what, `[windows, 84, 48]`."""
        week, day = (part.unflatten(1, (-1, PATCH)).flatten(2) for part in (past, told))
        gap = _gap(past)[:, None].expand(-1, day.shape[1], -1)
        return self.placed(self.day(torch.cat((day, gap), -1))), self.blocks(self.place(self.past(week)))

    def looked(self, past: Tensor, told: Tensor) -> Tensor:
        """How much every two hours of tomorrow look at each of the week, mean of the heads; `[windows, 12, 84]`."""
        query, memory = self.met(past, told)
        return looked(self.cross, self.norm(query), memory)


class Recurrent(nn.Module):
    """An LSTM reads the same tokens; a network makes tomorrow of its last state and of what is told of the day."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.LSTM(7 * PATCH, 2 * DIM, batch_first=True)
        self.end = _head(2 * DIM + INSIDE * DAY + 1, DAY)

    def forward(self, past: Tensor, told: Tensor) -> Tensor:
        """The difference to last week, `[windows, 48]`."""
        last = self.read(past.unflatten(1, (-1, PATCH)).flatten(2))[0][:, -1]
        return self.end(torch.cat((last, told.flatten(1), _gap(past)), -1))  # type: ignore[no-any-return]


def _gap(past: Tensor) -> Tensor:
    """How far the last half-hour is from the one a week before it, nearly; `[windows, 1]`."""
    return past[:, -1:, 0] - past[:, :1, 0]


def _head(inside: int, outside: int) -> nn.Sequential:
    """Two layers that say nothing at first."""
    last = nn.Linear(2 * DIM, outside)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inside, 2 * DIM), nn.GELU(), nn.Dropout(DROP), last)
