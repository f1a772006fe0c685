"""The result over some of the keys, and how such results become one."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms.normalize import NOTHING, visible_share
from regard.terms.tree import Term, term

__all__ = ["Partial", "merge"]


@term
class Partial(Term):
    """Attention over a part of the keys, in the accumulation dtype.

    softmax: `values_i = Σ_j exp(s_ij − lse_i) · v_j`, `lse_i = log Σ_j exp(s_ij)`, the sink kept aside;
    sigmoid, relu: `values_i = Σ_j w_ij · v_j`.
    """

    values: Tensor
    log_sum: Tensor | None
    sink: float | Tensor | None
    dtype: torch.dtype
    rule: str

    @property
    def lse(self) -> Tensor:
        """log Σ_j exp(s_ij) over the real keys, natural logarithm, `[..., heads, queries]`; −∞ for a row of nothing."""
        if self.log_sum is None:
            raise InputError(f"{self.rule} has no log-sum-exp: its weights are not normalized by a row's sum")
        return self.log_sum

    @property
    def out(self) -> Tensor:
        """The output in the dtype of the inputs, `[..., heads, queries, value_dim]`; the sink is applied here."""
        if self.log_sum is None or self.sink is None:
            return self.values.to(self.dtype)
        sink = self.sink.to(self.values.dtype) if isinstance(self.sink, Tensor) else self.sink
        shared = self.values * visible_share(self.log_sum, sink)[..., None]
        # Also where the upstream gradient is NaN, a row of nothing must not reach the sink.
        return torch.where((self.log_sum == NOTHING)[..., None], 0, shared).to(self.dtype)

    def __repr__(self) -> str:
        return f"Partial({list(self.values.shape)}, {self.rule})"


def merge(*partials: Partial) -> Partial:
    """Put parts over disjoint keys together; associative and commutative up to rounding.

    softmax: `lse = log Σ_p exp(lse_p)`, `values = Σ_p exp(lse_p − lse) · values_p`, one sink kept;
    sigmoid, relu: `values = Σ_p values_p`.

    Args:
        partials: one or more results of `regard.partial` for the same queries and the same rule.

    Errors: InputError if they differ in rule, shape or dtype.
    """
    if not partials:
        raise InputError("merge needs at least one Partial, got none")
    for part in partials:
        if not isinstance(part, Partial):
            raise InputError(f"merge takes results of regard.partial, got {type(part).__name__}")
    return reduce(_pair, partials)


def _pair(left: Partial, right: Partial) -> Partial:
    for name, a, b in (
        ("rule", left.rule, right.rule),
        ("dtype", left.dtype, right.dtype),
        ("shape", tuple(left.values.shape), tuple(right.values.shape)),
    ):
        if a != b:
            raise InputError(f"merge needs parts of one {name}, got {a} and {b}")
    if left.log_sum is None or right.log_sum is None:
        return left.with_children({**left.children(), "values": left.values + right.values})
    if not _same_sink(left.sink, right.sink):
        raise InputError("merge needs parts of one rule, got two different sinks")
    lse, share = _log_add(left.log_sum, right.log_sum)
    other = torch.where(lse == NOTHING, 0, 1 - share)
    values = share[..., None] * left.values + other[..., None] * right.values
    return left.with_children({**left.children(), "values": values, "log_sum": lse})


def _log_add(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """log(eᵃ + eᵇ) and eᵃ/(eᵃ + eᵇ), with −∞ and its gradients kept exact (logaddexp(−∞, −∞) has a NaN gradient)."""
    nothing = (a == NOTHING) & (b == NOTHING)
    only_a, only_b = b == NOTHING, a == NOTHING
    gap = torch.where(only_a | only_b, 0, a) - torch.where(only_a | only_b, 0, b)
    share = torch.where(only_a, 1, torch.where(only_b, 0, gap.sigmoid()))
    both = torch.where(
        only_a, a, torch.where(only_b, b, torch.maximum(a, b).detach() + _soft_gap(a, b, only_a | only_b))
    )
    return torch.where(nothing, NOTHING, both), torch.where(nothing, 0, share)


def _soft_gap(a: Tensor, b: Tensor, skip: Tensor) -> Tensor:
    """log(eᵃ + eᵇ) − max(a, b), the maximum held constant."""
    top = torch.where(skip, 0, torch.maximum(a, b).detach())
    return ((torch.where(skip, 0, a) - top).exp() + (torch.where(skip, 0, b) - top).exp()).log()


def _same_sink(a: float | Tensor | None, b: float | Tensor | None) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a is b or torch.equal(a, b)
    return type(a) is type(b) and a == b
