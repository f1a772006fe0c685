"""Prepared calls: a problem of which all is settled but the tensors, whose addresses and strides each call brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from regard.problem import Problem
from regard.products import finite

__all__ = ["Call", "reader"]


def reader(built: Any) -> Any:
    """What reads tensors without a word of Python; None without kernels, and before PyTorch 2.10, which can't tell."""
    table = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    return None if built is None or table is None else built.Inputs(table, Tensor, torch.nn.Parameter)


class Call:
    """The kernels for one problem, ready for other tensors of the same types and shapes.

    Args:
        kernel: the problem as C++ keeps it.
        problem: it; its own tensors are let go.
        threads: how many to use, asked at every call.
    """

    def __init__(self, kernel: Any, problem: Problem, threads: Callable[[], int]) -> None:
        self._kernel, self._threads = kernel, threads
        self._lists = problem.ranges  # its addresses are in the kernel's hands
        rows, number = (problem.batch, problem.heads, problem.queries), torch.empty(1, dtype=problem.query.dtype)
        self._out = problem.shaped(number.expand(*rows, problem.value.shape[-1]))
        self._sums = number.to(problem.accumulate).expand(2, *rows)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
        """The output; None where strides or numbers need another way."""
        if not self._sound(query, key, value):
            return None
        out = torch.empty_like(self._out, memory_format=torch.contiguous_format)
        return out if self._kernel.forward(query, key, value, out, None, self._threads()) else None

    def followed(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor] | None:
        """The output and what `backward` needs beside it; None as in `forward`, or where a gradient must be summed."""
        if not self._sound(query, key, value):
            return None
        out = torch.empty_like(self._out, memory_format=torch.contiguous_format)
        sums = torch.empty_like(self._sums, memory_format=torch.contiguous_format)
        return (out, sums) if self._kernel.forward(query, key, value, out, sums, self._threads()) else None

    def backward(self, saved: Sequence[Tensor], upstream: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """The gradients of query, key and value, given these, output, sums and the output's gradient; or None."""
        query, key, value, out, sums = saved
        found = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        if self._kernel.backward(query, key, value, out, sums, upstream, *found, self._threads()):
            return found
        whole = upstream.contiguous()  # where the strides of five axes don't make one of the first two
        return found if self._kernel.backward(query, key, value, out, sums, whole, *found, self._threads()) else None

    def _sound(self, query: Tensor, key: Tensor, value: Tensor) -> bool:
        return self._lists is None or (finite(query) and finite(key) and finite(value))
