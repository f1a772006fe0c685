"""Attention in feature maps: CBAM's gates, which are no pairs of anything, and the non-local block, which is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regard.attention import attend
from regard.errors import InputError
from regard.nn.checks import check_sizes
from regard.nn.held import Held
from regard.rule import Rule, as_rule
from regard.terms.score import dot
from regard.terms.tree import Term

__all__ = ["ChannelGate", "NonLocal", "Spatial", "SpatialGate"]


class ChannelGate(nn.Module):
    """CBAM's gate of channels.

    `out = σ(MLP(mean_space x) + MLP(max_space x)) · x`, one MLP of two layers for both

    No query meets a key here (docs/fence.md): it is a gate, in plain PyTorch.

    Args:
        channels: how many.
        reduction: the hidden layer has channels / reduction units, at least one.

    Errors: InputError for a map that is not `[batch, channels, *space]`.

    Source: Woo et al. 2018, "CBAM: Convolutional Block Attention Module".
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        check_sizes("ChannelGate", channels=channels, reduction=reduction)
        self.channels, hidden = channels, max(1, channels // reduction)
        self.network = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, maps: Tensor) -> Tensor:
        """`[batch, channels, *space]` → the same."""
        _check("ChannelGate", maps, self.channels)
        cells = maps.flatten(2)
        gate = (self.network(cells.mean(-1)) + self.network(cells.amax(-1))).sigmoid()
        return maps * gate.reshape(*gate.shape, *[1] * (maps.ndim - 2))  # type: ignore[no-any-return]


class SpatialGate(nn.Module):
    """CBAM's gate of places.

    `out = σ(conv([mean_channels x; max_channels x])) · x`

    Args:
        window: side of the convolution, odd.

    Errors: InputError for a map that is not `[batch, channels, rows, columns]`, and for an even window.

    Source: Woo et al. 2018, "CBAM: Convolutional Block Attention Module".
    """

    def __init__(self, window: int = 7) -> None:
        super().__init__()
        check_sizes("SpatialGate", window=window)
        if window % 2 == 0:
            raise InputError(f"SpatialGate(window) needs an odd number, so that it has a middle, got {window}")
        self.conv = nn.Conv2d(2, 1, window, padding=window // 2)

    def forward(self, maps: Tensor) -> Tensor:
        """`[batch, channels, rows, columns]` → the same."""
        _check("SpatialGate", maps, None, axes=4)
        gate = self.conv(torch.stack((maps.mean(1), maps.amax(1)), 1)).sigmoid()
        return maps * gate  # type: ignore[no-any-return]


class Spatial(nn.Sequential):
    """CBAM: first which channels, then which places.

    `out = SpatialGate(ChannelGate(x))`

    Args:
        channels: how many.
        reduction: of the channel gate's hidden layer.
        window: side of the spatial gate's convolution, odd.

    Errors: those of the two gates.

    Source: Woo et al. 2018, "CBAM: Convolutional Block Attention Module".
    """

    def __init__(self, channels: int, reduction: int = 16, window: int = 7) -> None:
        super().__init__(ChannelGate(channels, reduction), SpatialGate(window))


class NonLocal(nn.Module):
    """The non-local block: every place of a map looks at every other.

    `out_i = x_i + W_o Σ_j softmax_j(W_q x_i · W_k x_j) · W_v x_j`, W_o = 0 at first

    Args:
        channels: of the map.
        hidden: of queries, keys and values; None is half of the channels, at least 1.
        heads: a divisor of `hidden`.
        rule: a `Rule`, one term of it, as `neighborhood(7, (h, w))`; None is softmax over products, unscaled, as in the
            paper ("embedded Gaussian").
        pool: keys and values are the greatest of blocks of pool × pool places; 1 is all places.

    Errors: InputError for sizes that don't fit, and for a map that is not `[batch, channels, *space]`.

    Source: Wang et al. 2018, "Non-local Neural Networks".
    """

    def __init__(
        self,
        channels: int,
        hidden: int | None = None,
        *,
        heads: int = 1,
        rule: Rule | Term | None = None,
        pool: int = 1,
    ) -> None:
        super().__init__()
        hidden = max(1, channels // 2) if hidden is None else hidden
        check_sizes("NonLocal", channels=channels, hidden=hidden, heads=heads, pool=pool)
        if hidden % heads:
            raise InputError(f"NonLocal needs hidden as a multiple of heads, got {hidden} and {heads}")
        self.channels, self.heads, self.pool = channels, heads, pool
        self.query, self.key, self.value = (nn.Linear(channels, hidden) for _ in range(3))
        self.out = nn.Linear(hidden, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.rule = Held(dot(1.0) if rule is None else as_rule(rule))

    def forward(self, maps: Tensor) -> Tensor:
        """`[batch, channels, *space]` → the same; space has one to three axes."""
        _check("NonLocal", maps, self.channels)
        cells, keys = maps.flatten(2).mT, self._pooled(maps).flatten(2).mT
        query, key, value = self._heads(self.query(cells)), self._heads(self.key(keys)), self._heads(self.value(keys))
        seen = attend(query, key, value, self.rule(), query_start=0).transpose(1, 2).flatten(2)
        return maps + self.out(seen).mT.reshape(maps.shape)  # type: ignore[no-any-return]

    def _heads(self, rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # type: ignore[no-any-return]

    def _pooled(self, maps: Tensor) -> Tensor:
        if self.pool == 1:
            return maps
        if min(maps.shape[2:]) < self.pool:
            raise InputError(f"NonLocal(pool={self.pool}) needs maps at least as large, got {list(maps.shape)}")
        pooling = (nn.functional.max_pool1d, nn.functional.max_pool2d, nn.functional.max_pool3d)[maps.ndim - 3]
        return pooling(maps, self.pool)

    def extra_repr(self) -> str:
        """Its sizes, as modules print them."""
        heads = f", heads={self.heads}" if self.heads > 1 else ""
        return f"{self.channels}{heads}{f', pool={self.pool}' if self.pool > 1 else ''}"


def _check(layer: str, maps: object, channels: int | None, axes: int | None = None) -> None:
    right = isinstance(maps, Tensor) and maps.is_floating_point() and 3 <= maps.ndim <= 5
    if not right or maps.shape[1] != (channels or maps.shape[1]) or maps.ndim != (axes or maps.ndim):  # type: ignore[attr-defined]
        got = f"{maps.dtype} {list(maps.shape)}" if isinstance(maps, Tensor) else type(maps).__name__
        space = "rows, columns" if axes == 4 else "*space"
        named = "channels" if channels is None else channels
        raise InputError(f"{layer} needs maps as floating-point [batch, {named}, {space}], got {got}")
    if not maps.numel() and maps.shape[0]:  # type: ignore[attr-defined]
        raise InputError(f"{layer} needs at least one place, got {list(maps.shape)}")  # type: ignore[attr-defined]
