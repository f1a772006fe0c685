"""The one door for inputs: what comes in is a plain strided tensor of a known dtype, or one clear sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad

from regard.errors import InputError
from regard.products import is_transformed
from regard.terms.integers import integer

__all__ = [
    "admit",
    "batched",
    "leading",
    "lowered",
    "probability",
    "settled",
    "starts",
    "transformed",
    "untraced",
    "unwatched",
]

F = TypeVar("F", bound=Callable[..., Any])
FARTHEST = 2**40
"""The farthest that positions may begin from 0: their products must fit into 64 bits."""
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def admit(name: str, tensor: object) -> Tensor:
    """A plain tensor of attention's dtypes, its lazy negative bit resolved, or InputError."""
    if not isinstance(tensor, Tensor):
        raise InputError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if torch.compiler.is_compiling():
        return tensor  # it comes through this door again, with its numbers, where the graph runs
    if tensor.is_nested:
        raise InputError(
            f"{name} is a nested tensor; with [batch, ragged, heads, dim] call "
            "regard.varlen(query.values().transpose(0, 1), …, query.offsets())"
        )
    if type(tensor).__name__ == "DTensor":
        raise InputError(f"{name} is a distributed tensor; pass its local shard (to_local())")
    if tensor.layout != torch.strided:
        raise InputError(f"{name} must be strided, got layout {tensor.layout}; call to_dense() first")
    if tensor.device.type == "meta":
        raise InputError(f"{name} is on the meta device and holds no numbers; move it to a real one")
    if isinstance(tensor, FakeTensor):
        raise InputError(f"{name} is a fake tensor and holds no numbers; call attention outside of FakeTensorMode")
    if torch._is_functional_tensor(tensor) or torch._C._functorch.is_functionaltensor(tensor):
        raise InputError(f"{name} is a functional tensor; call attention outside of torch.func.functionalize")
    if tensor.dtype not in DTYPES:
        raise InputError(
            f"{name} must be float64, float32, bfloat16 or float16, got {tensor.dtype}; call .to(torch.float32)"
        )
    return tensor.resolve_neg()


def alike(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three in one dtype, as autocast would have them for PyTorch's own attention, or InputError."""
    for name, tensor in (("key", key), ("value", value)):
        if tensor.device != query.device:
            raise InputError(f"{name} is on {tensor.device}, query on {query.device}; move them to one device")
    query, key, value = lowered(query, key, value)
    for name, tensor in (("key", key), ("value", value)):
        if tensor.dtype != query.dtype:
            raise InputError(f"{name} is {tensor.dtype}, query {query.dtype}; give all three one dtype")
    return query, key, value


def lowered(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three in the dtype that autocast would have them in for PyTorch's own attention."""
    if not torch.is_autocast_enabled(query.device.type):
        return query, key, value
    dtype = torch.get_autocast_dtype(query.device.type)
    query, key, value = (t if t.dtype == torch.float64 else t.to(dtype) for t in (query, key, value))
    return query, key, value


def settled(device: torch.device) -> AbstractContextManager[object]:
    """Where autocast has had its say (`alike`) and must not lower the products of the accumulation as well."""
    return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else nullcontext()


def leading(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The common shape of the leading dimensions, or InputError."""
    try:
        return tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError:
        said = ", ".join(str(list(shape)) for shape in shapes)
        raise InputError(f"leading dimensions of query, key and value must broadcast, got {said}") from None


def batched(tensor: Tensor, batch: tuple[int, ...], last: int) -> Tensor:
    """`[..., (last axes)]` → `[batch or 1, (last axes)]`, without a copy wherever the strides allow."""
    tensor = tensor[(None,) * max(0, last - tensor.ndim)]
    lead = tensor.shape[: tensor.ndim - last]
    if all(size == 1 for size in lead):
        return tensor.reshape(1, *tensor.shape[len(lead) :])
    return tensor.expand(*batch, *tensor.shape[len(lead) :]).reshape(math.prod(batch), *tensor.shape[len(lead) :])


def starts(name: str, start: int | Tensor, batch: tuple[int, ...]) -> tuple[int, ...]:
    """An int, or integers per batch entry, as one number or one a batch entry; none beyond what positions can be."""
    found = _starts(name, start, batch)
    far = [value for value in found if abs(value) > FARTHEST]
    if far:
        raise InputError(f"{name} must lie between -2**40 and 2**40, got {far[0]}")
    return found


def _starts(name: str, start: int | Tensor, batch: tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(start, Tensor):
        number = integer(start)
        if number is None:
            raise InputError(f"{name} must be an int or an integer tensor per batch entry, got {type(start).__name__}")
        return (number,)
    if start.is_floating_point() or start.is_complex() or start.dtype == torch.bool:
        raise InputError(f"{name} must hold integers, got {start.dtype}")
    if start.is_meta:
        raise InputError(f"{name} is on the meta device and holds no numbers; move it to a real one")
    if start.ndim == 0 or start.numel() == 1:
        return (int(start),)
    try:
        spread = start.expand(batch)
    except RuntimeError:
        raise InputError(
            f"{name} must be an int or of shape {list(batch)}, one a batch entry, got {list(start.shape)}"
        ) from None
    values = tuple(int(value) for value in spread.flatten().tolist())
    return (values or (0,))[:1] if len(set(values)) <= 1 else values


def probability(dropout: float) -> float:
    """A number in [0, 1), or InputError."""
    try:
        chance = math.nan if isinstance(dropout, (str, bytes)) else float(dropout)
    except (TypeError, ValueError, RuntimeError):  # what has no number, or several
        chance = math.nan
    if not 0 <= chance < 1:
        raise InputError(f"dropout must be a probability in [0, 1), got {dropout!r}")
    return chance


def transformed(tensors: Sequence[Tensor]) -> bool:
    """Whether `torch.func` or forward-mode AD follows any of them, so that only plain operations may touch them."""
    return any(is_transformed(t) or _is_dual(t) for t in tensors)


def _is_dual(tensor: Tensor) -> bool:
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None


def unwatched() -> bool:
    """Whether no mode, no transform and no forward-mode AD would see, or change, what is done to a plain tensor."""
    modes = torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack()
    return not modes and torch._C._functorch.maybe_current_level() is None and forward_ad._current_level < 0


def untraced(function: F) -> F:
    """A function that `torch.compile` calls as it is, for it reads shapes and offsets as numbers."""
    why = "regard reads shapes and offsets as numbers"
    return torch.compiler.disable(function, reason=why)  # type: ignore[no-any-return]
