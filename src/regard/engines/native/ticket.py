"""A problem as the bytes that native/problem.hpp reads: sizes, addresses and strides, in the order of its fields.

Addresses live only as long as the objects that a ticket was made from, which it therefore holds.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from regard.engines.native.lowering import Lowered
from regard.engines.native.moves import Moves
from regard.problem import Problem
from regard.terms.pattern import Bits, Lists

__all__ = ["Ticket", "ticket"]

ARRAY, BIAS = "q5q", "q5q" * 2 + "2q" + "q5q" * 3 + "3q"
_FIELDS = struct.Struct(f"8q{ARRAY * 3}5q4qddq{ARRAY}dQ{BIAS}{ARRAY * 9}{BIAS}")
_FORM = struct.Struct("5q")
_NO_ARRAY = (0,) * 6
_NO_BIAS = (0,) * 35
KINDS = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}


@dataclass(frozen=True)
class Ticket:
    """What a kernel is given: the bytes of the problem and of its forms, and all that their addresses point into.

    `lists` is what belongs to the rule and the positions, `held` what belongs to the call.
    """

    problem: bytes
    forms: bytes
    lists: tuple[object, ...] = field(repr=False)
    held: tuple[object, ...] = field(repr=False)


def ticket(
    problem: Problem, lowered: Lowered, threads: int, tensors: Mapping[str, Tensor | None], slopes: Moves | None = None
) -> Ticket:
    """The bytes of the struct.

    Args:
        problem: its sizes, forms, positions and dropout.
        lowered: its tensors and numbers, as the kernels take them.
        threads: how many to use.
        tensors: out, lse, rest, out_grad, lse_grad, query_grad, key_grad, value_grad, sink_grad by name; those that
            are missing are not needed.
        slopes: tensors for the gradients of the bias.
    """
    starts = [np.array(start, dtype=np.int64) for start in (problem.extent.query_start, problem.extent.key_start)]
    rows = dict.fromkeys(("lse", "rest", "lse_grad", "sink_grad"), "bhr")
    names = ("out", "lse", "rest", "out_grad", "lse_grad", "query_grad", "key_grad", "value_grad", "sink_grad")
    packed = _FIELDS.pack(
        *(problem.batch, problem.heads, problem.kv_heads, problem.queries, problem.keys),
        *(lowered.query.shape[-1], lowered.value.shape[-1], threads),
        *(number for tensor in (lowered.query, lowered.key, lowered.value) for number in _array(tensor)),
        *_index(problem.ranges),
        *(start.ctypes.data for start in starts),
        *(int(start.size > 1) for start in starts),
        *(lowered.scale, lowered.cap, lowered.normalize),
        *_array(lowered.sink, "h"),
        *(problem.dropout, problem.seed & (2**64 - 1)),
        *_bias(lowered.moves),
        *(number for name in names for number in _array(tensors.get(name), rows.get(name, "bhrc"))),
        *_bias(slopes),
    )
    lists = (problem.ranges, lowered.moves, lowered.sink, starts)
    return Ticket(packed, _forms(problem.ranges), lists, (problem, lowered, tensors, slopes))


def _array(tensor: Tensor | None, axes: str = "bhrc") -> tuple[int, ...]:
    """Address, strides of batch, head, row and column (0 where an axis is missing), and kind."""
    if tensor is None:
        return _NO_ARRAY
    if axes == "bhrc":
        return (tensor.data_ptr(), *tensor.stride(), KINDS[tensor.dtype])
    strides = dict(zip(axes, tensor.stride(), strict=True))
    return (tensor.data_ptr(), *(strides.get(axis, 0) for axis in "bhrc"), KINDS[tensor.dtype])


def _spread(tensor: Tensor | None, axes: str) -> tuple[int, ...]:
    """The same for a tensor whose axes of size 1 stand for all entries."""
    if tensor is None:
        return _NO_ARRAY
    ones = (slice(None) if size > 1 else 0 for size in tensor.shape)
    kept = "".join(axis for axis, size in zip(axes, tensor.shape, strict=True) if size > 1)
    return _array(tensor[tuple(ones)], kept) if kept != "bhrc" else _array(tensor)


def _bias(moves: Moves | None) -> tuple[int, ...]:
    if moves is None:
        return _NO_BIAS
    return (
        *_array(moves.table if moves.forth is None else moves.forth, "hc"),
        *_array(moves.back, "hc"),
        *(0 if moves.table is None else moves.table.shape[-1], moves.zero),
        *_array(moves.keys, "bhc"),
        *_spread(moves.pairs, "bhrc"),
        *_array(moves.edges, "bhc"),
        *moves.edge_lists,
    )


def _index(lists: Lists | None) -> tuple[int, ...]:
    """Room for the forms, the address of their index, its strides, room for their number."""
    if lists is None:
        return (0, 0, 0, 0, 0)
    axes = zip(lists.index.shape, lists.index.strides, strict=True)
    batch, heads = (0 if size == 1 else stride // lists.index.itemsize for size, stride in axes)
    return (0, lists.index.ctypes.data, batch, heads, 0)


def _forms(lists: Lists | None) -> bytes:
    """The bytes of all forms, one struct after the other; none where every pair is visible."""
    return b"" if lists is None else b"".join(map(_form, lists.forms))


def _form(form: object) -> bytes:
    if isinstance(form, Bits):
        return _FORM.pack(0, 0, 0, _address(form.words), form.words.strides[0])
    return _FORM.pack(_address(form.offsets), _address(form.low), _address(form.high), 0, 0)  # type: ignore[attr-defined]


def _address(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> int:
    assert array.flags.c_contiguous
    return array.ctypes.data
