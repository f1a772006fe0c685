"""Networks that name what a picture shows: by convolutions, by attention, by both."""

from __future__ import annotations

from torch import Tensor, nn

from regard.nn import Block, Encoder, LearnedPositions, MultiHead, Neighborhood, Spatial
from regard.recipes.pooling import Pooled

__all__ = ["Near", "ViT", "convolutions"]

DIM, HEADS, KINDS = 64, 4, 10


def convolutions(gated: bool) -> nn.Sequential:
    """Three convolutions, `[pictures, 1, 28, 28]` → `[pictures, 10]`; gated: CBAM after each of them."""
    layers: list[nn.Module] = []
    for before, after in ((1, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2), *([Spatial(after)] if gated else [])]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(64 * 9, KINDS))


class ViT(nn.Module):
    """A vision transformer: squares of 4 × 4 as tokens, each looks at all."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.place = nn.Conv2d(1, DIM, 4, stride=4), LearnedPositions(49, DIM)
        self.blocks = Encoder([Block(MultiHead(DIM, HEADS), hidden=2 * DIM) for _ in range(4)])
        self.pool, self.end = Pooled(DIM, HEADS), nn.Linear(DIM, KINDS)

    def forward(self, pictures: Tensor) -> Tensor:
        """`[pictures, 1, 28, 28]` → `[pictures, 10]`."""
        return self.end(self.pool(self.read(pictures)))  # type: ignore[no-any-return]

    def read(self, pictures: Tensor) -> Tensor:
        """The places, `[pictures, 49, 64]`."""
        return self.blocks(self.place(self.patch(pictures).flatten(2).mT))  # type: ignore[no-any-return]


class Near(nn.Module):
    """Neighbourhood attention: 14 × 14 places, then 7 × 7, each looks at the 5 × 5 around it."""

    def __init__(self) -> None:
        super().__init__()
        half = DIM // 2
        self.first, self.second = nn.Conv2d(1, half, 3, 2, 1), nn.Conv2d(half, DIM, 3, 2, 1)
        self.fine, self.coarse = (
            nn.Sequential(*[Block(Neighborhood(dim, dim // 16, (5, 5)), hidden=2 * dim) for _ in range(2)])
            for dim in (half, DIM)
        )
        self.norm, self.pool, self.end = nn.LayerNorm(DIM), Pooled(DIM, HEADS), nn.Linear(DIM, KINDS)

    def forward(self, pictures: Tensor) -> Tensor:
        """`[pictures, 1, 28, 28]` → `[pictures, 10]`."""
        return self.end(self.pool(self.read(pictures)))  # type: ignore[no-any-return]

    def read(self, pictures: Tensor) -> Tensor:
        """The places, `[pictures, 49, 64]`."""
        fine = self.fine(self.first(pictures).movedim(1, -1))
        coarse = self.coarse(self.second(fine.movedim(-1, 1)).movedim(1, -1))
        return self.norm(coarse).flatten(1, 2)  # type: ignore[no-any-return]
