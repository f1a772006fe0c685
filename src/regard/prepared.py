"""Calls like earlier ones: what rule, types, shapes and positions decide is worked out once, and kept.

`attend` asks here first. A call is found by all that decides how it is computed: by everything but the numbers in
query, key and value. The tensors of a pattern count with the numbers that they hold. What is unusual in any way goes
the long way, through `problem` and `planning`, where every check and every error is.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from regard.differentiate import followed
from regard.engines import native, tiled
from regard.planning import ENGINES, chosen
from regard.problem import Problem, pose
from regard.problem.door import settled, unwatched
from regard.recent import Contents, Recent, contents
from regard.rule import Rule
from regard.terms.pattern import Pattern
from regard.terms.tree import Term

__all__ = ["Prepared", "prepare", "recall", "signed"]

Signature = tuple[bytes, Hashable, int | None, int, str | None, Contents | None]
"""Types and shapes, the rule without its tensors, query_start, key_start, the engine asked for, the rule's tensors."""


class Prepared(NamedTuple):
    """An engine's call; and the rule, with copies of its tensors, by which the same can be computed the long way."""

    call: Any
    rule: Rule | Term | None
    query_start: int | None
    key_start: int

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
        """The output; None where strides or numbers need the long way."""
        if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
            return followed(self, query, key, value)
        out: Tensor | None = self.call.forward(query, key, value)
        return out

    def again(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The output by operations that autograd follows to any order."""
        with settled(query.device):
            problem = pose(query, key, value, self.rule, query_start=self.query_start, key_start=self.key_start)
            return problem.shaped(tiled.compute(problem).out)


CALLS: Recent[Prepared] = Recent(count=256, nbytes=1 << 27)


def signed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rule: Rule | Term | None,
    query_start: int | Tensor | None,
    key_start: int | Tensor,
    dropout: float,
    seed: int | None,
    engine: str | None,
) -> Signature | None:
    """All that decides how a call is computed; None for one that always goes the long way."""
    if torch.compiler.is_dynamo_compiling() or seed is not None or dropout or type(dropout) not in (float, int):
        return None
    # A bool is no position, though it equals one.
    if (query_start is not None and type(query_start) is not int) or type(key_start) is not int:
        return None
    if (engine is not None and type(engine) is not str) or not unwatched():
        return None
    sizes = native.sizes(query, key, value)
    if sizes is None or (torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") != query.dtype):
        return None
    if rule is None:
        return sizes, None, query_start, key_start, engine, None
    if not isinstance(rule, Term):
        return None
    said, tensors = rule.outline
    if not tensors:
        return sizes, said, query_start, key_start, engine, None
    numbers = contents(tensors) if _only_in_pattern(rule) else None
    return None if numbers is None else (sizes, said, query_start, key_start, engine, numbers)


def recall(signature: Signature, query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
    """The output, where a call like this one was prepared and its strides and numbers fit; else None."""
    ready = CALLS.get(signature)
    return None if ready is None else ready(query, key, value)


def prepare(signature: Signature, problem: Problem, rule: Rule | Term | None) -> Prepared | None:
    """The call made ready for the next ones like it, where its engine can do so."""
    _, _, query_start, key_start, engine, numbers = signature
    offer = getattr(ENGINES[chosen(problem, engine)], "prepare", None)
    call = None if offer is None else offer(problem)
    if call is None:
        return None
    nbytes = 0 if problem.ranges is None else problem.ranges.nbytes
    if numbers is not None:
        numbers.keep()
        nbytes += numbers.nbytes
        rule = pytree.tree_unflatten(map(torch.from_numpy, numbers.arrays), pytree.tree_structure(rule))
    ready = Prepared(call, rule, query_start, key_start)
    CALLS.put(signature, ready, nbytes)
    return ready


def _only_in_pattern(rule: Term) -> bool:
    """Whether a pattern holds all the tensors: they are lowered once; others are read, or learned, at every call."""
    pattern = rule.pattern if isinstance(rule, Rule) else rule
    return isinstance(pattern, Pattern) and len(pattern.outline[1]) == len(rule.outline[1])
