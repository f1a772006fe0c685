"""Regression: does attention over the known points, with a learned bandwidth, predict a new one?

The equation: out_i = Σ_j w_ij · y_j, w_i = softmax_j(−‖(x_i − x_j) / h‖² / 2). Only h is learned, by the error of every
point as the others predict it. Nine tenths of the weights bound an interval at each place.

The data: mcycle (133 readings) and faithful (272 eruptions), in ten folds by the hash of x, so that readings of one
moment are never on both sides. Beside: the same kernel with a bandwidth by rule of thumb, the k nearest points, a cubic
spline; k and the spline's penalty are chosen by leaving one out, too.

The result (recipes/RESULTS.md): no. On mcycle it is far ahead of the rule of thumb and behind the spline; on faithful
all kernels are alike. Its intervals hold 92.6 % on faithful, but 75 % on mcycle, where few points have weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regard import data, nn
from regard.attention import weights
from regard.recipes.recipe import ATTENTION, BASELINE, Family, Measure, Recipe, Work
from regard.recipes.smoothers import LEVEL, Answer, Model, even, nearest, spline
from regard.recipes.splits import folds
from regard.terms.pattern import window
from regard.terms.score import gaussian

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDS = 10


def learn(work: Work, seed: int) -> None:
    """Every model on every fold."""
    for known in (data.mcycle(), data.faithful()):
        fold = folds([f"{x:g}" for x in known.x.tolist()], FOLDS, f"{known.name}/{seed}")
        parts = [part for part in range(FOLDS) if 0 < (fold == part).sum() < len(fold)][: 2 if work.quick else None]
        for name, family, model in MODELS:
            work.note(f"{known.name}, {name}")
            said = [(fold == part, _asked(model, known.x, known.y, fold == part)) for part in parts]
            off = torch.cat([one.guess - known.y[held] for held, one in said])
            inside = torch.cat([(one.low <= known.y[held]) & (known.y[held] <= one.high) for held, one in said])
            width = torch.cat([one.high - one.low for _, one in said]).mean()
            left_out = torch.cat([one.left_out for _, one in said])
            values = (off.square().mean().sqrt(), left_out.square().mean().sqrt(), 100 * inside.double().mean(), width)
            work.add(known.name, name, family, seed, [float(value) for value in values])
        if known.name not in work.shown:
            work.note(f"{known.name}, curves")
            work.show(**{known.name: _curves(known)})


def _asked(model: Model, x: Tensor, y: Tensor, held: Tensor) -> Answer:
    """In units of the spread of the known points, and back."""
    x_scale, (y_mean, y_scale) = x[~held].std(), (y[~held].mean(), y[~held].std())
    said = model(x[~held] / x_scale, (y[~held] - y_mean) / y_scale, x[held] / x_scale)
    guess, low, high = (y_mean + y_scale * part for part in (said.guess, said.low, said.high))
    return Answer(guess, low, high, y_scale * said.left_out)


def _kernel(x: Tensor, steps: int) -> nn.NadarayaWatson:
    """By Silverman's rule of thumb."""
    layer = nn.NadarayaWatson(1, 1.06 * float(x.std()) * len(x) ** -0.2).double()
    layer.requires_grad_(steps > 0)
    return layer


def _fitted(x: Tensor, y: Tensor) -> nn.NadarayaWatson:
    """The bandwidth that predicts left out points best."""
    layer = _kernel(x, steps=120)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    for _ in range(120):
        optimizer.zero_grad()
        layer.leave_one_out(x[:, None], y[:, None]).backward()
        optimizer.step()
    return layer


@torch.no_grad()
def _read(layer: nn.NadarayaWatson, x: Tensor, y: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Its guesses, and how far it is off each known point that is left out."""
    guess = layer(new[:, None], x[:, None], y[:, None])[:, 0]
    return guess, layer(x[:, None], x[:, None], y[:, None], pattern=~window(1))[:, 0] - y


def _learned(x: Tensor, y: Tensor, new: Tensor) -> Answer:
    layer = _fitted(x, y)
    guess, left_out = _read(layer, x, y, new)
    bounds = layer.quantiles(new[:, None], x[:, None], y[:, None], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Answer(guess, bounds[:, 0], bounds[:, 1], left_out)


def _thumb(x: Tensor, y: Tensor, new: Tensor) -> Answer:
    return even(*_read(_kernel(x, steps=0), x, y, new))


MODELS: tuple[tuple[str, Family, Model], ...] = (
    ("kernel by rule of thumb", BASELINE, _thumb),
    ("k nearest", BASELINE, nearest),
    ("cubic spline", BASELINE, spline),
    ("attention, learned bandwidth", ATTENTION, _learned),
)


def _curves(known: data.Points) -> dict[str, Any]:
    """What the figure shows, from all points."""
    grid = torch.linspace(float(known.x.min()), float(known.x.max()), 200, dtype=torch.float64)
    every = torch.cat((known.x, grid))
    held = torch.arange(len(every)) >= len(known.x)
    padded = torch.cat((known.y, torch.zeros_like(grid)))
    learned, bent = (_asked(model, every, padded, held) for model in (_learned, spline))
    at, scale = grid[70:71], known.x.std()
    layer = _fitted(known.x / scale, (known.y - known.y.mean()) / known.y.std())
    rule = gaussian(float(layer.bandwidth.detach() * scale))
    weight = weights(at[:, None], known.x[:, None], rule)[0]
    return {"known": known, "grid": grid, "learned": learned, "spline": bent, "at": float(at), "weight": weight}


def draw(figure: Figure, shown: dict[str, Any]) -> None:
    """The points, the learned curve with its interval, and the kernel at one place."""
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for panel, (name, one) in zip(axes, shown.items(), strict=True):
        known, grid, learned = one["known"], one["grid"], one["learned"]
        band = {"color": "#0072B2", "alpha": 0.15, "label": "nine tenths of its weight"}
        panel.fill_between(grid, learned.low, learned.high, **band)
        dots = panel.scatter(known.x, known.y, c=one["weight"], cmap="cividis_r", s=16, zorder=3)
        panel.plot(grid, learned.guess, color="#0072B2", label="attention, learned bandwidth")
        panel.plot(grid, one["spline"].guess, color="#D55E00", linestyle="--", label="cubic spline")
        panel.axvline(one["at"], color="black", linewidth=0.8, linestyle=":")
        panel.set(xlabel=known.x_name, ylabel=known.y_name, title=name)
        panel.legend(frameon=False, fontsize=8)
        figure.colorbar(dots, ax=panel, label="weight for the dotted place", shrink=0.8)


RECIPE = Recipe(
    "regress",
    "Does attention over the known points, with a learned bandwidth, predict a new one?",
    "mcycle and faithful, ten folds by the hash of x; intervals mean to hold 90 %.",
    (Measure("error, held out", ".3f", "less"), Measure("left out", ".3f"), Measure("in interval, %", ".1f"),
     Measure("width", ".2f")),
    learn,
    draw,
    (12, 4.5),
    "One number is learned, a bandwidth for all places. Where the rule of thumb finds nearly the same one there is "
    "little to gain, and where the curve turns fast in one place and is flat in another, no single one is right.",
)  # fmt: skip
