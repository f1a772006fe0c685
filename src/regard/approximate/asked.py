"""What a rule asks of an approximation, or why it can't be had."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import InputError
from regard.problem import Problem, pose
from regard.problem.door import untraced
from regard.rule import Rule
from regard.terms.normalize import Softmax
from regard.terms.pattern import Pattern
from regard.terms.pattern.algebra import Both
from regard.terms.pattern.given import Padding, Prefix
from regard.terms.pattern.line import Causal, Everything
from regard.terms.score import Dot
from regard.terms.tree import Term

__all__ = ["Asked", "ask", "plain", "unable"]


@dataclass(frozen=True)
class Asked:
    """The checked problem, and its pattern as all that an approximation can keep of one.

    Args:
        problem: shapes, dtypes and terms, checked.
        causal: whether query i sees keys j ≤ i + keys − queries only.
        real: which keys there are, `[batch, keys]`; None for all of them.
    """

    problem: Problem
    causal: bool
    real: Tensor | None

    def upcast(self) -> tuple[Tensor, Tensor, Tensor]:
        """query, key, value in the dtype of the accumulation; a key that is not real, and its value, are 0."""
        problem = self.problem
        query, key, value = (t.to(problem.accumulate) for t in (problem.query, problem.key, problem.value))
        if self.real is None:
            return query, key, value
        real = self.real[:, None, :, None]
        return query, torch.where(real, key, 0), torch.where(real, value, 0)

    def shaped(self, out: Tensor) -> Tensor:
        """`[batch, heads, queries, value_dim]` → the leading dimensions and the dtype of the inputs."""
        return self.problem.shaped(out.to(self.problem.query.dtype))


@untraced
def ask(name: str, query: Tensor, key: Tensor, value: Tensor, rule: Rule | Term | None) -> Asked:
    """Check everything once.

    Errors: InputError for inputs that don't fit, for a bias, and for a pattern other than causal and padding.
    """
    problem = pose(query, key, value, rule)
    said = problem.said
    if said.bias is not None:
        raise unable(name, said, "a bias belongs to pairs, and no pair of the query and the key is ever formed")
    causal, real = False, None
    for part in _parts(said.pattern):
        if isinstance(part, Causal):
            causal = True
        elif isinstance(part, (Padding, Prefix)):
            shown = _shown(part, problem)
            real = shown if real is None else real & shown
        elif not isinstance(part, Everything):
            raise unable(name, said, f"it gathers keys before it meets a query, and {part!r} differs by query or head")
    return Asked(problem, causal, real)


def plain(name: str, asked: Asked, *, score: bool) -> None:
    """InputError unless the rule normalizes by softmax without a sink and, where asked, scores by dot products."""
    said = asked.problem.said
    if not isinstance(said.normalize, Softmax) or said.normalize.sink is not None:
        raise unable(name, said, f"it stands for a softmax without a sink, not for {said.normalize!r}")
    if score and not isinstance(said.score, Dot):
        raise unable(name, said, f"it stands for products of query and key, not for {said.score!r}")


def unable(name: str, said: Rule, reason: str) -> InputError:
    """What is said of a rule that can't be had."""
    return InputError(f"approximate.{name} can't take {said!r}: {reason}; regard.attend can, exactly")


def _parts(pattern: Pattern | None) -> list[Pattern]:
    """What the pattern is an intersection of."""
    if pattern is None:
        return []
    return _parts(pattern.left) + _parts(pattern.right) if isinstance(pattern, Both) else [pattern]


def _shown(part: Pattern, problem: Problem) -> Tensor:
    """Which keys a pattern that asks for no query shows: `[batch, keys]`."""
    device = problem.query.device
    key, batch = torch.arange(problem.keys, device=device), torch.arange(problem.batch, device=device)[:, None]
    return part.allows(torch.zeros_like(key), key, batch).expand(problem.batch, problem.keys)
