"""Looking: the weights of any rule, at any length, without the square."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from regard.attention import weights
from regard.errors import InputError
from regard.looking import asking
from regard.looking.adding import Total, Totals
from regard.looking.layers import Layer
from regard.looking.results import Cells, Distance, HeadScores, Needle, Pooled, Top
from regard.looking.rollout import Rollout
from regard.looking.runs import Layers, load
from regard.looking.seen import Look
from regard.looking.source import Source, by_kernels
from regard.looking.table import Table
from regard.problem import pose
from regard.rule import Rule
from regard.terms.tree import Term

__all__ = [
    "Cells",
    "Distance",
    "HeadScores",
    "Layer",
    "Layers",
    "Look",
    "Needle",
    "Pooled",
    "Rollout",
    "Table",
    "Top",
    "Total",
    "Totals",
    "load",
    "look",
]


def look(
    query: Tensor,
    key: Tensor,
    rule: Rule | Term | None = None,
    *,
    query_start: int | Tensor | None = None,
    key_start: int | Tensor = 0,
    seed: int | None = None,
    engine: str | None = None,
    differentiable: bool = False,
    top: int = 8,
    within: int = 8,
) -> Look:
    """The weights of an attention to look at: exact, lazy, in O(N) memory.

    `w_ij = normalize_j(score(q_i, k_j) + bias_ij)`, a sink's share already taken, 0 where hidden

    Args:
        query: `[..., heads, queries, dim]`.
        key: `[..., kv_heads, keys, dim]`.
        rule: any rule, as in `attend`.
        query_start: as in `attend`.
        key_start: as in `attend`.
        seed: of `hard`.
        engine: "native" (C++, softmax), "tiled" (any rule), or None: for each pass whichever can.
        differentiable: whether gradients flow back to query, key and the rule, of any order; `tiled` then.
        top: how many of the greatest weights the pass over rows keeps.
        within: up to which distance `head_scores` counts mass as local.

    Returns: a `Look`; nothing is computed before it is asked for.

    Errors: InputError for inputs that don't fit; EngineError where the named engine can't do it.

    Source: Rabe & Staats 2021, "Self-attention Does Not Need O(n²) Memory", for weights that are never kept.
    """
    problem = pose(query, key, key, rule, query_start=query_start, key_start=key_start, seed=seed)
    if problem.transformed:
        raise InputError("look doesn't follow torch.func transforms; take rg.weights of the rows you need")
    top, within = asking.at_least("top", top, 1), asking.at_least("within", within, 0)
    kernels = by_kernels(problem, engine, differentiable)
    rows = partial(weights, query, key, rule, query_start=query_start, key_start=key_start, seed=problem.seed)
    return Look(Source(problem, rows, kernels, differentiable, top, within))
