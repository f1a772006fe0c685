"""A mixture of Gaussians as attention: over its parts, by distance, with a bias for how common each is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regard.attention import attend
from regard.rule import Rule
from regard.terms.bias import keys
from regard.terms.score import gaussian

__all__ = ["CLASSES", "PARTS", "Mixture", "drawn", "truth_of"]

PARTS, CLASSES, WIDTH = 9, 3, 0.55


class Mixture(nn.Module):
    """Attention over a few keys that stand for the parts of a mixture."""

    def __init__(self, means: Tensor, width: float, shares: Tensor, classes: Tensor) -> None:
        super().__init__()
        self.means, self.classes = nn.Parameter(means.clone()), nn.Parameter(classes.clone())
        self.log_width, self.log_shares = nn.Parameter(torch.tensor([width]).log()), nn.Parameter(shares.log())

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities of the classes, `[points, classes]`."""
        rule = Rule(score=gaussian(self.log_width.exp()), bias=keys(self.log_shares[None]))
        seen = attend(x[None], self.means[None], self.classes.softmax(-1)[None], rule, query_start=0)
        return seen[0].clamp(min=1e-9).log()


def truth_of(generator: torch.Generator) -> Mixture:
    """A mixture: parts in a box, each of one class; its log-probabilities are Bayes'."""
    means = 6 * torch.rand(PARTS, 2, generator=generator) - 3
    shares = torch.rand(PARTS, generator=generator) + 0.5
    classes = torch.eye(CLASSES).repeat(PARTS // CLASSES, 1) * 1e4  # softmax of this is 0 or 1 exactly
    return Mixture(means, WIDTH, shares / shares.sum(), classes)


def drawn(truth: Mixture, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points of it, and their classes."""
    part = truth.log_shares.detach().exp().multinomial(count, True, generator=generator)
    noise = WIDTH * torch.randn(count, 2, generator=generator)
    return truth.means.detach()[part] + noise, truth.classes.detach()[part].argmax(-1)
