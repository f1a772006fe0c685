"""The equation as a value: four terms, one rule."""

from __future__ import annotations

from dataclasses import field, replace

import torch
from torch import Tensor

from regard.errors import InputError
from regard.terms import bias as biases
from regard.terms import normalize as normalizers
from regard.terms import score as scores
from regard.terms.pattern import Pattern
from regard.terms.tree import Role, Term, aligned, term

__all__ = ["Rule", "as_rule"]


@term
class Rule(Term):
    """Which attention: a score, a pattern, a bias and a normalizer.

    `out_i = Σ_{j ∈ pattern(i)} normalize_j(score(q_i, k_j) + bias_ij) · v_j`

    A frozen value and a pytree whose leaves are its tensors. It prints as it is read:
    `softmax( dot/√d + alibi(8) | causal & window(256) )`.

    Args:
        score: how well a key fits a query; `dot()` unless told.
        pattern: which keys a query may look at; None is all of them.
        bias: what else moves the score; None is nothing.
        normalize: how scores become weights; `softmax()` unless told.
    """

    score: scores.Score = field(default_factory=scores.dot)
    pattern: Pattern | None = None
    bias: biases.Bias | None = None
    normalize: normalizers.Normalize = field(default_factory=normalizers.softmax)

    def __post_init__(self) -> None:
        _check("score", self.score, scores.Score, "such as regard.dot()")
        _check("normalize", self.normalize, normalizers.Normalize, "such as regard.softmax()")
        if self.pattern is not None:
            _check("pattern", self.pattern, Pattern, "such as regard.causal(); regard.mask(...) takes a boolean tensor")
        if self.bias is not None:
            _check("bias", self.bias, biases.Bias, "such as regard.alibi(); regard.bias.tensor(...) takes a tensor")

    @property
    def positional(self) -> bool:
        """Whether the result depends on where queries and keys stand."""
        return self.pattern is not None or self.bias is not None

    def of_heads(self, heads: int, which: slice | list[int], device: torch.device) -> Rule:
        """The rule for some of its query heads.

        Args:
            heads: how many there are in all, by which a bias without numbers of its own has its slopes.
            which: of them.
            device: where such numbers go.
        """
        bias = None if self.bias is None else self.bias.for_heads(heads, device)
        return replace(self, bias=bias).map(lambda leaf, roles: _of_heads(leaf, roles, which))

    def __repr__(self) -> str:
        bias = "" if self.bias is None else f" + {self.bias!r}"
        pattern = "" if self.pattern is None else f" | {self.pattern!r}"
        return f"{self.normalize!r}( {self.score!r}{bias}{pattern} )"


def as_rule(value: Rule | Term | None) -> Rule:
    """A rule from a rule, from any one term of it, or from None (softmax over scaled dot products)."""
    if value is None:
        return Rule()
    if isinstance(value, Rule):
        return value
    if isinstance(value, Pattern):
        return Rule(pattern=value)
    if isinstance(value, biases.Bias):
        return Rule(bias=value)
    if isinstance(value, scores.Score):
        return Rule(score=value)
    if isinstance(value, normalizers.Normalize):
        return Rule(normalize=value)
    hint = "; wrap a boolean mask in regard.mask(...), an additive one in regard.bias.tensor(...)" * isinstance(
        value, Tensor
    )
    raise InputError(f"rule must be a regard.Rule or one of its terms, got {type(value).__name__}{hint}")


def _of_heads(leaf: Tensor, roles: tuple[Role, ...], which: slice | list[int]) -> Tensor:
    for axis, role in enumerate(aligned(roles, leaf.ndim)):
        if role == "head" and leaf.shape[axis] > 1:
            leaf = leaf[(slice(None),) * axis + (which,)]
    return leaf


def _check(name: str, value: object, kind: type, example: str) -> None:
    if not isinstance(value, kind):
        raise InputError(f"Rule({name}=…) needs a {kind.__name__.lower()} {example}, got {type(value).__name__}")
