"""How good probabilities are, where the true ones are known."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import nll_loss

__all__ = ["entropy", "judged", "unsure"]

BINS, LEAST = 15, 1e-9


def judged(said: Tensor, label: Tensor, exact: Tensor) -> list[float]:
    """Divergence from the truth, log loss, accuracy, calibration error, and how well entropy ranks true error.

    `KL = Σ_c p_c log(p_c / said_c)`; the calibration error is the mean gap, in 15 bins of confidence, between
    confidence and share of right answers; the last is Spearman's correlation of entropy and true probability of error.

    Args:
        said: probabilities `[points, classes]`.
        label: what was drawn, `[points]`.
        exact: the true probabilities, `[points, classes]`.
    """
    loss = nll_loss(said.clamp(min=LEAST).log(), label)
    divergence = (exact * (exact.clamp(min=LEAST) / said.clamp(min=LEAST)).log()).sum(-1).mean()
    sure, guess = said.max(-1)
    right = (guess == label).double()
    bins = (sure * BINS).long().clamp(max=BINS - 1)
    gap = torch.zeros(BINS).double().index_add(0, bins, right - sure.double()).abs().sum() / len(label)
    ranks = torch.stack([part.argsort().argsort().double() for part in (entropy(said), unsure(exact))])
    return [float(part) for part in (divergence, loss, 100 * right.mean(), 100 * gap, torch.corrcoef(ranks)[0, 1])]


def unsure(exact: Tensor) -> Tensor:
    """How often the best answer is wrong at a point: the true probability of all others."""
    return 1 - exact.max(-1).values


def entropy(said: Tensor) -> Tensor:
    """Of every row, in nats."""
    return -(said * said.clamp(min=LEAST).log()).sum(-1)
