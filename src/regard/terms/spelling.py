"""A term as text, tensors and whole numbers, so that a compiler can carry it through a graph; and the term again.

    softmax( dot·<8> | causal & window(4) )
      ⇄  "regard.rule.Rule(score=regard.terms.score.product.Dot(scale=tensor), …Window(before=integer, …)…)",
         [scale], [3, 0]

The text says which terms there are and what in them is fixed; what may change from call to call stands beside it.
"""

from __future__ import annotations

import ast
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from torch import Tensor

from regard.errors import InputError
from regard.terms.later import Later
from regard.terms.tree import Term

__all__ = ["read", "spell"]

Build = Callable[[Iterator[Tensor], Iterator[int], list[Any]], Any]
"""(tensors, integers, the parts of the tuple so far) → a value."""


def spell(term: Term) -> tuple[str, list[Tensor], list[int]]:
    """The text of a term, its tensors in the order of `leaves()`, and its whole numbers in the order of its fields.

    Errors: InputError for a field that is neither of these nor None, a bool, a float, a str, a term or a tuple.
    """
    tensors: list[Tensor] = []
    integers: list[int] = []
    return _spelled(term, tensors, integers), tensors, integers


def read(text: str, tensors: Sequence[Tensor], integers: Sequence[int]) -> Any:
    """The term that `spell` gave these for; tensors and integers may be others by now."""
    return _parsed(text)(iter(tensors), iter(integers), [])


def _spelled(value: Any, tensors: list[Tensor], integers: list[int]) -> str:
    if isinstance(value, Tensor):
        tensors.append(value)
        return "tensor"
    if isinstance(value, Term):
        names = [field.name for field in dataclasses.fields(value)]  # type: ignore[arg-type]
        fields = [f"{name}={_spelled(getattr(value, name), tensors, integers)}" for name in names]
        return f"{_name(type(value))}({', '.join(fields)})"
    if isinstance(value, (tuple, list)):
        return _spelled_tuple(value, tensors, integers)
    if isinstance(value, int) and not isinstance(value, bool):
        integers.append(value)
        return "integer"
    if value is None or isinstance(value, (bool, float, str)):
        return repr(value)
    raise InputError(f"a term in compiled code holds tensors, terms, numbers and texts, got {type(value).__name__}")


def _spelled_tuple(parts: Sequence[Any], tensors: list[Tensor], integers: list[int]) -> str:
    """A term that stands twice in a tuple is spelled once, as its tensors are leaves once."""
    said = []
    for place, part in enumerate(parts):
        first = place
        if isinstance(part, Term):
            for earlier in range(place - 1, -1, -1):
                first = earlier if parts[earlier] is part else first
        said.append(_spelled(part, tensors, integers) if first == place else f"same({first})")
    return f"({' '.join([part + ',' for part in said])})"


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@lru_cache(maxsize=256)
def _parsed(text: str) -> Build:
    return _build(ast.parse(text, mode="eval").body, {_name(kind): kind for kind in _kinds(Term)})


def _kinds(kind: type[Term]) -> Iterator[type[Term]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def _build(node: ast.expr, kinds: dict[str, type[Term]]) -> Build:
    if isinstance(node, ast.Name) and node.id in _WORDS:
        return _WORDS[node.id]
    if isinstance(node, ast.UnaryOp):
        operand = _build(node.operand, kinds)
        return lambda *given: -operand(*given)
    if isinstance(node, ast.Tuple):
        return _build_tuple([_build(part, kinds) for part in node.elts])
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name == "same":
            place = ast.literal_eval(node.args[0])
            return lambda tensors, integers, parts: parts[place]
        if name not in kinds:
            raise InputError(f"there is no term {name}; import the module that defines it before the graph runs")
        return _build_term(kinds[name], {str(k.arg): _build(k.value, kinds) for k in node.keywords})
    constant = ast.literal_eval(node)
    return lambda *given: constant


def _build_term(kind: type[Term], fields: dict[str, Build]) -> Build:
    def made(tensors: Iterator[Tensor], integers: Iterator[int], _: list[Any]) -> Term:
        found = kind(**{name: build(tensors, integers, []) for name, build in fields.items()})
        return found.made() if isinstance(found, Later) else found

    return made


def _build_tuple(builds: list[Build]) -> Build:
    def made(tensors: Iterator[Tensor], integers: Iterator[int], _: list[Any]) -> tuple[Any, ...]:
        parts: list[Any] = []
        for build in builds:
            parts.append(build(tensors, integers, parts))
        return tuple(parts)

    return made


_WORDS: dict[str, Build] = {
    "tensor": lambda tensors, integers, parts: next(tensors),
    "integer": lambda tensors, integers, parts: next(integers),
    "inf": lambda tensors, integers, parts: math.inf,
    "nan": lambda tensors, integers, parts: math.nan,
}
