"""Ways to draw a curve through points without attention, and the answer that all ways give alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from regard import data

__all__ = ["LEVEL", "Answer", "even", "nearest", "spline"]

LEVEL = 0.9
"""The share of points that an interval means to hold."""


@dataclass(frozen=True)
class Answer:
    """What a model says of new points: its guesses, its intervals, and how far it is off known ones left out."""

    guess: Tensor
    low: Tensor
    high: Tensor
    left_out: Tensor


Model = Callable[[Tensor, Tensor, Tensor], Answer]


def nearest(x: Tensor, y: Tensor, new: Tensor) -> Answer:
    """The mean of the k nearest points; k is the one that predicts points left out best."""
    most = 30
    apart = (x[:, None] - x).abs().fill_diagonal_(float("inf"))
    means = y[apart.argsort(dim=1, stable=True)[:, :most]].cumsum(1) / torch.arange(1, most + 1)
    k = int((means - y[:, None]).square().mean(0).argmin())
    order = (new[:, None] - x).abs().argsort(dim=1, stable=True)[:, : k + 1]
    return even(y[order].mean(1), means[:, k] - y)


def spline(x: Tensor, y: Tensor, new: Tensor) -> Answer:
    """A cubic spline; its penalty is the one that predicts points left out best."""
    preprocessing: Any = data.extra("sklearn.preprocessing", "scikit-learn", "recipes")
    linear: Any = data.extra("sklearn.linear_model", "scikit-learn", "recipes")
    bends = preprocessing.SplineTransformer(n_knots=16, knots="quantile", extrapolation="linear")
    inside = bends.fit_transform(x[:, None].numpy())
    ridge = linear.RidgeCV(torch.logspace(-4, 3, 22).tolist(), store_cv_results=True, scoring=None)
    ridge.fit(inside, y.numpy())
    column = min(range(22), key=lambda one: float(ridge.cv_results_[:, one].mean()))
    left_out = torch.as_tensor(ridge.cv_results_[:, column]).sqrt()  # squares are kept: signs don't matter here
    return even(torch.as_tensor(ridge.predict(bends.transform(new[:, None].numpy()))), left_out)


def even(guess: Tensor, left_out: Tensor) -> Answer:
    """The same interval everywhere: as wide as holds nine tenths of the points left out."""
    half = left_out.abs().quantile(LEVEL)
    return Answer(guess, guess - half, guess + half, left_out)
