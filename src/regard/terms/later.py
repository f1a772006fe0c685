"""Terms that look at numbers to be made, such as `documents(lengths)`, inside of compiled code.

A compiler has no numbers yet. While it traces, such a factory only keeps what it is given, as a term of its own;
`terms.spelling.read` calls it where the graph runs, with every check and every message.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar

import torch

from regard.errors import InputError
from regard.terms.tree import Term, term

__all__ = ["Later", "later"]

F = TypeVar("F", bound=Callable[..., Any])


class Later(Term):
    """What a factory was given; `made` calls it."""

    def made(self) -> Term:
        """The term itself."""
        raise TypeError(f"{type(self).__name__} does not say what it makes: define made()")

    def too_early(self, *given: Any) -> NoReturn:
        """No pair can be asked for yet."""
        raise InputError(f"{self!r} has no numbers while a compiler traces; make it outside of compiled code")

    allows = lower = pairs = for_heads = too_early

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


def later(room: type[Term]) -> Callable[[F], F]:
    """Let a factory wait for its numbers while a compiler traces.

    Args:
        room: what it makes: Pattern, Bias, …
    """

    def waiting(factory: F) -> F:
        arguments = inspect.signature(factory).parameters.values()
        body: dict[str, Any] = {a.name: a.default for a in arguments if a.default is not a.empty}
        body["__annotations__"] = {a.name: Any for a in arguments}
        body["__module__"], body["__qualname__"] = factory.__module__, factory.__qualname__
        body["made"] = lambda self: factory(*(getattr(self, a.name) for a in arguments))
        kind = term(type(factory.__name__, (Later, room), body))

        @wraps(factory)
        def made(*given: Any, **named: Any) -> Any:
            return (kind if torch.compiler.is_compiling() else factory)(*given, **named)

        return made  # type: ignore[return-value]

    return waiting
