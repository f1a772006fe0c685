"""A convolution as multi-head self-attention, its weights taken over exactly."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from regard.attention import attend
from regard.errors import InputError
from regard.terms.score import gaussian

__all__ = ["ConvolutionAsAttention", "convolution_as_attention"]

SHARPNESS = 30.0
"""How much more a head's own place scores than the next one: e^−30 is far below what float32 can add to 1."""


class ConvolutionAsAttention(nn.Module):
    """One head for every place of a convolution's kernel, which looks at that place and nowhere else.

    `w_h,i = softmax_j(−‖p_i + Δ_h − p_j‖² / 2σ_h²)`, `out_i = Σ_h W_h Σ_j w_h,ij x_j + b`

    p are the places of the padded map, Δ_h is the head's offset, W_h the kernel's matrix there. Offsets, widths and
    matrices are parameters: training goes on from the convolution, and heads may move and widen. Every head scores all
    places: O(places²) pairs.

    Args:
        conv: whose weights, stride, padding (of any mode), dilation and groups are taken over; copied.

    Errors: InputError for anything but a `torch.nn.Conv2d`, and for maps that are not `[batch, channels, rows,
    columns]`.

    Source: Cordonnier et al. 2020, "On the Relationship between Self-Attention and Convolutional Layers".
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        if type(conv) is not nn.Conv2d:
            raise InputError(f"convolution_as_attention takes a torch.nn.Conv2d, got {type(conv).__name__}")
        rows, columns = conv.kernel_size
        self.kernel, self.stride, self.groups = (rows, columns), conv.stride, conv.groups
        self.channels, self.mode = conv.in_channels, conv.padding_mode.replace("zeros", "constant")
        self.padding = list(conv._reversed_padding_repeated_twice)
        self.reach = tuple((size - 1) * gap + 1 for size, gap in zip(self.kernel, conv.dilation, strict=True))
        weight = conv.weight.detach()
        offsets = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)) * torch.tensor(conv.dilation)
        self.offset = nn.Parameter(offsets.to(weight))
        self.width = nn.Parameter(weight.new_full((rows * columns,), math.sqrt(0.5 / SHARPNESS)))
        # [out, in / groups, rows, columns] → [heads, groups, out / groups, in / groups]
        self.weight = nn.Parameter(weight.flatten(2).unflatten(0, (conv.groups, -1)).movedim(-1, 0).clone())
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone())

    def forward(self, maps: Tensor) -> Tensor:
        """`[batch, channels, rows, columns]` → `[batch, out_channels, ·, ·]`, as the convolution has it."""
        grid, cells = self._padded(maps)
        value = cells.flatten(2).mT[:, None]
        key = _places(tuple(cells.shape[-2:]), (1, 1)).to(maps)
        own = _places(grid, self.stride).to(maps)
        query = own + self.offset[:, None]
        seen = attend(query[None], key[None, None], value, gaussian(self.width))
        split = seen.unflatten(-1, (self.groups, -1))
        out = torch.einsum("bhngc,hgoc->bgon", split, self.weight).flatten(1, 2)
        out = out if self.bias is None else out + self.bias[:, None]
        return out.unflatten(-1, grid)  # type: ignore[no-any-return]

    def _padded(self, maps: Tensor) -> tuple[tuple[int, int], Tensor]:
        """Rows and columns of the output, and the map with its border."""
        if not isinstance(maps, Tensor) or maps.ndim != 4 or maps.shape[1] != self.channels:
            got = list(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise InputError(f"ConvolutionAsAttention needs maps [batch, {self.channels}, rows, columns], got {got}")
        left, right, above, below = self.padding
        sizes = (maps.shape[2] + above + below, maps.shape[3] + left + right)
        if any(size < reach for size, reach in zip(sizes, self.reach, strict=True)):
            raise InputError(f"a kernel over {list(self.reach)} places needs maps as large, got {list(sizes)} padded")
        spans = zip(sizes, self.reach, self.stride, strict=True)
        rows, columns = ((size - reach) // step + 1 for size, reach, step in spans)
        return (rows, columns), pad(maps, self.padding, self.mode)

    def extra_repr(self) -> str:
        """Its sizes, as modules print them."""
        heads, groups, out, inside = self.weight.shape
        return f"{groups * inside}, {groups * out}, heads={heads} of kernel {self.kernel}"


def convolution_as_attention(conv: nn.Conv2d) -> ConvolutionAsAttention:
    """A layer of self-attention that does what a convolution does, with its exact weights.

    `Σ_Δ W_Δ x_{i+Δ} + b = Σ_h W_h Σ_j softmax_j(−‖p_i + Δ_h − p_j‖² / 2σ²) x_j + b`

    Args:
        conv: any `torch.nn.Conv2d`; its weights are copied.

    Errors: InputError for any other layer.

    Source: Cordonnier et al. 2020, "On the Relationship between Self-Attention and Convolutional Layers".
    """
    return ConvolutionAsAttention(conv)


def _places(grid: tuple[int, ...], step: tuple[int, ...]) -> Tensor:
    """Where the cells of a grid stand, row by row: `[cells, 2]`."""
    rows, columns = (torch.arange(size) * by for size, by in zip(grid, step, strict=True))
    return torch.cartesian_prod(rows, columns).reshape(-1, 2)
