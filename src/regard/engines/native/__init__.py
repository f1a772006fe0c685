"""Our own CPU kernels (native/, C++): softmax and sigmoid over products of vectors, any pattern and bias, O(N) memory.

The result of a batch entry and head has the same bits for any number of threads and any other entries and heads.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regard.engines.native import lowering
from regard.engines.native.call import Call, laid_as, reader
from regard.engines.native.lowering import Lowered, lower
from regard.engines.native.moves import Moves
from regard.engines.native.ticket import ticket
from regard.parts import Partial
from regard.problem import Problem
from regard.products import finite

__all__ = ["compute", "gradient", "prepare", "refusal", "sizes"]

DIMS = 512
ISA = "REGARD_ISA"
"""Environment variable: one instruction set in place of the widest: amx, avx512bf16, avx512, avx2, neon, baseline."""

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
    lowered = lower(problem)
    if _reader is None or lowered.query is not problem.query or lowered.key is not problem.key:
        return None
    if any(tensor is not None and tensor.requires_grad for tensor in lowered.tensors[3:]):
        return None
    built = importlib.import_module("regard._native")
    number = torch.empty(1, dtype=problem.query.dtype)
    names = ("out", "out_grad", "query_grad", "key_grad", "value_grad")
    made = ticket(problem, lowered, 1, dict.fromkeys(names, number.expand(1, 1, 1, 1)))
    kernel = built.Call(_reader, _kernels.name, made.problem, made.forms, number, number.to(problem.accumulate))
    return Call(kernel, problem, made, None if _small(problem) else _threads)


SMALL = 1 << 18
"""Multiplications that one thread has done before a second one has woken up."""


def _small(problem: Problem) -> bool:
    rows = problem.batch * problem.heads * problem.queries
    return rows * problem.keys * (problem.query.shape[-1] + problem.value.shape[-1]) < SMALL


def _threads(problem: Problem | None = None) -> int:
    return 1 if _forked or (problem is not None and _small(problem)) else torch.get_num_threads()


def refusal(problem: Problem) -> str | None:
    """Why the kernels can't compute the problem, or None."""
    if _missing is not None:
        return _missing
    if problem.query.device.type != "cpu":
        return "its kernels are for CPUs"
    if problem.transformed:
        return "torch.func transforms and forward-mode AD need plain operations"
    if not (problem.queries and problem.keys and problem.batch and problem.heads):
        return "there is nothing to attend to"
    if max(problem.query.shape[-1], problem.key.shape[-1], problem.value.shape[-1]) > DIMS:
        return f"its kernels take dims up to {DIMS}"
    return lowering.refusal(problem)


def compute(problem: Problem) -> tuple[Partial, tuple[Tensor, ...]]:
    """The result for the keys at hand, and its log-sum-exp in two parts for `gradient`.

    For a part of the keys: values and lse of the real keys, in the accumulation type. For all keys: the output, the
    sink and the type of the inputs already in it.
    """
    lowered = lower(problem)
    shape = (problem.batch, problem.heads, problem.queries)
    summed = problem.accumulate if problem.parts else problem.query.dtype
    values = laid_as(problem.query, (*shape, problem.value.shape[-1]), summed)
    lse, rest = (torch.empty(shape, dtype=problem.accumulate) for _ in range(2))
    made = ticket(problem, lowered, _threads(problem), {"out": values, "lse": lse, "rest": rest})
    _kernels.forward(made.problem, made.forms)
    log_sum = lse if problem.parts and lowered.normalize == 0 else None
    sink = problem.sink if problem.parts else None
    return Partial(values, log_sum, sink, problem.query.dtype, repr(problem.said)), (lse, rest)


def gradient(
    problem: Problem, saved: Sequence[Tensor], grads: Sequence[Tensor | None]
) -> Sequence[Tensor | None] | None:
    """The gradients of `problem.tensors`; None where NaN or ∞ may have come out of a hidden pair.

    Args:
        problem: the problem, its tensors leaves of autograd.
        saved: values, lse where it is a result, and what `compute` left beside them.
        grads: of the values and, where it is a result, of lse.
    """
    values, (lse, rest) = saved[0], saved[-2:]
    to_values, to_lse = grads[0], grads[1] if len(grads) > 1 else None
    upstream = torch.zeros_like(values) if to_values is None else to_values
    with torch.enable_grad():
        lowered = lower(problem)
    found, slopes, sink_rows = _room(problem, lowered)
    tensors = {
        "out": values,
        "lse": lse,
        "rest": rest,
        "out_grad": upstream,
        "lse_grad": to_lse,
        "sink_grad": sink_rows,
    }
    tensors |= dict(zip(("query_grad", "key_grad", "value_grad"), found, strict=True))
    made = ticket(problem, lowered, _threads(problem), tensors, slopes)
    if not _kernels.backward(made.problem, made.forms) or _prepared_poison(problem, lowered):
        return None
    to_sink = None if sink_rows is None else sink_rows.sum((0, 2))
    return _pulled(problem, lowered, [*found, to_sink, *slopes.tensors])


def _prepared_poison(problem: Problem, lowered: Lowered) -> bool:
    """Whether autograd would carry NaN or ∞ of hidden vectors on through what was done to them before they met."""
    pairs = ((problem.query, lowered.query), (problem.key, lowered.key))
    return any(own is not taken and not finite(own) for own, taken in pairs)


def _room(problem: Problem, lowered: Lowered) -> tuple[list[Tensor], Moves, Tensor | None]:
    """Empty gradients of query, key and value; zeros for those of the bias; one number a row for the sink's."""

    def zeros(tensor: Tensor | None) -> Tensor | None:
        wanted = tensor is not None and tensor.requires_grad
        return torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor is not None and wanted else None

    found = [torch.empty(t.shape, dtype=t.dtype) for t in (lowered.query, lowered.key, lowered.value)]
    moves = lowered.moves
    slopes = Moves(
        zeros(moves.table), zeros(moves.keys), zeros(moves.pairs), zeros(moves.edges), 0, moves.offsets, moves.sources
    )
    rows = (problem.batch, problem.heads, problem.queries)
    sunk = lowered.sink is not None and lowered.sink.requires_grad
    return found, slopes, torch.empty(rows, dtype=problem.accumulate) if sunk else None


def _pulled(problem: Problem, lowered: Lowered, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """From the gradients of the lowered tensors to those of the problem's own."""
    pairs = zip(lowered.tensors, grads, strict=True)
    given = [(t, g) for t, g in pairs if t is not None and g is not None and t.requires_grad]
    wanted = [n for n, tensor in enumerate(problem.tensors) if tensor.requires_grad]
    leaves = [problem.tensors[n] for n in wanted]
    pulled = torch.autograd.grad([t for t, _ in given], leaves, [g for _, g in given], allow_unused=True)
    found: list[Tensor | None] = [None] * len(problem.tensors)
    for n, grad in zip(wanted, pulled, strict=True):
        found[n] = grad
    return found
