"""From what a user asks for to classes of queries and keys, checked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regard.engines.native import grouping
from regard.engines.native.grouping import Grouping
from regard.errors import InputError
from regard.problem import Problem
from regard.problem.door import batched

__all__ = ["Span", "at_least", "count", "edges", "ids_of", "indices", "local_keys", "segments", "share", "span"]

Span = tuple[int, int] | range | None


def share(problem: Problem, keys: Tensor | Sequence[int] | int) -> Grouping:
    """One class: the keys of a mask, bool `[*batch, keys]`, or of indices."""
    if isinstance(keys, Tensor) and keys.dtype == torch.bool:
        return grouping.share(_along(problem, "a mask of keys", keys, problem.keys))
    mask = torch.zeros(problem.keys, dtype=torch.bool)
    mask[indices("keys", keys, problem.keys)] = True
    return grouping.share(mask)


def segments(problem: Problem, keys: Tensor | Sequence[int], queries: Tensor | Sequence[int] | None = None) -> Grouping:
    """Classes as given; those of queries, unless given, are those of the keys at their positions."""
    of_keys = _segments_of(problem, "segments of keys", keys, problem.keys)
    if queries is not None:
        return grouping.segments(_segments_of(problem, "segments of queries", queries, problem.queries), of_keys)
    place = local_keys(problem)
    if place.numel() and not 0 <= int(place.min()) <= int(place.max()) < problem.keys:
        raise InputError(
            "segments of keys tell those of queries only where every query stands on a key; "
            f"give segments(keys, queries), of {problem.keys} and {problem.queries}"
        )
    entries = max(len(place), len(of_keys))
    return grouping.segments(of_keys.expand(entries, -1).gather(1, place.expand(entries, -1)), of_keys)


def local_keys(problem: Problem) -> Tensor:
    """The key at the position of each query, `[batch or 1, queries]`; it may be one that is not there."""
    starts = torch.tensor(problem.extent.key_start, device=problem.query.device)[:, None]
    return (problem.positions("query") - starts).cpu()


def ids_of(problem: Problem, name: str, ids: Tensor | Sequence[int], length: int) -> Tensor:
    """`[*batch, length]` integers → `[batch or 1, length]`."""
    return _along(problem, name, _integers(name, ids), length)


def indices(name: str, given: Tensor | Sequence[int] | int, length: int) -> Tensor:
    """Indices 0 … length − 1, from numbers that may count from the end."""
    index = _integers(name, given).reshape(-1).cpu()
    outside = index[(index < -length) | (index >= length)]
    if len(outside):
        raise InputError(f"{name} must be integers from 0 to {length - 1}, got {int(outside[0])}")
    return index % max(1, length)


def span(name: str, given: Span, length: int) -> tuple[int, int]:
    """First and end of a run of rows or columns; None is all of them."""
    if given is None:
        return 0, length
    if isinstance(given, range) and given.step != 1:
        raise InputError(f"{name} must be a run (first, end), got a range of step {given.step}")
    first, end = (given.start, given.stop) if isinstance(given, range) else tuple(given)
    if not 0 <= first < end <= length:
        raise InputError(f"{name} must be (first, end) with 0 ≤ first < end ≤ {length}, got ({first}, {end})")
    return first, end


def count(name: str, given: int, most: int) -> int:
    """A number from 1 to `most`."""
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= most:
        raise InputError(f"{name} must be an integer from 1 to {most}, got {given!r}")
    return given


def at_least(name: str, given: int, least: int) -> int:
    """A number from `least` on."""
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise InputError(f"{name} must be an integer ≥ {least}, got {given!r}")
    return given


def edges(length: int, run: tuple[int, int], cells: int) -> tuple[Tensor, Tensor]:
    """The cell of each position of a run cut into nearly equal ones, −1 outside; and how many each cell holds."""
    first, end = run
    cells = min(cells, end - first)
    place = torch.arange(length)
    inside = (place >= first) & (place < end)
    cell = torch.where(inside, (place - first) * cells // (end - first), -1)
    return cell, torch.bincount(cell[inside], minlength=cells)


def _segments_of(problem: Problem, name: str, ids: Tensor | Sequence[int], length: int) -> Tensor:
    found = ids_of(problem, name, ids, length)
    if found.numel() and int(found.min()) < -1:
        raise InputError(f"{name} must be integers from 0, or −1 for none, got {int(found.min())}")
    most = max(problem.queries, problem.keys)
    if found.numel() and int(found.max()) >= most:
        raise InputError(
            f"{name} must be numbered from 0 without gaps, so below {most}, got {int(found.max())}; "
            "torch.unique(ids, return_inverse=True)[1] numbers them so"
        )
    return found


def _integers(name: str, given: Tensor | Sequence[int] | int) -> Tensor:
    try:
        numbers = torch.as_tensor(given)
    except (RuntimeError, TypeError, ValueError):
        raise InputError(f"{name} must be integers, in a list or a tensor, got {type(given).__name__}") from None
    if numbers.numel() and (numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool):
        raise InputError(f"{name} must be integers, got {numbers.dtype}")
    return numbers.long()


def _along(problem: Problem, name: str, given: Tensor, length: int) -> Tensor:
    batch = problem.extent.batch
    lead = given.shape[:-1]
    missing = len(batch) - len(lead)
    if not given.ndim or given.shape[-1] != length or missing < 0:
        raise InputError(f"{name} must be [{length}] or {[*batch, length]}, got {list(given.shape)}")
    if any(a not in (1, b) for a, b in zip(lead, batch[missing:], strict=True)):
        raise InputError(f"{name} must be [{length}] or {[*batch, length]}, got {list(given.shape)}")
    return batched(given.cpu(), batch, 1)
