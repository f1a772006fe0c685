"""Our own CPU kernels (native/, C++): softmax over scaled dot products, any pattern, forward and backward, O(N) memory.

The result of a batch entry and head has the same bits for any number of threads and any other entries and heads.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regard.engines.native.call import Call, reader
from regard.engines.native.ticket import forms_of, ticket
from regard.parts import Partial
from regard.problem import Problem
from regard.products import finite
from regard.terms.normalize import Softmax
from regard.terms.score import Dot

__all__ = ["compute", "gradient", "prepare", "refusal", "sizes"]

DIMS = 512
ISA = "REGARD_ISA"
"""Environment variable that names one instruction set (avx512, avx2, baseline) in place of the widest."""

_forked = False


def _one_thread() -> None:
    # OpenMP's threads do not survive a fork.
    global _forked  # noqa: PLW0603
    _forked = True


os.register_at_fork(after_in_child=_one_thread)


def _engine() -> tuple[Any, str | None]:
    """The kernels for this processor, or why there are none."""
    try:
        built = importlib.import_module("regard._native")
    except ImportError as missing:
        return None, f"its kernels were not built when regard was installed ({missing})"
    try:
        return built.Engine(os.environ.get(ISA, "")), None
    except ValueError:
        return None, f"this processor does not run {ISA}={os.environ.get(ISA)}"


_kernels, _missing = _engine()
_reader = reader(None if _kernels is None else importlib.import_module("regard._native"))


def sizes(query: object, key: object, value: object) -> bytes | None:
    """Types and shapes, to look a prepared call up by; None where one of the three is no plain tensor on a CPU."""
    return None if _reader is None else _reader.sizes(query, key, value)


def prepare(problem: Problem) -> Call | None:
    """The problem made ready for other tensors of the same types and shapes; None where it can't be."""
    if _reader is None or problem.sink is not None:
        return None
    built = importlib.import_module("regard._native")
    number = torch.empty(1, dtype=problem.query.dtype)
    kernel = built.Call(
        _reader,
        _kernels.name,
        _ticket(problem, [None] * 8),
        forms_of(problem.ranges),
        number,
        number.to(problem.accumulate),
    )
    return Call(kernel, problem, None if _small(problem) else _threads)


SMALL = 1 << 18
"""Multiplications that one thread has done before a second one has woken up."""


def _small(problem: Problem) -> bool:
    rows = problem.batch * problem.heads * problem.queries
    return rows * problem.keys * (problem.query.shape[-1] + problem.value.shape[-1]) < SMALL


def _threads() -> int:
    return 1 if _forked else torch.get_num_threads()


def refusal(problem: Problem) -> str | None:
    """Why the kernels can't compute the problem, or None."""
    rule = problem.rule
    if _missing is not None:
        return _missing
    if problem.query.device.type != "cpu":
        return "its kernels are for CPUs"
    if problem.transformed:
        return "torch.func transforms and forward-mode AD need plain operations"
    if problem.query.dtype != torch.float32:
        return f"its kernels are for float32 so far, not {problem.query.dtype}"
    if not isinstance(rule.score, Dot) or isinstance(rule.score.scale, Tensor):
        return f"its score is the dot product with a fixed scale so far, not {rule.score!r}"
    if not isinstance(rule.normalize, Softmax):
        return f"its normalizer is softmax so far, not {rule.normalize!r}"
    if rule.score.scale == 0:
        return "a scale of 0 has no greatest product"
    if rule.bias is not None:
        return "it has no bias so far"
    if problem.dropout:
        return "it has no dropout so far"
    if not (problem.queries and problem.keys and problem.batch and problem.heads):
        return "there is nothing to attend to"
    if max(problem.query.shape[-1], problem.value.shape[-1]) > DIMS:
        return f"its kernels take dims up to {DIMS}"
    return _hidden_poison(problem)


def _hidden_poison(problem: Problem) -> str | None:
    if problem.said.pattern is None or all(map(finite, problem.tensors[:3])):
        return None
    return "an input holds NaN or ∞, which its products would carry out of hidden pairs"


def compute(problem: Problem) -> tuple[Partial, tuple[Tensor, ...]]:
    """Attention over the keys at hand with its log-sum-exp, and what float32 leaves of that; both for `gradient`."""
    shape = (problem.batch, problem.heads, problem.queries)
    values = problem.query.new_empty((*shape, problem.value.shape[-1]))
    lse, rest = problem.query.new_empty(shape), problem.query.new_empty(shape)
    _kernels.forward(_ticket(problem, (values, lse, rest, *[None] * 5)), forms_of(problem.ranges))
    return Partial(values, lse, problem.sink, problem.query.dtype, repr(problem.said)), (rest,)


def gradient(problem: Problem, saved: Sequence[Tensor], grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The gradients of `problem.tensors`, given values, lse, rest of `compute` and the gradients of the first two."""
    (values, lse, rest), (to_values, to_lse) = saved, grads
    upstream = torch.zeros_like(values) if to_values is None else to_values
    found = [torch.empty(t.shape) for t in (problem.query, problem.key, problem.value)]
    _kernels.backward(_ticket(problem, (values, lse, rest, upstream, to_lse, *found)), forms_of(problem.ranges))
    return [*found, *(None for _ in problem.leaves)]


def _ticket(problem: Problem, tensors: Sequence[Tensor | None]) -> bytes:
    score = problem.rule.score
    assert isinstance(score, Dot) and not isinstance(score.scale, Tensor)
    scale = problem.query.shape[-1] ** -0.5 if score.scale is None else score.scale
    return ticket(problem, scale, 1 if _small(problem) else _threads(), tensors)
