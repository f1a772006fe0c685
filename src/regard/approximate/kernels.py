"""Attention by feature maps: linear attention and the Performer."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.approximate.asked import Asked, ask, plain
from regard.approximate.features import Elu, Map, Positive, directions
from regard.approximate.sums import Keys, causal, whole
from regard.errors import InputError
from regard.problem.door import settled
from regard.rule import Rule
from regard.terms.score import Dot
from regard.terms.tree import Term

__all__ = ["linear", "performer"]


def linear(query: Tensor, key: Tensor, value: Tensor, rule: Rule | Term | None = None) -> Tensor:
    """Linear attention: a similarity of its own in place of the softmax's, and time in proportion to length.

    `out_i = Σ_j φ(q_i) · φ(k_j) v_j / Σ_j φ(q_i) · φ(k_j)`, `φ(x) = elu(x) + 1`

    Args:
        query: `[..., heads, queries, dim]`.
        key: `[..., kv_heads, keys, dim]`.
        value: `[..., kv_heads, keys, value_dim]`.
        rule: None, `causal()`, `padding(…)` or both; the queries are the last ones.

    Returns: `[..., heads, queries, value_dim]`; a row that may attend to nothing is 0.

    Errors: InputError for any other rule, with the reason.

    Source: Katharopoulos et al. 2020, "Transformers are RNNs".
    """
    asked = ask("linear", query, key, value, rule)
    plain("linear", asked, score=True)
    score = asked.problem.said.score
    if isinstance(score, Dot) and score.scale is not None:
        raise InputError(f"approximate.linear has no exponential for a scale to sharpen, got {score!r}; leave it out")
    with settled(query.device):
        return _attended(asked, *asked.upcast(), Elu())


def performer(
    query: Tensor, key: Tensor, value: Tensor, rule: Rule | Term | None = None, *, features: int | Tensor = 256
) -> Tensor:
    """Softmax attention by positive orthogonal random features (FAVOR+), in time in proportion to length.

    `exp(q · k) = E_ω[exp(ω · q − ‖q‖²/2) · exp(ω · k − ‖k‖²/2)]`, ω Gaussian; the mean is taken over `features` of them

    Args:
        query: `[..., heads, queries, dim]`.
        key: `[..., kv_heads, keys, dim]`.
        value: `[..., kv_heads, keys, value_dim]`.
        rule: None, `causal()`, `padding(…)`, or both with `dot(scale)`; the queries are the last ones.
        features: how many, drawn anew from torch's generator in every call; or the directions ω themselves,
            `[features, dim]`, of `directions(…)`: a layer that is trained keeps its own.

    Returns: `[..., heads, queries, value_dim]`; a row that may attend to nothing is 0.

    Errors: InputError for any other rule, with the reason; for directions of another dim.

    Source: Choromanski et al. 2021, "Rethinking Attention with Performers".
    """
    asked = ask("performer", query, key, value, rule)
    plain("performer", asked, score=True)
    dim, problem = query.shape[-1], asked.problem
    if not isinstance(features, Tensor):
        features = directions(features, dim)
    if features.ndim != 2 or features.shape[-1] != dim or not len(features):
        raise InputError(f"performer's directions must be [features, {dim}], got {list(features.shape)}")
    with settled(query.device):
        query, key, value = asked.upcast()
        scale = getattr(problem.rule.score, "scale", None)
        scale = scale.to(query)[..., None, None] if isinstance(scale, torch.Tensor) else scale
        # The weights are of q · k alone; how the scale is shared between the two moves the variance only.
        query = query * (dim**-0.25 if scale is None else scale * dim**0.25)
        return _attended(asked, query, key * dim**-0.25, value, Positive(features.to(query)))


def _attended(asked: Asked, query: Tensor, key: Tensor, value: Tensor, by: Map) -> Tensor:
    keys = Keys(key, value, asked.real, by)
    return asked.shaped((causal if asked.causal else whole)(query, keys))
