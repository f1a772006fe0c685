"""Convolve: is a convolution a special case of attention, down to the predictions of a trained network?

The equation: out_i = Σ_h W_h Σ_j w_h,ij x_j, w_h,i = softmax_j(−‖p_i + Δ_h − p_j‖² / 2σ²). One head for every place of
the kernel looks at that place and, σ being small, nowhere else; W_h is the kernel's matrix there.

The data: a network of two convolutions and a linear layer, trained here on Fashion-MNIST's training pictures and judged
by its test pictures. Then its convolutions are replaced by `rg.nn.convolution_as_attention`, with no further training.
Beside: the network itself; logistic regression on the pixels; and, so that it shows that the comparison can fail, the
same attention with heads ten times as wide, which look at more than one place.

The result (recipes/RESULTS.md): yes. All answers are the same, logits differ by 2e-7 of the largest; it takes some
twenty to forty times as long.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regard import data
from regard.attention import weights
from regard.nn import ConvolutionAsAttention, convolution_as_attention
from regard.recipes.recipe import ATTENTION, BASELINE, Measure, Recipe, Work
from regard.terms.score import gaussian

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLERANCE, WIDER, BATCH = 1e-5, 10.0, 100


def learn(work: Work, seed: int) -> None:
    """Train, replace, compare."""
    images = data.fashion()
    trained, judged = (2000, 50) if work.quick else (20000, 1000)
    order = torch.randperm(len(images.train), generator=torch.Generator().manual_seed(seed))[:trained]
    test, label = images.test[:judged], images.test_labels[:judged]
    pixels = _trained(nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10)), images, order, work, "logistic regression")
    network = _trained(_network(), images, order, work, "the network")
    work.note("the same by attention")
    said, seconds = _said(network, test)
    for name, family, model in (
        ("logistic regression", BASELINE, pixels),
        ("the network, convolutions", BASELINE, network),
        ("the network, attention", ATTENTION, replaced(network)),
        ("attention, heads ten times as wide", ATTENTION, _widened(replaced(network))),
    ):
        work.note(name)
        theirs, took = _said(model, test)
        right = (theirs.argmax(-1) == label).double().mean()
        same = (theirs.argmax(-1) == said.argmax(-1)).double().mean()
        apart = (theirs - said).abs().max() / said.abs().max()
        work.add("Fashion-MNIST", name, family, seed, [float(part) for part in (100 * right, 100 * same, apart)])
        if name == "the network, attention":
            holds = "within" if apart <= TOLERANCE else "NOT within"
            work.remark(
                f"Seed {seed}: logits differ by {apart:.1e} of the largest, {holds} {TOLERANCE:g}; attention over all "
                f"places took {took / seconds:,.0f} times as long as the convolutions."
            )
    work.show(picture=test[0, 0], network=network, wide=_widened(replaced(network)))


def replaced(network: nn.Sequential) -> nn.Sequential:
    """The same network, its convolutions as attention."""
    return nn.Sequential(*[convolution_as_attention(one) if isinstance(one, nn.Conv2d) else one for one in network])


def _network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 49, 10),
    )  # fmt: skip


def _trained(model: nn.Sequential, images: data.Images, order: Tensor, work: Work, name: str) -> nn.Sequential:
    """Once through some of the training pictures."""
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for batch in order.split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images.train[batch]), images.train_labels[batch]).backward()
        optimizer.step()
    work.note(f"{name} is trained")
    return model.eval()


def _widened(network: nn.Sequential) -> nn.Sequential:
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, ConvolutionAsAttention):
                layer.width.mul_(WIDER)
    return network


@torch.no_grad()
def _said(model: nn.Sequential, test: Tensor) -> tuple[Tensor, float]:
    """Its logits, and how long they took."""
    began = time.perf_counter()
    said = torch.cat([model(batch) for batch in test.split(BATCH)])
    return said, time.perf_counter() - began


@torch.no_grad()
def draw(figure: Figure, shown: dict[str, Any]) -> None:
    """A picture, and where the heads of one place look, as they are and wider."""
    panels = figure.subplots(1, 3)
    panels[0].imshow(shown["picture"], cmap="gray_r")
    panels[0].set(title="a test picture; × is the place that looks")
    row, column = 14, 14
    places = torch.cartesian_prod(torch.arange(30.0), torch.arange(30.0))
    exact: Any = replaced(shown["network"])
    for panel, title, layer in ((panels[1], "nine heads of the convolution", exact[0]),
                                (panels[2], "ten times as wide", shown["wide"][0])):  # fmt: skip
        query = torch.tensor([float(row), float(column)]) + layer.offset[:, None]
        seen = weights(query, places.expand(1, -1, -1), gaussian(layer.width)).sum((0, 1)).reshape(30, 30)
        map_ = panel.imshow(seen[1:-1, 1:-1], cmap="cividis", vmin=0)
        panel.set(title=title)
        figure.colorbar(map_, ax=panel, label="weight, summed over heads", shrink=0.8)
    for panel in panels:
        panel.plot(column, row, marker="x", color="#D55E00")
        panel.set(xticks=[], yticks=[])


RECIPE = Recipe(
    "convolve",
    "Is a convolution a special case of attention, down to the predictions of a trained network?",
    "Fashion-MNIST: trained once on 20,000 pictures, judged by the first 1,000 test pictures.",
    (Measure("right, %", ".1f", "more"), Measure("same answer, %", ".1f"),
     Measure("logits apart", ".1e")),
    learn,
    draw,
    (12, 4),
    "It is meant to be level: attention here is the very convolution, and the point is that nothing is lost. It gains "
    "nothing either, and it costs places² in place of places.",
)  # fmt: skip
