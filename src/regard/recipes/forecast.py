"""Forecast: does attention at several scales foresee tomorrow's demand of electricity from the last week?

The equation: two hours are a token; out_i = Σ_{j ∈ window_h(i)} w_hij · v_j, another window for every head h, from two
hours to the whole week; then tomorrow looks at the week: out_i = Σ_j softmax_j(q_i · k_j / √d) · v_j.

The data: elecdemand, half-hours of 2014. A forecast reads 336 of them and tells the next 48; what it is told of these
is the calendar alone. Trained on windows that end by 30 September, judged by windows that begin in October: no
half-hour is in both. Beside: the same hour of last week, of yesterday; ridge regression; an LSTM. Both networks tell
the difference to last week, see every week by its own mean and spread, and are told the same of the day. Networks and
penalty were chosen by July to September after learning up to June. One earlier head, which told every two hours alone,
was judged by October, too (222 MW), before that choice was made.

The result (recipes/RESULTS.md): no. Attention, the LSTM and ridge are level, all far ahead of last week's numbers; the
first three hours are ridge's. Before networks saw every week by its own mean, attention was behind last week's numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regard import data
from regard.recipes.forecasters import Normed, Recurrent, Scales
from regard.recipes.recipe import ATTENTION, BASELINE, Measure, Recipe, Work

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DAY, WEEK = 48, 336
STEPS, RATE = 400, 2e-3
LAST, FIRST, EVERY = 273 * DAY, 273 * DAY, 12
"""The half-hour by which training ends, the one at which judging begins, and how far apart judged windows are."""


def windows(length: int, quick: bool) -> tuple[Tensor, Tensor]:
    """The first forecast half-hour of every window: to learn from, to judge by."""
    train = torch.arange(WEEK, LAST - DAY + 1)
    return train, torch.arange(FIRST + WEEK, length - DAY + 1, EVERY * (20 if quick else 1))


class Series:
    """The year as features, in units of the training months."""

    def __init__(self, year: data.Demand) -> None:
        hours = torch.arange(len(year.demand))
        turns = [part(2 * math.pi * hours / period) for period in (DAY, WEEK) for part in (torch.sin, torch.cos)]
        self.calendar = torch.stack((year.workday.float(), *turns), -1)
        self.middle, self.scale = float(year.demand[:LAST].mean()), float(year.demand[:LAST].std())
        self.demand = ((year.demand - self.middle) / self.scale).float()
        warm = year.temperature[:LAST]
        warmth = ((year.temperature - warm.mean()) / warm.std()).float()
        self.past = torch.cat((self.demand[:, None], warmth[:, None], self.calendar), -1)

    def window(self, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The week before `[windows, 336, 7]`, the calendar of the day to tell `[windows, 48, 5]`, its demand."""
        before, day = first[:, None] + torch.arange(-WEEK, 0), first[:, None] + torch.arange(DAY)
        return self.past[before], self.calendar[day], self.demand[day]


def learn(work: Work, seed: int) -> None:
    """Every model from the same windows, judged by the same."""
    series = Series(data.elecdemand())
    train, judged = windows(len(series.demand), work.quick)
    past, day, truth = series.window(judged)
    week, yesterday = past[:, :DAY, 0], past[:, -DAY:, 0]
    work.note("ridge regression")
    told = {"the same hour last week": week, "the same hour yesterday": yesterday}
    told["ridge"] = _ridge(series, train, judged)
    networks = {"LSTM": Normed(Recurrent()), "attention at several scales": Normed(Scales())}
    for name, model in networks.items():
        _train(model, series, train, work, name, seed)
        model.eval()
        with torch.no_grad():
            told[name] = week + torch.cat([model(*some) for some in zip(past.split(64), day.split(64), strict=True)])
    for name, said in told.items():
        off = 1000 * series.scale * (said - truth).abs()
        family = ATTENTION if name.startswith("attention") else BASELINE
        spans = (off, off[:, :6], off[:, 6:24], off[:, 24:])
        work.add("elecdemand", name, family, seed, [float(span.mean()) for span in spans])
    work.show(series=series, judged=judged, told=told, model=networks["attention at several scales"])


def _train(model: nn.Module, series: Series, train: Tensor, work: Work, name: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    steps = 5 if work.quick else STEPS
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    for step in range(steps):
        past, day, truth = series.window(train[torch.randint(len(train), (32,), generator=generator)])
        optimizer.zero_grad()
        (model(past, day) + past[:, :DAY, 0] - truth).abs().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        work.note(f"{name}, step {step + 1} of {steps}")


def _ridge(series: Series, train: Tensor, judged: Tensor) -> Tensor:
    """From the week as the networks see it, and the calendar of the day to tell: the difference to last week."""
    linear: Any = data.extra("sklearn.linear_model", "scikit-learn", "recipes")
    normed = Normed(nn.Identity()).eval()
    known, new = (_flat(normed, *series.window(first)) for first in (train[::4], judged))
    fitted = linear.Ridge(alpha=10.0).fit(known[0].numpy(), known[1].numpy())
    return series.window(judged)[0][:, :DAY, 0] + new[2] * torch.as_tensor(fitted.predict(new[0].numpy())).float()


def _flat(normed: Normed, past: Tensor, day: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    seen, _, spread = normed.seen(past, day)
    return torch.cat((seen[..., :2].flatten(1), day.flatten(1)), -1), (truth - past[:, :DAY, 0]) / spread, spread


@torch.no_grad()
def draw(figure: Figure, shown: dict[str, Any]) -> None:
    """A day told beside what came, and where in the week before its half-hours looked."""
    series, judged, told, model = (shown[name] for name in ("series", "judged", "told", "model"))
    one = len(judged) // 3 // 4 * 4  # a window that begins at midnight
    past, day, truth = series.window(judged[one : one + 1])
    seen = model.network.looked(*model.seen(past, day)[:2])[0]
    top, below = figure.subplots(2, 1, height_ratios=(3, 2))
    hours, scale = torch.arange(-WEEK, DAY) / 2, series.scale
    top.plot(hours[:WEEK], series.middle + scale * past[0, :, 0], color="#555555", linewidth=1)
    lines = {"what came": (truth[0], "black", "-")}
    for name, colour, dash in (("attention at several scales", "#0072B2", "-"), ("LSTM", "#D55E00", "--"),
                               ("ridge", "#009E73", ":")):  # fmt: skip
        lines[name] = (told[name][one], colour, dash)
    for name, (line, colour, dash) in lines.items():
        top.plot(hours[WEEK:], series.middle + scale * line, color=colour, linestyle=dash, label=name)
    top.set(ylabel="demand, GW", xlim=(-WEEK / 2, DAY / 2))
    top.margins(y=0.2)
    top.legend(frameon=False, fontsize=8, loc="upper left", ncols=4)
    map_ = below.imshow(seen, cmap="cividis", aspect="auto", extent=(-WEEK / 2, 0, DAY / 2, 0), interpolation="nearest")
    below.set(xlabel="hours before and after the forecast is made", ylabel="hour told", xlim=(-WEEK / 2, DAY / 2))
    figure.colorbar(map_, ax=below, label="weight, mean of heads", shrink=0.8)


RECIPE = Recipe(
    "forecast",
    "Does attention at several scales foresee tomorrow's demand of electricity from the last week?",
    "elecdemand: half-hours of 2014, learned to the end of September, judged from 8 October on; 24 hours ahead.",
    (Measure("off by, MW", ".0f", "less"), Measure("first 3 hours", ".0f"), Measure("3 to 12", ".0f"),
     Measure("12 to 24", ".0f")),
    learn,
    draw,
    (11, 6),
    "Most of tomorrow follows from last week and the calendar, and an LSTM that is told the same finds as much of it. "
    "What helps most is no kind of network: to see every week by its own mean and spread.",
)  # fmt: skip
