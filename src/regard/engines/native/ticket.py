"""A problem as the bytes that native/problem.hpp reads: sizes, addresses and strides, in the order of its fields.

Addresses live only as long as the objects that a ticket was made from; the caller keeps these for the length of a call.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from regard.problem import Problem
from regard.terms.pattern import Bits, Lists

__all__ = ["forms_of", "ticket"]

_FIELDS = struct.Struct(f"{8 + 3 * 5 + 5}qd{8 * 5}q")
_FORM = struct.Struct("5q")
_NOTHING = (0, 0, 0, 0, 0)


def ticket(problem: Problem, scale: float, threads: int, tensors: Sequence[Tensor | None]) -> bytes:
    """The bytes of the struct.

    Args:
        problem: its sizes, query, key, value and forms.
        scale: of the dot product.
        threads: how many to use.
        tensors: out, lse, rest, out_grad, lse_grad, query_grad, key_grad, value_grad; None where one is not needed.
    """
    sizes = (problem.batch, problem.heads, problem.kv_heads, problem.queries, problem.keys)
    dims = (problem.query.shape[-1], problem.value.shape[-1])
    inputs = [number for tensor in (problem.query, problem.key, problem.value) for number in _array(tensor)]
    others = [number for tensor in tensors for number in _array(tensor)]
    return _FIELDS.pack(*sizes, *dims, threads, *inputs, *_index(problem.ranges), scale, *others)


def forms_of(lists: Lists | None) -> bytes:
    """The bytes of all forms, one struct after the other; none where every pair is visible."""
    return b"" if lists is None else b"".join(map(_form, lists.forms))


def _array(tensor: Tensor | None) -> tuple[int, ...]:
    """Address and strides; lse, rest and lse_grad have no columns."""
    if tensor is None:
        return _NOTHING
    return (tensor.data_ptr(), *tensor.stride(), *(0,) * (4 - tensor.ndim))


def _index(lists: Lists | None) -> tuple[int, ...]:
    """Room for the forms, the address of their index, its strides, room for their number."""
    if lists is None:
        return _NOTHING
    axes = zip(lists.index.shape, lists.index.strides, strict=True)
    batch, heads = (0 if size == 1 else stride // lists.index.itemsize for size, stride in axes)
    return (0, lists.index.ctypes.data, batch, heads, 0)


def _form(form: object) -> bytes:
    if isinstance(form, Bits):
        return _FORM.pack(0, 0, 0, _address(form.words), form.words.strides[0])
    return _FORM.pack(_address(form.offsets), _address(form.low), _address(form.high), 0, 0)  # type: ignore[attr-defined]


def _address(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> int:
    assert array.flags.c_contiguous
    return array.ctypes.data
