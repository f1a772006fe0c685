"""A case with its numbers: random inputs, what the right answer is, and what one competitor makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from regard.attention import attend, steps
from regard.bench.case import Case, Pass
from regard.errors import RegardError
from regard.rule import Rule
from regard.terms.normalize import Softmax
from regard.terms.pattern.line import Causal, Window
from regard.terms.score import Softcap

__all__ = ["Competitor", "Run", "Task", "Unable", "distance", "of_torch", "only", "tolerance", "wanted"]

SPREAD = 3.0
"""Queries are this much longer than normal ones, so that weights are far from even and a mistake is seen."""


class Unable(RegardError):
    """Why a competitor is not timed."""


@dataclass(frozen=True)
class Run:
    """One competitor at work: `call()` is timed, `tensors` of what it gave is checked."""

    call: Callable[[], Any]
    tensors: Callable[[Any], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Task:
    """One pass of a case, and its tensors."""

    case: Case
    which: Pass
    query: Tensor
    key: Tensor
    value: Tensor
    upstream: Tensor

    @classmethod
    def random(cls, case: Case, which: Pass, seed: int = 0) -> Task:
        """Normal numbers, the queries' larger."""
        shape, drawn = case.shape, torch.Generator().manual_seed(seed)

        def normal(heads: int, length: int, spread: float = 1.0) -> Tensor:
            made = torch.randn(shape.batch, heads, length, shape.dim, generator=drawn)
            return (spread * made).to(case.dtype)

        query = normal(shape.heads, shape.queries, SPREAD)
        key, value = normal(shape.kv_heads, shape.keys), normal(shape.kv_heads, shape.keys)
        return cls(case, which, query, key, value, normal(shape.heads, shape.queries))

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """query, key, value."""
        return self.query, self.key, self.value

    @property
    def is_causal(self) -> bool:
        """Whether the pattern is causal and nothing else."""
        return isinstance(self.case.rule.pattern, Causal)

    @property
    def window(self) -> int | None:
        """How many keys end at a query, where the pattern is a window and nothing else."""
        pattern = self.case.rule.pattern
        return pattern.before + 1 if isinstance(pattern, Window) and not pattern.after else None

    @property
    def cap(self) -> float | None:
        """The bound of the scores, where there is one."""
        score = self.case.rule.score
        return score.cap if isinstance(score, Softcap) else None

    @property
    def sink(self) -> float | None:
        """The sink's logit, where there is one."""
        normalize = self.case.rule.normalize
        assert isinstance(normalize, Softmax) and not isinstance(normalize.sink, Tensor)
        return normalize.sink

    @cached_property
    def visible(self) -> Tensor | None:
        """`[1, 1, queries, keys]`, or None where every pair is visible."""
        rule = self.case.rule
        if rule.pattern is None:
            return None
        query, key, value = (tensor[:1, :1, :, :1] for tensor in self.inputs)
        return steps(query, key, value, Rule(pattern=rule.pattern)).visible

    @cached_property
    def bias(self) -> Tensor | None:
        """`[1, heads, queries, keys]`, or None."""
        rule = self.case.rule
        if rule.bias is None:
            return None
        query, key, value = (tensor[:1, ..., :1] for tensor in self.inputs)
        made = steps(query, key, value, Rule(bias=rule.bias)).bias
        assert made is not None
        return made.to(self.case.dtype)

    @cached_property
    def expected(self) -> tuple[Tensor, ...]:
        """The result, or the gradients of query, key and value, in float64."""
        exact = Task(self.case, self.which, *(tensor.double() for tensor in (*self.inputs, self.upstream)))
        passed = of_torch(exact, lambda q, k, v: attend(q, k, v, self.case.rule, engine="reference"))
        return tuple(made.detach() for made in passed.tensors(passed.call()))


@dataclass(frozen=True)
class Competitor:
    """A name, and how it gets ready for a task: with a `Run`, or with an `Unable` that says why not."""

    name: str
    prepare: Callable[[Task], Run]


def of_torch(task: Task, attention: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Run:
    """Any pass of a function of PyTorch's tensors, `[batch, heads, tokens, dim]` in and out."""
    if task.which is Pass.FORWARD:
        return Run(lambda: attention(*task.inputs), lambda out: (out,))
    leaves = tuple(tensor.detach().requires_grad_() for tensor in task.inputs)
    if task.which is Pass.RECORDED:
        return Run(lambda: attention(*leaves), lambda out: (out,))
    if task.which is Pass.BOTH:
        return Run(lambda: torch.autograd.grad(attention(*leaves), leaves, task.upstream), tuple)
    out = attention(*leaves)
    return Run(lambda: torch.autograd.grad(out, leaves, task.upstream, retain_graph=True), tuple)


def wanted(*packages: str) -> None:
    """Raise, with the command that installs it, for a package that is not there."""
    for package in packages:
        if find_spec(package) is None:
            raise Unable("not installed: pip install 'regard[bench]'")


def only(task: Task, *can: str) -> None:
    """Raise for the first of the rule's terms (pattern, bias, cap, sink) that is not among those it can do."""
    rule = task.case.rule
    has = {"pattern": rule.pattern, "bias": rule.bias, "cap": task.cap, "sink": task.sink}
    for term, value in has.items():
        if value is not None and term not in can:
            raise Unable({"cap": "it has no soft-cap", "sink": "it has no sink"}.get(term, f"it has no such {term}"))


def distance(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """The largest difference, as a share of the largest number that is expected; ∞ for other shapes or NaN."""
    if [made.shape for made in found] != [made.shape for made in expected]:
        return float("inf")
    worst = 0.0
    for made, right in zip(found, expected, strict=True):
        apart = float((made.detach().double() - right).abs().max() / right.abs().max())
        worst = float("inf") if math.isnan(apart) else max(worst, apart)
    return worst


def tolerance(dtype: torch.dtype, which: Pass) -> float:
    """What rounding may do to it: float32 sums thousands of products, bfloat16 keeps 8 bits of each number."""
    gradients = which in (Pass.BACKWARD, Pass.BOTH)
    return (1e-3 if gradients else 1e-4) if dtype == torch.float32 else (6e-2 if gradients else 3e-2)
