"""One example of every term that regard exports, found by name: a term without an example fails the battery.

Sizes are distinct primes where the equation lets them be, so that a wrong transpose can't pass.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import regard as rg
from regard.terms import bias as biases
from regard.terms import normalize as normalizers
from regard.terms import pattern as patterns
from regard.terms import score as scores
from regard.terms.tree import Term

BATCH, HEADS, KV_HEADS, QUERIES, KEYS, DIM, VALUE_DIM = 2, 6, 3, 13, 17, 7, 5
FIRST = 4
"""Where the queries stand: KEYS − QUERIES, the default."""


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale


def positive(*shape: int, seed: int = 0) -> Tensor:
    return numbers(*shape, seed=seed).abs() + 0.5


SCORES: dict[str, Callable[[], Term]] = {
    "dot": lambda: rg.dot(positive(HEADS, seed=1)),
    "general": lambda: rg.general(numbers(HEADS, DIM, DIM, seed=2)),
    "additive": lambda: rg.additive(numbers(11, DIM, seed=3), numbers(HEADS, 11, DIM, seed=4), numbers(11, seed=5)),
    "cosine": lambda: rg.cosine(4 * positive(HEADS, seed=6)),
    "gaussian": lambda: rg.gaussian(positive(HEADS, seed=7)),
    "softcap": lambda: rg.softcap(rg.dot(), 2.0),
}
NORMALIZERS: dict[str, Callable[[], Term]] = {
    "softmax": lambda: rg.softmax(numbers(HEADS, seed=8)),
    "sigmoid": lambda: rg.sigmoid(numbers(HEADS, seed=9)),
    "relu": lambda: rg.relu(2, 3),
    "sparsemax": rg.sparsemax,
    "entmax15": rg.entmax15,
    "top_k": lambda: rg.top_k(3),
    "hard": lambda: rg.hard(0.7),
}


def _edges() -> Tensor:
    every = torch.cartesian_prod(torch.arange(KEYS), torch.arange(KEYS))
    return every[torch.randperm(KEYS * KEYS, generator=torch.Generator().manual_seed(10))[:71]].T


BIASES: dict[str, Callable[[], Term]] = {
    "alibi": lambda: rg.alibi(positive(HEADS, seed=11)),
    "relative": lambda: rg.relative(numbers(HEADS, 9, seed=12)),
    "t5": lambda: rg.t5(numbers(HEADS, 8, seed=13), max_distance=11),
    "keys": lambda: rg.bias.keys(numbers(BATCH, HEADS, KEYS, seed=14)),
    "edges": lambda: rg.bias.edges(_edges(), numbers(HEADS, 71, seed=15)),
    "tensor": lambda: rg.bias.tensor(numbers(HEADS, KEYS, KEYS, seed=16)),
}


def _random(*shape: int) -> Tensor:
    return numbers(*shape, seed=17) > 0.2


PATTERNS: dict[str, Callable[[], Term]] = {
    "everything": rg.everything,
    "causal": rg.causal,
    "window": lambda: rg.window(before=3, after=2),
    "documents": lambda: rg.documents(torch.tensor([[5, 7, 5], [11, 6, 0]])),
    "packed": lambda: rg.packed([6, 11], [4, 13]),
    "padding": lambda: rg.padding(torch.tensor([11, 17])),
    "prefix": lambda: rg.causal() | rg.prefix(torch.tensor([3, 8])),
    "global_tokens": lambda: rg.window(2) | rg.global_tokens([1, 9]),
    "strided": lambda: rg.strided(3),
    "blocks": lambda: rg.blocks(5, _random(HEADS, 4, 4)),
    "random_blocks": lambda: rg.random_blocks(3, 2, KEYS, seed=5),
    "neighborhood": lambda: rg.neighborhood((3, 3), (3, 7)) & ~rg.window(before=0, after=0),
    "axial": lambda: rg.axial((3, 7)),
    "edges": lambda: rg.edges(_edges()),
    "mask": lambda: rg.mask(_random(BATCH, 1, KEYS, KEYS)),
    "per_head": lambda: rg.per_head(
        *[rg.causal() & rg.window(n) for n in (1, 2, 3)], rg.causal(), ~rg.causal(), rg.prefix(3)
    ),
    "per_batch": lambda: rg.per_batch(rg.causal(), rg.window(before=2, after=5)),
}
ROOMS = ((scores, SCORES), (patterns, PATTERNS), (biases, BIASES), (normalizers, NORMALIZERS))


def exported(room: object) -> set[str]:
    """The lowercase factories of a room that make one of its terms."""
    kinds = (scores.Score, patterns.Pattern, biases.Bias, normalizers.Normalize)
    names = [name for name in room.__all__ if name.islower()]  # type: ignore[attr-defined]
    return {
        name
        for name in names
        if (annotation := getattr(room, name).__annotations__.get("return"))
        and any(str(annotation) in {c.__name__ for c in _below(kind)} for kind in kinds)
    }


def _below(kind: type) -> set[type]:
    return {kind}.union(*(_below(sub) for sub in kind.__subclasses__()))


def tensors(seed: int = 20, spread: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key, value; dot products over √d have a standard deviation of `spread`."""
    query = numbers(BATCH, HEADS, QUERIES, DIM, seed=seed, scale=spread)
    return (
        query,
        numbers(BATCH, KV_HEADS, KEYS, DIM, seed=seed + 1),
        numbers(BATCH, KV_HEADS, KEYS, VALUE_DIM, seed=seed + 2),
    )
