"""How far a pattern looks, so that a cache can say what it lacks; and whether distances are all that counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from regard.rule import Rule
from regard.terms.bias import Alibi, Bucketed, Relative, Sum
from regard.terms.pattern.algebra import Both, Either, Not, Pattern
from regard.terms.pattern.given import Per, Prefix
from regard.terms.pattern.line import Causal, Strided, Window

__all__ = ["by_distance", "span"]

Span = tuple[float, float]


def span(pattern: Pattern | None, query: int) -> Span:
    """The first and the last key position that a query at this position may look at, or bounds of them.

    `(0, ∞)` for a pattern that gives no bound by its form.
    """
    if isinstance(pattern, Causal):
        return 0, query
    if isinstance(pattern, Window):
        return max(0, query - pattern.before), query + pattern.after
    if isinstance(pattern, Prefix):
        return 0, _last(pattern.length)
    if isinstance(pattern, Both):
        (low, high), (least, most) = span(pattern.left, query), span(pattern.right, query)
        return max(low, least), min(high, most)
    if isinstance(pattern, (Either, Per)):
        parts = (pattern.left, pattern.right) if isinstance(pattern, Either) else pattern.patterns
        lows, highs = zip(*[span(part, query) for part in parts], strict=True)
        return min(lows), max(highs)
    return 0, math.inf


def by_distance(rule: Rule) -> bool:
    """Whether queries and keys may be moved together and nothing changes: so that each step is like the one before."""
    terms = (term for part in (rule.pattern, rule.bias) if part is not None for term in part.within())
    return not rule.normalize.random and all(isinstance(term, _BY_DISTANCE) for term in terms)


_BY_DISTANCE = (Causal, Window, Strided, Both, Either, Not, Sum, Alibi, Relative, Bucketed)


def _last(length: int | Tensor) -> float:
    """The last position of the longest prefix; one that a compiler holds has no number yet, and bounds nothing."""
    if not isinstance(length, Tensor):
        return length - 1
    return -1 if torch.compiler.is_compiling() else int(length.max()) - 1
