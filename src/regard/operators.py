"""Attention as one operator, which `torch.compile` and `torch.export` carry through a graph without looking inside.

    regard::attend(query, key, value, leaves, integers, rule, query_start, key_start, dropout, seed, engine, parts)
        → values, lse, saved

The rule travels as text, its tensors and its whole numbers beside it (`terms.spelling`). Shapes are all that a compiler
needs to know; lists of keys, the engine and every check of the inputs are made where the graph runs, so that a new
offset or length compiles nothing anew.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from regard.differentiate import Engine, guarded, pulled
from regard.engines import tiled
from regard.errors import EngineError, InputError
from regard.parts import Partial
from regard.planning import ENGINES, GUARDED, chosen, solve
from regard.problem import Problem, pose
from regard.problem.door import admit, lowered, probability, settled
from regard.rule import Rule, as_rule
from regard.terms.normalize import Softmax
from regard.terms.spelling import read, spell
from regard.terms.tree import Term

__all__ = ["attended"]

ARGUMENTS = (
    "Tensor query, Tensor key, Tensor value, Tensor[] leaves, SymInt[] integers, str rule, Tensor? query_start, "
    "Tensor key_start, float dropout, Tensor? seed, str? engine, bool parts"
)
SAVED = 2
"""How many numbers a row a fused engine's gradient needs beside values and lse, at most."""


def attended(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rule: Rule | Term | None,
    query_start: int | Tensor | None,
    key_start: int | Tensor,
    dropout: float,
    seed: int | None,
    engine: str | None,
    parts: bool = False,
) -> Partial:
    """What `attend` and `partial` compute, as plain Python around one call of the operator, for a compiler to trace."""
    said = as_rule(rule)
    query, key, value = lowered(admit("query", query), admit("key", key), admit("value", value))
    text, leaves, integers = spell(said)
    starts = None if query_start is None else _held("query_start", query_start), _held("key_start", key_start)
    chance = probability(dropout)
    drawn = _drawn(seed, chance, said)
    values, lse, _ = torch.ops.regard.attend(
        query, key, value, leaves, integers, text, *starts, chance, drawn, engine, parts
    )
    name = repr(said) if parts else ""  # printing a number would fix it
    if not parts or not isinstance(said.normalize, Softmax):
        return Partial(values, None, None, query.dtype, name)
    sink = said.normalize.sink
    if isinstance(sink, Tensor) and (sink.ndim == 0 or lse.ndim == 1):
        sink = sink.to(lse.device).reshape(())
    return Partial(values, lse, sink, query.dtype, name)


def _held(name: str, number: int | Tensor) -> Tensor:
    """A number as a tensor, which a graph takes as it comes."""
    if isinstance(number, Tensor):
        if number.is_floating_point() or number.is_complex() or number.dtype == torch.bool:
            raise InputError(f"{name} must hold integers, got {number.dtype}")
        return number
    whole = isinstance(number, (int, torch.SymInt)) or hasattr(number, "__index__")
    if isinstance(number, bool) or not whole:
        raise InputError(f"{name} must be an int or an integer tensor, got {type(number).__name__}")
    return torch.full((), number, dtype=torch.int64, device="cpu")


def _drawn(seed: int | None, dropout: float, said: Rule) -> Tensor | None:
    """The seed as given, or one draw of torch's generator for each call of the graph."""
    if seed is not None:
        return _held("seed", seed)
    return torch.randint(2**62, (), device="cpu") if dropout or said.normalize.random else None


class Call(NamedTuple):
    """What the operator is given."""

    query: Tensor
    key: Tensor
    value: Tensor
    leaves: list[Tensor]
    integers: list[int]
    rule: str
    query_start: Tensor | None
    key_start: Tensor
    dropout: float
    seed: Tensor | None
    engine: str | None
    parts: bool

    @property
    def tensors(self) -> list[Tensor]:
        """All that gradients may flow to."""
        return [self.query, self.key, self.value, *self.leaves]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Call:
        """The same call with other numbers, in the order of `tensors`."""
        query, key, value, *leaves = tensors
        return self._replace(query=query, key=key, value=value, leaves=leaves)

    def pose(self) -> Problem:
        """The problem, every input checked."""
        return pose(
            self.query,
            self.key,
            self.value,
            read(self.rule, self.leaves, self.integers),
            query_start=self.query_start,
            key_start=self.key_start,
            dropout=self.dropout,
            seed=None if self.seed is None else operator.index(self.seed),
            parts=self.parts,
        )


def _attend(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    call = Call(*given)
    problem = call.pose()
    name = chosen(problem, call.engine)
    extra: Sequence[Tensor] = ()
    with torch.no_grad(), settled(problem.query.device):
        if name in GUARDED:
            part, extra = GUARDED[name].compute(problem)
        else:
            part = ENGINES[name].compute(problem)
    values, lse = _results(problem, part)
    saved = lse.new_zeros((SAVED, problem.batch, problem.heads, problem.queries))
    for row, one in zip(saved, extra, strict=False):
        row.copy_(one)
    return values, lse, saved


def _attend_shapes(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The shapes of the results; inputs that don't fit together are left to the operator itself and its messages."""
    dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
    try:
        lead = list(torch.broadcast_shapes(*(t.shape[:-3] for t in (query, key, value))))
    except RuntimeError:
        lead = list(query.shape[:-3])
    heads = query.shape[-3] if query.ndim > 2 else 1
    flat = max(query.ndim, key.ndim, value.ndim) == 2
    rows = [*lead, *([] if flat else [heads]), query.shape[-2]]
    return (
        query.new_empty([*rows, value.shape[-1]], dtype=dtype),
        query.new_empty(rows, dtype=dtype),
        query.new_empty([SAVED, math.prod(lead), heads, query.shape[-2]], dtype=dtype),
    )


def _attend_backward(
    to_values: Tensor | None,
    to_lse: Tensor | None,
    values: Tensor,
    lse: Tensor,
    saved: Tensor,
    wanted: list[bool],
    *given: Any,
) -> list[Tensor]:
    """The gradients of the tensors that want one; the engine starts from the results of the forward pass if it can."""
    call = Call(*given)
    with _recording(), torch.enable_grad():
        inside = [t.detach().requires_grad_(asked) for t, asked in zip(call.tensors, wanted, strict=True)]
        problem = call.with_tensors(inside).pose()
        part = _known(problem, call.engine, values, lse, saved) or solve(problem, call.engine)
        found = pulled(_results(problem, part), inside, (to_values, to_lse), False)
    asked = [(t, grad) for t, grad in zip(inside, found, strict=True) if t.requires_grad]
    return [t.new_zeros(t.shape) if grad is None else grad.contiguous() for t, grad in asked]


def _attend_backward_shapes(*given: Any) -> list[Tensor]:
    wanted, call = given[5], Call(*given[6:])
    tensors = zip(call.tensors, wanted, strict=True)
    return [t.new_empty(t.shape) for t, asked in tensors if asked]


def _known(problem: Problem, engine: str | None, values: Tensor, lse: Tensor, saved: Tensor) -> Partial | None:
    """The result of the forward pass as a node of autograd, where the engine has a gradient that starts from it."""
    fused = GUARDED.get(chosen(problem, engine))
    if fused is None or fused.gradient is None:
        return None
    rows = (problem.batch, problem.heads, problem.queries)
    values = values.reshape(*rows, values.shape[-1])
    made = Partial(values, None, None, problem.query.dtype, "")
    if problem.parts:
        made = made.with_children({"values": values, "log_sum": lse.reshape(rows), "sink": problem.sink})
    with settled(problem.query.device):
        return guarded(problem, Engine(lambda _: (made, tuple(saved)), fused.gradient), tiled.compute)


def _results(problem: Problem, part: Partial) -> tuple[Tensor, Tensor]:
    """Values and lse in the accumulation dtype and the shapes of the inputs; of all keys the output, and lse zeros."""
    values = (part.values if problem.parts else part.out).to(problem.accumulate)
    lse = values.new_zeros(values.shape[:-1]) if part.log_sum is None or not problem.parts else part.log_sum
    return problem.shaped(values).contiguous(), problem.shaped(lse).contiguous()


def _recording() -> AbstractContextManager[object]:
    """Autograd records again, which the dispatcher has switched off inside of an operator."""
    include, exclude = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
    for key in ("AutogradFunctionality", "AutogradOther", "AutogradNestedTensor"):
        exclude = exclude.remove(getattr(torch._C.DispatchKey, key))
    guard: AbstractContextManager[object] = torch._C._ForceDispatchKeyGuard(include, exclude)
    return guard


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    call = Call(*inputs)
    ctx.set_materialize_grads(False)
    numbers = {"query_start": call.query_start, "key_start": call.key_start, "seed": call.seed}
    ctx.numbers = [name for name, number in numbers.items() if number is not None]
    ctx.save_for_backward(*output, *(numbers[name] for name in ctx.numbers), *call.tensors)
    ctx.static = {name: getattr(call, name) for name in ("integers", "rule", "dropout", "engine", "parts")}


def _pull(ctx: Any, to_values: Tensor | None, to_lse: Tensor | None, _: Tensor | None) -> tuple[Any, ...]:
    values, lse, saved, *rest = ctx.saved_tensors
    numbers: dict[str, Any] = dict.fromkeys(("query_start", "key_start", "seed"))
    numbers.update(zip(ctx.numbers, rest, strict=False))
    query, key, value, *leaves = rest[len(ctx.numbers) :]
    call = Call(query, key, value, leaves, **numbers, **ctx.static)
    needs = ctx.needs_input_grad
    wanted = [*needs[:3], *(needs[3] if leaves else ())]
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        grads = _pulled_higher(call, (to_values, to_lse))
    else:
        found = iter(torch.ops.regard.attend_backward(to_values, to_lse, values, lse, saved, wanted, *call))
        grads = [next(found) if asked else None for asked in wanted]
    # PyTorch takes an empty list for one of tensors, which wants a list of gradients.
    return (*grads[:3], grads[3:], None if call.integers else [], *[None] * (len(Call._fields) - 5))


def _pulled_higher(call: Call, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The gradients in operations that have gradients again: a graph that runs as it is may be asked for more."""
    problem = call.pose()
    with settled(problem.query.device):
        results = _results(problem, tiled.compute(problem))
    return pulled(results, call.tensors, grads, True)


def _refuse(ctx: Any, *grads: Any) -> None:
    raise EngineError(
        "compiled attention has first derivatives only; call regard.attend outside of torch.compile for higher ones"
    )


def _register() -> None:
    """Tell PyTorch of the operator, the shapes of its results, and its gradient."""
    backward = f"Tensor? to_values, Tensor? to_lse, Tensor values, Tensor lse, Tensor saved, bool[] wanted, {ARGUMENTS}"
    for name, schema, compute, shapes in (
        ("regard::attend", f"({ARGUMENTS}) -> (Tensor values, Tensor lse, Tensor saved)", _attend, _attend_shapes),
        ("regard::attend_backward", f"({backward}) -> Tensor[]", _attend_backward, _attend_backward_shapes),
    ):
        torch.library.define(name, schema, tags=torch.Tag.pt2_compliant_tag)
        torch.library.impl(name, "CompositeExplicitAutograd", compute)
        torch.library.register_fake(name, shapes)
    torch.library.register_autograd("regard::attend", _pull, setup_context=_keep)
    torch.library.register_autograd("regard::attend_backward", _refuse)


_register()
