"""A function of a tile, run over all tiles; and its derivative, which is such a function again.

Every input is a tensor and what its axes stand for; a tile takes its part of each. Every output is put together from
the tiles' results: added up, since rows that share keys share their gradients. Differentiating the function of one tile
gives the function of one tile of the gradient, so all derivatives, of any order, keep only the inputs: O(N · tile).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from regard.problem.door import settled
from regard.terms.tree import Role, aligned
from regard.tiling import Tile

__all__ = ["Output", "Program"]

Roles = tuple[Role, ...]
TileFunction = Callable[[Tile, Sequence[Tensor]], Sequence[Tensor | None]]


@dataclass(frozen=True)
class Output:
    """What the tiles' results are put into: rows that no tile visits keep `fill`.

    `greatest`: of results that meet, the greatest is kept in place of their sum; such an output has no gradient.
    """

    shape: tuple[int, ...]
    roles: Roles
    dtype: torch.dtype
    fill: float = 0.0
    greatest: bool = False


@dataclass(frozen=True)
class Program:
    """`function` of every tile of `tiles`; `accumulate` is the dtype in which tiles are computed and added up."""

    tiles: Callable[[], Any]
    function: TileFunction
    inputs: tuple[Roles, ...]
    outputs: tuple[Output, ...]
    accumulate: torch.dtype

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run, remembering only the inputs for the backward pass."""
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            return _Remembered.apply(self, *tensors)  # type: ignore[no-any-return, no-untyped-call]
        with torch.no_grad():
            return self.run(tensors)

    def run(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Tile by tile, no graph kept."""
        device = tensors[0].device
        wholes = [torch.full(o.shape, o.fill, dtype=self.accumulate, device=device) for o in self.outputs]
        for tile in self.tiles():
            pieces = self.function(tile, [self._part(t, r, tile) for t, r in zip(tensors, self.inputs, strict=True)])
            for whole, output, piece in zip(wholes, self.outputs, pieces, strict=True):
                if piece is not None:
                    _put(whole, output, tile, piece)
        return tuple(whole.to(output.dtype) for whole, output in zip(wholes, self.outputs, strict=True))

    def run_plainly(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Tile by tile in plain operations, for transforms that follow each of them; tiles must be blocks of rows."""
        made = []
        for tile in self.tiles():
            made.append(
                self.function(tile, [self._part(t, r, tile) for t, r in zip(tensors, self.inputs, strict=True)])
            )
        if not made:
            return tuple(tensors[0].new_full(o.shape, o.fill, dtype=o.dtype) for o in self.outputs)
        joined = (torch.cat([piece for piece in pieces if piece is not None], 2) for pieces in zip(*made, strict=True))
        return tuple(joined)

    def pullback(self, wanted: Sequence[int], given: Sequence[int]) -> Program:
        """The gradient of `given` outputs by `wanted` inputs: (inputs…, output gradients…) → input gradients."""
        count, function = len(self.inputs), self.function

        def pulled(tile: Tile, tensors: Sequence[Tensor]) -> Sequence[Tensor | None]:
            higher = torch.is_grad_enabled()
            with torch.enable_grad():
                inputs = [_leaf(t, n in wanted, higher) for n, t in enumerate(tensors[:count])]
                results = function(tile, inputs)
                pairs = [(results[n], grad) for n, grad in zip(given, tensors[count:], strict=True)]
                live = [(result, grad) for result, grad in pairs if result is not None and result.requires_grad]
                if not live:
                    return [None] * len(wanted)
                return torch.autograd.grad(
                    [result for result, _ in live],
                    [inputs[n] for n in wanted],
                    [grad for _, grad in live],
                    create_graph=higher,
                    allow_unused=True,
                )

        return Program(
            self.tiles,
            pulled,
            (*self.inputs, *(self.outputs[n].roles for n in given)),
            tuple(Output((), self.inputs[n], self.accumulate) for n in wanted),
            self.accumulate,
        )

    def shaped(self, tensors: Sequence[Tensor], wanted: Sequence[int]) -> Program:
        """The same program with outputs like the wanted inputs."""
        outputs = tuple(Output(tuple(tensors[n].shape), self.inputs[n], tensors[n].dtype) for n in wanted)
        return Program(self.tiles, self.function, self.inputs, outputs, self.accumulate)

    def _part(self, tensor: Tensor, roles: Roles, tile: Tile) -> Tensor:
        part = tensor
        for axis, role in enumerate(aligned(roles, tensor.ndim)):
            index = tile.at(role)
            if index is None or tensor.shape[axis] == 1:
                continue
            part = part[(slice(None),) * axis + (index,)] if isinstance(index, slice) else _picked(part, axis, index)
        return part.to(self.accumulate) if part.is_floating_point() else part


class _Remembered(Function):
    """The program as one node of autograd, its backward a program as well."""

    @staticmethod
    def forward(ctx: Any, program: Program, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.program = program
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        return program.run(tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors: Sequence[Tensor] = ctx.saved_tensors
        wanted = [n for n in range(len(tensors)) if ctx.needs_input_grad[n + 1]]
        given = [n for n, grad in enumerate(grads) if grad is not None]
        result: list[Tensor | None] = [None] * (len(tensors) + 1)
        if wanted and given:
            pulled = ctx.program.pullback(wanted, given).shaped(tensors, wanted)
            with settled(tensors[0].device):
                found = pulled([*tensors, *(grads[n] for n in given)])
            for n, grad in zip(wanted, found, strict=True):
                result[n + 1] = grad
        return tuple(result)


def _leaf(tensor: Tensor, wanted: bool, higher: bool) -> Tensor:
    """A tensor that a gradient can be asked for; in a higher derivative it stays part of the graph around it."""
    if not wanted or (higher and tensor.requires_grad):
        return tensor
    return tensor.detach().requires_grad_()


def _picked(tensor: Tensor, axis: int, index: Tensor) -> Tensor:
    return tensor.index_select(axis, index.to(tensor.device))


def _put(whole: Tensor, output: Output, tile: Tile, piece: Tensor) -> None:
    """Add a tile's result to its place; where nothing but one tile writes, `fill` is overwritten."""
    picks: list[tuple[int, Tensor]] = []
    for axis, role in enumerate(aligned(output.roles, whole.ndim)):
        index = tile.at(role)
        if index is None or whole.shape[axis] == 1:
            continue
        if isinstance(index, slice):
            whole = whole[(slice(None),) * axis + (index,)]
        else:
            picks.append((axis, index.to(whole.device)))
    _put_picked(whole, picks, piece, output)


def _put_picked(whole: Tensor, picks: list[tuple[int, Any]], piece: Tensor, output: Output) -> None:
    fill = output.fill
    if len(picks) > 1:
        (axis, index), *rest = picks
        for at, number in enumerate(index.tolist()):
            inner = [(other - (other > axis), pick) for other, pick in rest]
            _put_picked(whole.select(axis, number), inner, piece.select(axis, at), output)
    elif output.greatest:
        axis, index = picks[0] if picks else (0, torch.arange(whole.shape[0], device=whole.device))
        whole.index_copy_(axis, index, torch.maximum(whole.index_select(axis, index), piece))
    elif picks and fill:
        whole.index_copy_(*picks[0], piece)
    elif picks:
        whole.index_add_(*picks[0], piece)
    elif fill:
        whole.copy_(piece)
    else:
        whole += piece
