"""The mask that transformers passes from a model to its attention: a pattern and where it lies, never N² numbers."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils import _pytree as pytree

from regard.errors import InputError
from regard.huggingface.closures import MaskFunction, UnrecognisedError, lower
from regard.huggingface.grid import Grid
from regard.huggingface.library import masking
from regard.problem.door import untraced
from regard.terms.pattern import Pattern, padding
from regard.terms.pattern import mask as given

__all__ = ["Mask", "make"]

_log = logging.getLogger("regard.huggingface")
_aten = torch.ops.aten


class Mask(Tensor):
    """Which keys each query may look at: `[batch, 1, queries, keys]`, bool, True = may attend.

    To a model it is a tensor with a shape, a type and a device, but without numbers. Cutting it along queries or keys
    gives another `Mask`. What reads its numbers (`where`, `&`, `~`, an index, SDPA) gets them, N² of them. What would
    add it to scores raises: models that do so compute attention by themselves.

    Args:
        pattern: over absolute positions.
        grid: how many queries and keys, and where the first ones stand.
        note: why the pattern took O(N²) time to find; None where a formula gave it.
    """

    pattern: Pattern
    grid: Grid
    note: str | None

    # Results are plain tensors.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, pattern: Pattern, grid: Grid, note: str | None = None) -> Mask:
        shape = (grid.batch, 1, grid.queries, grid.keys)
        made: Mask = Tensor._make_wrapper_subclass(cls, shape, dtype=torch.bool, device=grid.device)
        made.pattern, made.grid, made.note = pattern, grid, note
        return made

    def dense(self) -> Tensor:
        """The N² numbers, bool `[batch, 1, queries, keys]`."""
        return self.grid.shown(self.pattern)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        start = f"query_start={self.grid.query_start}, key_start={self.grid.key_start}"
        return f"Mask({list(self.shape)}, {self.pattern!r}, {start}{f', note={self.note!r}' if self.note else ''})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kept = _as_mask(func, args)
        return _by_numbers(func, args, kwargs or {}) if kept is None else kept


@untraced
def make(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    kv_offset: int | Tensor = 0,
    mask_function: MaskFunction = masking.causal_mask_function,
    attention_mask: Tensor | None = None,
    use_vmap: bool = False,
    device: torch.device | str = "cpu",
    **others: Any,
) -> Mask:
    """The mask of one kind of layer, as transformers' `AttentionMaskInterface` asks for it.

    Never None, not even where every pair is visible: the mask also says where queries and keys stand.

    Args:
        batch_size: rows.
        q_length: queries.
        kv_length: keys, written or not (a static cache has more keys than tokens).
        q_offset: the first query's absolute position; a static cache keeps it in a tensor that it changes in place.
        kv_offset: the first key's absolute position (a sliding cache has forgotten the ones before).
        mask_function: whether the pair (batch, head, query, key) may attend, absolute positions.
        attention_mask: bool `[batch, tokens]` by absolute position, True for real tokens; keys after it are padding.
        use_vmap: `mask_function` takes single indices, not whole tensors of them.
        device: where the model's tensors are.
        others: what only other implementations need.
    """
    grid = Grid(batch_size, q_length, kv_length, int(q_offset), int(kv_offset), torch.device(device))
    real = None if attention_mask is None else _real(attention_mask, grid)
    vectorised = not use_vmap
    pattern, note = _by_formula(mask_function, grid, vectorised)
    if pattern is None:
        pattern = given(grid.evaluated(mask_function, vectorised))
        # The table starts at the first query and key, so all positions are counted from there.
        real = None if real is None else real[:, grid.key_start :]
        grid = replace(grid, query_start=0, key_start=0)
    if real is not None and not bool(real.all()):
        pattern = pattern & padding(real)
    return Mask(pattern, grid, note)


def _by_formula(function: MaskFunction, grid: Grid, vectorised: bool) -> tuple[Pattern | None, str | None]:
    """The pattern of a mask function; or None and the reason, which is also logged once."""
    try:
        pattern = lower(function, grid.length)
        if grid.agrees(pattern, function, vectorised):
            return pattern, None
        which = f"{pattern!r} differs from the mask function that it was read from"
    except UnrecognisedError as unknown:
        which = f"the mask function {unknown} is none of transformers.masking_utils"
    note = f"{which}: evaluated at every pair, in O(N²) time, once a forward"
    _warn(note)
    return None, note


def _real(attention_mask: Tensor, grid: Grid) -> Tensor:
    """Which positions hold real tokens, bool `[batch, positions]`, at least up to the last key."""
    if attention_mask.ndim != 2:
        raise InputError(
            f"attention_mask must be [batch, tokens] or [batch, heads, queries, keys], got {list(attention_mask.shape)}"
        )
    missing = grid.key_start + grid.keys - attention_mask.shape[1]
    real = attention_mask.to(device=grid.device, dtype=torch.bool)
    return functional.pad(real, (0, missing)) if missing > 0 else real


@cache
def _warn(note: str) -> None:
    _log.warning(note)


def _as_mask(func: Any, args: tuple[Any, ...]) -> Mask | None:
    """The result as a `Mask`, where the operation only passes the mask on or cuts it along queries or keys."""
    mask = args[0] if args and isinstance(args[0], Mask) else None
    if mask is None:
        return None
    if func in (_aten.detach.default, _aten.alias.default, _aten.clone.default, _aten.lift_fresh.default):
        return Mask(mask.pattern, mask.grid, mask.note)
    if func is _aten.slice.Tensor and (len(args) < 5 or args[4] == 1):
        return _cut(mask, *args[1:4])
    return None


def _cut(mask: Mask, axis: int = 0, start: int | None = None, stop: int | None = None) -> Mask | None:
    axis, size = axis % 4, mask.shape[axis]
    first, last, _ = slice(start, stop).indices(size)
    count = max(0, last - first)
    grid = mask.grid
    if count == size:
        return Mask(mask.pattern, grid, mask.note)
    if axis == 2:
        return Mask(mask.pattern, replace(grid, queries=count, query_start=grid.query_start + first), mask.note)
    if axis == 3:
        return Mask(mask.pattern, replace(grid, keys=count, key_start=grid.key_start + first), mask.note)
    return None


_SELECTING = (
    _aten.where,
    _aten.masked_fill,
    _aten.masked_fill_,
    _aten.index_put_,
    _aten.index,
    _aten.scaled_dot_product_attention,
)


def _by_numbers(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The operation on the mask's numbers, unless it would mix them with scores."""
    leaves = pytree.tree_leaves((args, kwargs))
    mixes = any(isinstance(leaf, Tensor) and leaf.is_floating_point() for leaf in leaves)
    turns = any(isinstance(leaf, torch.dtype) and leaf.is_floating_point for leaf in leaves)
    chooses = func.overloadpacket in _SELECTING or "scaled_dot_product" in func.overloadpacket.__name__
    if turns or (mixes and not chooses):
        raise InputError(
            f"the model does arithmetic with the mask ({func}), so it computes attention by itself and regard can't "
            'serve it; go back with model.set_attn_implementation("eager")'
        )
    dense = pytree.tree_map(lambda leaf: leaf.dense() if isinstance(leaf, Mask) else leaf, (args, kwargs))
    return func(*dense[0], **dense[1])
