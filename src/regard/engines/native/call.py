"""Prepared calls: a problem of which all is settled but the tensors, whose addresses and strides each call brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from regard.engines.native.ticket import Ticket
from regard.problem import Problem

__all__ = ["Call", "laid_as", "reader"]


def reader(built: Any) -> Any:
    """What reads tensors without a word of Python; None without kernels, and before PyTorch 2.10, which can't tell."""
    table = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    return None if built is None or table is None else built.Inputs(table, Tensor, torch.nn.Parameter)


def laid_as(query: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Room in the query's layout, if of its shape: a model that keeps `[batch, tokens, heads, dim]` has it again."""
    alike = query.shape == shape and query.stride(-1) == 1
    return torch.empty_like(query, dtype=dtype) if alike else torch.empty(shape, dtype=dtype)


class Call:
    """The kernels for one problem, ready for other tensors of the same types and shapes.

    Args:
        kernel: the problem as C++ keeps it.
        problem: it; its own tensors are let go.
        made: the ticket that the kernel was made from.
        threads: how many to use, asked at every call; None is always one.
    """

    def __init__(self, kernel: Any, problem: Problem, made: Ticket, threads: Callable[[], int] | None) -> None:
        self._kernel, self._threads = kernel, threads
        self._held = problem.ranges, made.lists  # their addresses are in the kernel's hands
        # One number seen as many: what `empty_like` makes of it is contiguous.
        rows, number = (problem.batch, problem.heads, problem.queries), torch.empty(1, dtype=problem.accumulate)
        self._out = problem.shaped(number.expand(*rows, problem.value.shape[-1])).shape
        self._sums = number.expand(2, *rows)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
        """The output, in the query's layout where it is as large; None where strides need another way."""
        out = laid_as(query, self._out, query.dtype)
        threads = 1 if self._threads is None else self._threads()
        return out if self._kernel.forward(query, key, value, out, None, threads) else None

    def followed(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor] | None:
        """The output and what `backward` needs beside it; None as in `forward`, or where a gradient must be summed."""
        out = laid_as(query, self._out, query.dtype)
        sums = torch.empty_like(self._sums)
        threads = 1 if self._threads is None else self._threads()
        return (out, sums) if self._kernel.forward(query, key, value, out, sums, threads) else None

    def backward(self, saved: Sequence[Tensor], upstream: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """The gradients of query, key and value, given these, output, sums and the output's gradient; or None."""
        query, key, value, out, sums = saved
        found = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        threads = 1 if self._threads is None else self._threads()
        if self._kernel.backward(query, key, value, out, sums, upstream, *found, threads):
            return found
        # Five axes whose strides don't make one of the first two; hooks that gave the sums back in other strides.
        sums, upstream = sums.contiguous(), upstream.contiguous()
        return found if self._kernel.backward(query, key, value, out, sums, upstream, *found, threads) else None
