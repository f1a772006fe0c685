"""What all terms share: they are frozen dataclasses, values, and pytrees.

A field that holds a tensor, a term, or a tuple of terms is a child of the tree; every other field is static and
must be hashable. `roles` names what the axes of a tensor field stand for, so that an engine can cut a term down
to the rows, keys and heads of one tile without knowing which term it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from typing_extensions import Self, dataclass_transform

Role = str | None
"""`"batch"`, `"head"`, `"query"`, `"key"`, or None for an axis that is never cut."""


OTHER = "_children"
"""Where a term made by `tree_map` keeps the names of its children when they have become anything but tensors."""


class Term:
    """A value in the equation: frozen, printable, a pytree whose leaves are its tensors.

    Two terms without tensors are equal when their fields are; a term that holds tensors equals only itself.
    """

    roles: ClassVar[Mapping[str, tuple[Role, ...]]] = {}
    """For each tensor field, what its axes stand for, aligned to the right. Missing: no axis is ever cut."""

    def children(self) -> dict[str, Any]:
        """The fields that hold tensors, terms or tuples of terms, by name."""
        if OTHER in self.__dict__:
            return {name: getattr(self, name) for name in self.__dict__[OTHER]}
        return {f.name: v for f in dataclasses.fields(self) if _is_child(v := getattr(self, f.name))}  # type: ignore[arg-type]

    def static(self) -> dict[str, Any]:
        """The fields that hold neither tensors nor terms, by name."""
        inner = self.children()
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in inner}  # type: ignore[arg-type]

    @cached_property
    def outline(self) -> tuple[tuple[Any, ...], tuple[Tensor, ...]]:
        """The term as nested tuples of classes and fields, in which `Tensor` stands for a tensor; and these tensors."""
        tensors: list[Tensor] = []
        return _outlined(self, tensors), tuple(tensors)

    def leaves(self) -> list[Tensor]:
        """All tensors of this term and of the terms inside it, in field order."""
        found: list[Tensor] = []
        self.map(lambda leaf, roles: found.append(leaf) or leaf)  # type: ignore[func-returns-value]
        return found

    def within(self) -> Iterator[Term]:
        """This term and every term inside it."""
        yield self
        for child in self.children().values():
            for part in child if isinstance(child, tuple) else (child,):
                if isinstance(part, Term):
                    yield from part.within()

    def map(self, change: Callable[[Tensor, tuple[Role, ...]], Tensor]) -> Self:
        """The same term with every tensor replaced by `change(tensor, roles)`, the roles as the class declares them."""
        changed = {name: self._map_child(name, value, change) for name, value in self.children().items()}
        return self.with_children(changed) if changed else self

    def _map_child(self, name: str, value: Any, change: Callable[[Tensor, tuple[Role, ...]], Tensor]) -> Any:
        if isinstance(value, Tensor):
            return change(value, self.roles.get(name, ()))
        if isinstance(value, tuple):
            changed = {id(part): part.map(change) for part in {id(part): part for part in value}.values()}
            return tuple(changed[id(part)] for part in value)
        return value.map(change) if isinstance(value, Term) else value

    def with_children(self, children: Mapping[str, Any]) -> Self:
        """The same term with other children, put in without the checks of the constructor."""
        new = object.__new__(type(self))
        for name, value in {**self.static(), **children}.items():
            object.__setattr__(new, name, value)
        return new

    def with_leaves(self, leaves: Iterable[Tensor]) -> Self:
        """The same term with other tensors, in the order of `leaves()`."""
        queue = iter(leaves)
        return self.map(lambda leaf, roles: next(queue))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other) or not isinstance(other, Term) or self.outline[1] or other.outline[1]:
            return False
        return self.outline[0] == other.outline[0]

    def __hash__(self) -> int:
        said, tensors = self.outline
        return id(self) if tensors else hash(said)


T = TypeVar("T", bound=type)


@dataclass_transform(frozen_default=True)
def term(cls: T) -> T:
    """Make a class a frozen dataclass, a value, and a pytree node."""
    made: Any = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
    pytree.register_pytree_node(made, _flatten, lambda values, context: _unflatten(made, values, context))
    return made  # type: ignore[no-any-return]


def _flatten(value: Term) -> tuple[list[Any], tuple[tuple[str, ...], tuple[tuple[str, Any], ...]]]:
    inner = value.children()
    return list(inner.values()), (tuple(inner), tuple(value.static().items()))


def _unflatten(cls: type, values: Iterable[Any], context: Any) -> Any:
    names, static = context
    new: Any = object.__new__(cls)
    for name, value in (*static, *zip(names, values, strict=True)):
        object.__setattr__(new, name, value)
    if any(not _is_child(getattr(new, name)) for name in names):
        object.__setattr__(new, OTHER, names)
    return new


def _is_child(value: object) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(isinstance(part, Term) for part in value)
    return isinstance(value, (Tensor, Term))


def _outlined(value: Any, tensors: list[Tensor]) -> Any:
    """A term as a tuple of its class and fields, all else as it is; its tensors go into the list."""
    if isinstance(value, Term):
        fields = _NAMES.get(type(value)) or _NAMES.setdefault(type(value), _names(type(value)))
        return (type(value), *[_outlined(getattr(value, name), tensors) for name in fields])
    if isinstance(value, Tensor):
        tensors.append(value)
        return Tensor
    return tuple([_outlined(part, tensors) for part in value]) if _is_child(value) else value


_NAMES: dict[type, tuple[str, ...]] = {}


def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def aligned(roles: tuple[Role, ...], ndim: int) -> tuple[Role, ...]:
    """What each of `ndim` axes stands for, when the last one stands for the last role."""
    return (None,) * (ndim - len(roles)) + roles[max(0, len(roles) - ndim) :]


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 on a device that has no wider numbers."""
    return torch.float32 if device.type == "mps" else torch.float64


def number(value: float | Tensor) -> str:
    """A scalar or a tensor as it is printed in a rule."""
    if isinstance(value, Tensor):
        return f"<{'×'.join(map(str, value.shape)) or 'scalar'}>"
    return f"{value:g}"


def as_tensor(value: Any, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor as it is; anything else as a tensor of `dtype`."""
    return value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=dtype)
