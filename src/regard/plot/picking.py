"""One head of one batch entry, of whatever was looked at; and what of its mass a figure does not show."""

from __future__ import annotations

from torch import Tensor

from regard.errors import InputError
from regard.looking import Layer, Look, Total

__all__ = ["Seen", "kept", "nowhere", "numbers", "of_entry", "of_head", "percent"]

Seen = Look | Layer | Total


def numbers(seen: Seen) -> list[int]:
    """The heads that were looked at."""
    if isinstance(seen, (Layer, Total)):
        return list(seen.where.heads)
    mass = seen.mass()
    return list(range(mass.shape[-2] if mass.ndim > 1 else 1))


def of_entry(found: Tensor, last: int, entry: int | None) -> Tensor:
    """`[..., heads, *last]` → `[heads, *last]` of one batch entry, or the sum over all."""
    found = found.detach().cpu()
    while found.ndim < last + 2:
        found = found[None]
    found = found.flatten(0, found.ndim - last - 2)
    if entry is None:
        return found.sum(0)
    if not -len(found) <= entry < len(found):
        raise InputError(f"entry must be 0 to {len(found) - 1}, got {entry}")
    return found[entry]


def of_head(seen: Seen, found: Tensor, last: int, head: int, entry: int = 0) -> Tensor:
    """`[..., heads, *last]` → `[*last]` of one head, by its number in the model."""
    known = numbers(seen)
    if head not in known:
        raise InputError(f"head must be {', '.join(map(str, known))}, got {head!r}")
    return of_entry(found, last, entry)[known.index(head)]


def nowhere(seen: Seen, head: int, entry: int = 0) -> str:
    """How much of a row goes to no key, where that is anything: a learned sink's share."""
    mass = of_head(seen, seen.mass(), 1, head, entry)
    rows = mass[mass > 0]
    rest = 1 - float(rows.double().mean()) if rows.numel() else 0.0
    return f"{percent(rest)} of a row goes to no key (a sink)" if rest > 1e-5 else ""


def kept(seen: Look | Layer) -> Look:
    """A `Look`: of a layer, that of its one call."""
    if isinstance(seen, Look):
        return seen
    looks = seen.looks
    if len(looks) > 1:
        raise InputError(
            f"{seen.where} was called {len(looks)} times, for the prompt and then for each token; "
            "give one of its calls: layer.looks[0] is the prompt"
        )
    return looks[0]


def percent(share: float) -> str:
    """A share in %; what is more than nothing never reads as 0."""
    return "<0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"
