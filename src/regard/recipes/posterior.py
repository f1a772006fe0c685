"""Posterior: are attention's weights probabilities, and does their entropy say when an answer is unsure?

The equation: P(class | x) = Σ_k w_k · v_k, w = softmax_k(−‖x − μ_k‖² / 2σ² + log π_k): scores by distance, a bias per
key. With the true means μ, width σ, shares π and classes v it is Bayes' theorem for a mixture of Gaussians; attention
learns μ, σ, log π and v from examples.

The data: a mixture of nine Gaussians in the plane and three classes, three parts each, drawn by the seed, so that the
true posterior of every point is known. Beside: logistic regression, a network of one hidden layer; another kind of
attention, over all examples (Nadaraya–Watson), of which one number is fitted by leaving one out; the others learn from
four fifths and stop by the last fifth. Held-out points are drawn by another generator.

The result (recipes/RESULTS.md): given the mixture, attention is Bayes exactly. Learned from 300 examples, attention
over all of them is nearest to the truth in the mean, by less than the spread; over 18 learned keys it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss, one_hot

from regard.nn import NadarayaWatson
from regard.recipes.certainty import entropy, judged, unsure
from regard.recipes.mixture import CLASSES, PARTS, Mixture, drawn, truth_of
from regard.recipes.recipe import ATTENTION, BASELINE, BOUND, Family, Measure, Recipe, Work
from regard.terms.pattern import window

if TYPE_CHECKING:
    from matplotlib.figure import Figure
HELD = 1 << 32
"""Added to the seed of held-out points."""


def learn(work: Work, seed: int) -> None:
    """Every model from the same examples, judged by the same points."""
    truth = truth_of(torch.Generator().manual_seed(seed))
    x, y = drawn(truth, 60 if work.quick else 300, torch.Generator().manual_seed(seed))
    new, label = drawn(truth, 500 if work.quick else 5000, torch.Generator().manual_seed(seed + HELD))
    with torch.no_grad():
        exact = truth(new).exp()
    steps = 60 if work.quick else 500
    models: tuple[tuple[str, Family, Callable[[], Callable[[Tensor], Tensor]]], ...] = (
        ("Bayes, exact", BOUND, lambda: truth),
        ("logistic regression", BASELINE, lambda: _trained(nn.Linear(2, CLASSES), x, y, steps)),
        ("network, 64 hidden", BASELINE, lambda: _trained(_network(), x, y, steps)),
        ("attention over the examples", ATTENTION, lambda: _over_examples(x, y, steps // 5)),
        ("attention over 18 learned keys", ATTENTION, lambda: _trained(_learner(x), x, y, steps)),
    )
    for name, family, made in models:
        work.note(name)
        model = made()
        with torch.no_grad():
            said = model(new).exp()
        work.add("a mixture of nine", name, family, seed, judged(said, label, exact))
    work.show(x=x, y=y, wrong=unsure(exact), entropy=entropy(said), truth=truth, learned=model)


def _learner(x: Tensor) -> Mixture:
    """Twice as many keys as there are parts, at examples, of no class yet."""
    count = 2 * PARTS
    return Mixture(x[:count], 1.0, torch.full((count,), 1 / count), 0.1 * torch.randn(count, CLASSES))


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, CLASSES))


def _trained(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> Callable[[Tensor], Tensor]:
    """By cross-entropy on four fifths of the examples, up to the step at which the last fifth is told best."""
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    learned, best, kept = len(x) * 4 // 5, float("inf"), model.state_dict()
    for _ in range(steps):
        losses = nll_loss(model(x).log_softmax(-1), y, reduction="none")
        told = float(losses[learned:].detach().mean())
        if told < best:
            best, kept = told, {name: part.clone() for name, part in model.state_dict().items()}
        optimizer.zero_grad()
        losses[:learned].mean().backward()
        optimizer.step()
    model.load_state_dict(kept)
    return lambda points: model(points).log_softmax(-1)


def _over_examples(x: Tensor, y: Tensor, steps: int) -> Callable[[Tensor], Tensor]:
    """The bandwidth is fitted by the cross-entropy of every example as the others say it."""
    layer, classes = NadarayaWatson(2, 0.5), one_hot(y, CLASSES).float()
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)

    def logs(points: Tensor, **pattern: Any) -> Tensor:
        shares: Tensor = layer(points, x, classes, **pattern)
        return (shares + 1e-3).log().log_softmax(-1)

    for _ in range(steps):
        optimizer.zero_grad()
        nll_loss(logs(x, pattern=~window(1)), y).backward()
        optimizer.step()
    return logs


@torch.no_grad()
def draw(figure: Figure, shown: dict[str, Any]) -> None:
    """True and learned uncertainty over the plane with the examples, and entropy against true error."""
    left, middle, right = figure.subplots(1, 3)
    line = torch.linspace(-4.5, 4.5, 120)
    grid = torch.cartesian_prod(line, line)
    for panel, title, model in ((left, "Bayes, exact", shown["truth"]), (middle, "attention", shown["learned"])):
        map_ = entropy(model(grid).exp()).reshape(120, 120).T
        picture = panel.imshow(map_, origin="lower", extent=(-4.5, 4.5, -4.5, 4.5), cmap="cividis", vmin=0, vmax=1.1)
        for label, mark in enumerate("os^"):
            x = shown["x"][shown["y"] == label]
            panel.scatter(x[:, 0], x[:, 1], s=9, marker=mark, facecolor="none", edgecolor="white", linewidth=0.5)
        panel.set(title=f"{title}: entropy", xlim=(-4.5, 4.5), ylim=(-4.5, 4.5))
    figure.colorbar(picture, ax=[left, middle], label="nats", shrink=0.8)
    right.scatter(shown["entropy"], shown["wrong"], s=4, alpha=0.3, color="#0072B2", linewidth=0)
    right.set(xlabel="entropy of attention's answer, nats", ylabel="true probability of error", title="held-out points")


RECIPE = Recipe(
    "posterior",
    "Are attention's weights probabilities, and does their entropy say when an answer is unsure?",
    "A mixture of nine Gaussians of three classes, 300 examples, judged by 5,000 other points; KL is from the truth.",
    (Measure("KL", ".4f", "less"), Measure("log loss", ".3f"), Measure("right, %", ".1f"),
     Measure("miscalibrated, %", ".1f"), Measure("entropy~error", ".3f")),
    learn,
    draw,
    (14, 4.2),
    "A few hundred examples don't say where nine parts end, and attention's form alone does not make up for them.",
)  # fmt: skip
