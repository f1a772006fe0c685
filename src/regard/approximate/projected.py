"""Linformer: keys and values mixed into fewer, then the exact equation over these."""

from __future__ import annotations

from torch import Tensor

from regard.approximate.asked import ask, unable
from regard.attention import attend
from regard.errors import InputError
from regard.problem.door import settled
from regard.rule import Rule
from regard.terms.tree import Term

__all__ = ["linformer"]


def linformer(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rule: Rule | Term | None = None,
    *,
    mix_keys: Tensor,
    mix_values: Tensor | None = None,
) -> Tensor:
    """Attention over a few learned mixtures of the keys.

    `out = softmax(scale · q (E k)ᵀ) · F v`

    Args:
        query: `[..., heads, queries, dim]`.
        key: `[..., kv_heads, keys, dim]`.
        value: `[..., kv_heads, keys, value_dim]`.
        rule: any score and any normalizer; no pattern, no bias.
        mix_keys: E, `[mixtures, keys]`, or `[kv_heads, mixtures, keys]`; learned for one length.
        mix_values: F, of the same shape; None is E.

    Returns: `[..., heads, queries, value_dim]`.

    Errors: InputError for a pattern: a mixture holds keys that a query may see and keys that it may not; for
    mixtures of another length.

    Source: Wang et al. 2020, "Linformer: Self-Attention with Linear Complexity".
    """
    asked = ask("linformer", query, key, value, rule)
    problem, said = asked.problem, asked.problem.said
    if asked.causal or asked.real is not None:
        reason = "every mixture holds all positions, those too that a query must not see"
        raise unable("linformer", said, reason)
    mix_values = mix_keys if mix_values is None else mix_values
    for name, mixture in (("mix_keys", mix_keys), ("mix_values", mix_values)):
        shapes = ((mixture.shape[-2], problem.keys), (problem.kv_heads, mixture.shape[-2], problem.keys))
        if mixture.ndim not in (2, 3) or mixture.shape not in shapes or mixture.shape != mix_keys.shape:
            raise InputError(
                f"linformer's {name} must be [mixtures, {problem.keys}] or [{problem.kv_heads}, mixtures, "
                f"{problem.keys}], both of one shape, got {list(mixture.shape)}"
            )
    with settled(query.device):
        query, key, value = asked.upcast()
        key, value = mix_keys.to(key) @ key, mix_values.to(value) @ value
        return asked.shaped(attend(query, key, value, said))
