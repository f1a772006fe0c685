"""Ensemble: is attention an ensemble of heads: how many can go, and does an importance say which?

The equation: what a layer's heads give is mixed, Σ_h ξ_h · W_h Σ_j w_hij v_hj with all ξ_h = 1; a head that goes has
ξ_h = 0. Its importance is what the loss then gains (a pass a head), or mean |∂loss/∂ξ_h| (one pass with gradients; over
the length of its layer's, as in the source).

The data: sentences from reviews on Rotten Tomatoes, split by film as in `classify`; a fifth of the films judges. From
1,600 of the others logistic regression learns over MiniLM's states, and importances are measured on 96 of these.
Beside: heads removed at random, a mean over two orders; the bound is the model with all of its 72 heads.

The result (recipes/RESULTS.md): by the gradient, yes: without half of the heads 70.5 % are right, with all 68.2, by
chance 64.2; by the loss of each alone no better than by chance. Source: Michel, Levy & Neubig 2019, "Are Sixteen Heads
Really Better than One?".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from regard import data
from regard.recipes.classify import split
from regard.recipes.readers import Pretrained, verdicts
from regard.recipes.recipe import ATTENTION, BASELINE, BOUND, Measure, Recipe, Work

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TUNED, MEASURED, JUDGED, ORDERS = 1600, 96, 400, 2
SHARES = (0.5, 0.25, 0.75)
"""Of the heads that go; the first decides."""
QUICK = {"tuned": 96, "measured": 8, "judged": 48}
TABLE = "right, %, as heads of MiniLM go"

Order = Sequence[tuple[int, int]]


def learn(work: Work, seed: int) -> None:
    """Learn a layer on top, weigh every head, and judge what is left after each order."""
    all_ = data.reviews()
    held, label = split(all_), all_.labels
    train, judged = (side[torch.randperm(len(side))] for side in ((~held).nonzero()[:, 0], held.nonzero()[:, 0]))
    tuned, measured, judged = _some(work, train, judged)
    model = Pretrained([text[:200] for text in all_.texts])
    _probed(work, model, label, tuned)
    right = partial(_right, model, label, judged)
    whole = right({})
    work.add(TABLE, "no head removed", BOUND, seed, [whole] * len(SHARES))
    orders = _weighed(work, model, label, measured)
    drawn = [(0.0, dict.fromkeys((*orders, "at random"), whole))]
    heads = next(iter(orders.values()))
    chance = [[heads[at] for at in torch.randperm(len(heads)).tolist()] for _ in range(1 if work.quick else ORDERS)]
    for share in SHARES:
        gone = round(share * len(heads))
        work.note(f"{gone} of {len(heads)} heads removed")
        found = {name: right(_by_layer(order[:gone])) for name, order in orders.items()}
        found["at random"] = sum(right(_by_layer(order[:gone])) for order in chance) / len(chance)
        drawn.append((share, found))
    for name in orders:
        work.add(TABLE, f"least first: {name}", ATTENTION, seed, [found[name] for _, found in drawn[1:]])
    work.add(TABLE, "at random", BASELINE, seed, [found["at random"] for _, found in drawn[1:]])
    last = orders["loss without it"][-1]
    work.remark(f"By what the loss gains, the most important head of seed {seed} is layer {last[0]} head {last[1]}.")
    work.show(curves=drawn, count=len(heads))


def _some(work: Work, train: Tensor, judged: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Those to learn from, those of them to measure heads on, and those that judge."""
    sizes = QUICK if work.quick else {"tuned": TUNED, "measured": MEASURED, "judged": JUDGED}
    return train[: sizes["tuned"]], train[: sizes["measured"]], judged[: sizes["judged"]]


def _probed(work: Work, model: Pretrained, label: Tensor, tuned: Tensor) -> None:
    """The layer on top becomes logistic regression over the states of the frozen model."""
    linear: Any = data.extra("sklearn.linear_model", "scikit-learn", "recipes")
    model.eval()
    with torch.no_grad():
        work.note(f"states of {len(tuned)} sentences")
        states = [model.features(part) for part in tuned.split(64)]
        fitted = linear.LogisticRegression(C=4.0, max_iter=2000).fit(torch.cat(states).double().numpy(), label[tuned])
        half = torch.as_tensor(fitted.coef_, dtype=torch.float32) / 2
        model.end.weight.copy_(torch.cat([-half, half]))
        middle = torch.as_tensor(fitted.intercept_, dtype=torch.float32) / 2
        model.end.bias.copy_(torch.cat([-middle, middle]))


def _weighed(work: Work, model: Pretrained, label: Tensor, measured: Tensor) -> dict[str, Order]:
    """The heads by each importance, the least first."""
    from regard.huggingface import importance_by_gradient, importance_by_masking

    def losses(some: Tensor) -> Tensor:
        return cross_entropy(model(some), label[some], reduction="none")

    parts = measured.split(64)
    masked = importance_by_masking(model.body, losses, parts, lambda said: work.note(f"importance of {said}"))
    work.note("importance by gradient")
    return {
        "loss without it": masked.order(),
        "gradient": importance_by_gradient(model.body, losses, parts).by_layer().order(),
    }


def _right(model: Pretrained, label: Tensor, judged: Tensor, gone: dict[int, list[int]]) -> float:
    """How many of the judges' verdicts are right without these heads, in %."""
    from regard.huggingface import mask_heads

    with mask_heads(model.body, gone):
        told = verdicts(model, torch.arange(len(label)), judged)
    return 100 * float((told == label[judged]).double().mean())


def _by_layer(heads: Order) -> dict[int, list[int]]:
    made: dict[int, list[int]] = {}
    for layer, head in heads:
        made.setdefault(layer, []).append(head)
    return made


def draw(figure: Figure, shown: dict[str, Any]) -> None:
    """What is right as heads are removed."""
    from matplotlib import colormaps

    panel, curves = figure.subplots(), shown["curves"]
    curves = sorted(curves, key=lambda point: point[0])
    for place, name in enumerate(curves[0][1]):
        values, share = [found[name] for _, found in curves], [100 * share for share, _ in curves]
        line = "--" if name == "at random" else "-"
        panel.plot(share, values, line, color=colormaps["cividis"](0.45 * place), marker="o", label=name)
    panel.axhline(50, color="#777777", linewidth=0.8, linestyle=":", label="chance")
    panel.set(xlabel=f"heads removed, % of {shown['count']}, the least important first", ylabel="right, %")
    panel.set_title("held-out reviews, first seed: MiniLM as its heads go", fontsize=10)
    panel.legend(frameon=False, fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)


RECIPE = Recipe(
    "ensemble",
    "Is attention an ensemble of heads: how many can be removed, and does an importance say which?",
    "MiniLM, a layer on top learned from 1,600 sentences of Rotten Tomatoes; importances on 96; 400 others judge.",
    tuple(Measure(f"{share:.0%} gone", ".1f", "more") for share in SHARES),
    learn,
    draw,
    (7, 4.5),
    "An importance of single heads does not see that others stand in for those that have gone.",
)
