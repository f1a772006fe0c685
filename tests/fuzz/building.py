"""A case as tensors and a rule."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import regard as rg

sys.path.append(str(Path(__file__).parents[1] / "battery"))
from cases import Case
from members import numbers, positive


@dataclass(frozen=True)
class Sizes:
    """What the terms of a rule have to fit: positions are absolute, so that they count from 0 to an end."""

    batch: int
    heads: int
    dim: int
    query_end: int
    key_end: int


def sizes_of(case: Case) -> Sizes:
    first_key = _most(case["key_start"], case)
    begins = case["query_start"]
    first_query = max(0, first_key + case["keys"] - case["queries"]) if begins is None else _most(begins, case)
    batch = math.prod(case["batch"])
    return Sizes(batch, case["heads"], case["dim"], first_query + case["queries"], first_key + case["keys"])


def _most(start: int | list[int], case: Case) -> int:
    return max(start[: math.prod(case["batch"])]) if isinstance(start, list) else start


def start_of(start: int | list[int] | None, case: Case) -> int | Tensor | None:
    if not isinstance(start, list) or not case["batch"]:
        return start[0] if isinstance(start, list) else start
    return torch.tensor(start[: math.prod(case["batch"])]).reshape(case["batch"])


def arguments(case: Case) -> dict[str, Any]:
    """What `rg.attend` is given besides tensors and rule."""
    return {
        "query_start": start_of(case["query_start"], case),
        "key_start": start_of(case["key_start"], case),
        "dropout": case["dropout"],
        "seed": case["seed"],
    }


# ------------------------------------------------------------------------------------------------------------ tensors


def laid_out(numbers_of: Any, shape: list[int], layout: str) -> Tensor:
    """A tensor of this shape that lies in memory as the layout says, NaN between its numbers."""
    if layout == "transposed" and len(shape) > 2:
        return numbers_of(*shape).transpose(-2, -3).contiguous().transpose(-2, -3)
    if layout == "expanded" and len(shape) > 2:
        return numbers_of(1, *shape[1:]).expand(shape)
    if layout in ("sliced", "stepped"):
        made = numbers_of(*shape)
        wide = [2 * size if (layout == "sliced") == (n == len(shape) - 1) else size for n, size in enumerate(shape)]
        room = torch.full(wide, math.nan, dtype=made.dtype)
        place = room[..., ::2] if layout == "sliced" else room[(*(slice(None, None, 2) for _ in shape[:-1]), ...)]
        place.copy_(made)
        return place
    if layout == "shifted":
        made = numbers_of(*shape)
        return torch.cat((made.new_full((1,), math.nan), made.flatten()))[1:].reshape(shape)
    return numbers_of(*shape)


def tensors_of(case: Case) -> list[Tensor]:
    """Query, key, value and the upstream gradient, without poison."""
    dtype, seed = getattr(torch, case["dtype"]), case["numbers"]
    rows, columns = ["queries", "keys", "keys", "queries"], ["dim", "dim", "value_dim", "value_dim"]
    heads, scales = ["heads", "kv_heads", "kv_heads", "heads"], [case["scale"], 1.0, case["values"], 1.0]
    made = []
    for n in range(4):
        shape = [*case["batch"], case[heads[n]], case[rows[n]], case[columns[n]]]

        def drawn(*shape: int, n: int = n) -> Tensor:
            return numbers(*shape, seed=seed + n, scale=scales[n]).to(dtype)

        made.append(laid_out(drawn, shape, case["layouts"][n]))
    return made


def poisoned(case: Case, tensors: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors with a few special values in one of them, and where: a boolean tensor for each."""
    kind, which, seed = case["special"]
    finfo = torch.finfo(tensors[0].dtype)
    value = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "max": finfo.max, "min": finfo.min}[kind]
    spots = [torch.zeros(t.shape, dtype=torch.bool) for t in tensors]
    generator = torch.Generator().manual_seed(seed)
    place = torch.randint(tensors[which].numel(), (2,), generator=generator)
    spots[which].view(-1)[place] = True
    found = list(tensors)
    found[which] = torch.where(spots[which], torch.tensor(value, dtype=found[which].dtype), found[which])
    return found, spots


# --------------------------------------------------------------------------------------------------------------- rules


def rule_of(case: Case) -> rg.Rule:
    """The rule, its tensors in float64 or the type of the case."""
    sizes = sizes_of(case)
    bias = None
    for name, seed in case["bias"]:
        one = bias_of(name, seed, sizes)
        bias = one if bias is None else bias + one
    rule = rg.Rule(
        score_of(*case["score"], sizes),
        None if case["pattern"] is None else pattern_of(case["pattern"], sizes),
        bias,
        normalizer_of(*case["normalize"], sizes),
    )
    dtype = getattr(torch, case["dtype"])
    return rule.with_leaves([leaf.to(dtype) if leaf.is_floating_point() else leaf for leaf in rule.leaves()])


def score_of(name: str, seed: int, sizes: Sizes) -> Any:
    heads, dim = sizes.heads, sizes.dim
    if name.startswith("softcap "):
        return rg.softcap(score_of(name[8:], seed, sizes), 1.0 + seed / 100)
    return {
        "dot": rg.dot,
        "dot by head": lambda: rg.dot(positive(heads, seed=seed)),
        "dot negative": lambda: rg.dot(-0.3),
        "general": lambda: rg.general(numbers(heads, dim, dim, seed=seed, scale=dim**-0.5)),
        "cosine": lambda: rg.cosine(4 * positive(heads, seed=seed)),
        "gaussian": lambda: rg.gaussian(3 * positive(heads, seed=seed)),
        "additive": lambda: rg.additive(
            numbers(11, dim, seed=seed), numbers(heads, 11, dim, seed=seed + 1), numbers(11, seed=seed + 2)
        ),
    }[name]()


def normalizer_of(name: str, seed: int, sizes: Sizes) -> Any:
    return {
        "softmax": rg.softmax,
        "softmax with a sink": lambda: rg.softmax(float(seed % 5)),
        "softmax with sinks": lambda: rg.softmax(numbers(sizes.heads, seed=seed)),
        "sigmoid": lambda: rg.sigmoid(-1.0),
        "sigmoid by head": lambda: rg.sigmoid(numbers(sizes.heads, seed=seed)),
        "relu": lambda: rg.relu(2, 3),
        "sparsemax": rg.sparsemax,
        "entmax15": rg.entmax15,
        "top_k": lambda: rg.top_k(seed % 7 + 1),
    }[name]()


def graph(seed: int, sizes: Sizes) -> Tensor:
    """Edges `[2, count]`, each once."""
    every = torch.randint(
        sizes.key_end * sizes.query_end, (1 + seed % 200,), generator=torch.Generator().manual_seed(seed)
    ).unique()
    return torch.stack((every % sizes.key_end, every // sizes.key_end))


def bias_of(name: str, seed: int, sizes: Sizes) -> Any:
    heads, queries, keys = sizes.heads, sizes.query_end, sizes.key_end
    shape = (*((sizes.batch, heads) if seed % 2 else (1,)), queries, keys)

    def hiding() -> Tensor:
        values = numbers(*shape, seed=seed)
        return torch.where(values > 1, -math.inf, values)

    def edges() -> Any:
        index = graph(seed, sizes)
        return rg.bias.edges(index, numbers(heads, index.shape[1], seed=seed))

    return {
        "alibi": lambda: rg.alibi(positive(heads, seed=seed)) if seed % 2 else rg.alibi(),
        "relative": lambda: rg.relative(numbers(heads, 2 * (seed % 60) + 1, seed=seed)),
        "t5": lambda: rg.t5(numbers(heads, 8, seed=seed), bidirectional=seed % 2 == 0, max_distance=11),
        "keys": lambda: rg.bias.keys(numbers(heads, keys, seed=seed)),
        "edges": edges,
        "tensor": lambda: rg.bias.tensor(numbers(*shape, seed=seed)),
        "tensor by key": lambda: rg.bias.tensor(numbers(heads, 1, keys, seed=seed)),
        "tensor by row": lambda: rg.bias.tensor(numbers(heads, queries, 1, seed=seed)),
        "hiding tensor": lambda: rg.bias.tensor(hiding()),
    }[name]()


def pattern_of(said: list[Any], sizes: Sizes) -> Any:
    if said[0] == "~":
        return ~pattern_of(said[1], sizes)
    if said[0] in ("&", "|"):
        left, right = (pattern_of(part, sizes) for part in said[1:])
        return left & right if said[0] == "&" else left | right
    name, seed = said
    end = max(sizes.query_end, sizes.key_end)
    cut = seed % end
    seen = numbers(sizes.query_end, sizes.key_end, seed=seed)
    return {
        "everything": rg.everything,
        "causal": rg.causal,
        "window": lambda: rg.window(before=seed % 50, after=seed % 7),
        "documents": lambda: rg.documents([cut, end - cut]),
        "packed": lambda: rg.packed([sizes.query_end - 1, 1], [sizes.key_end]),
        "padding": lambda: rg.padding(torch.arange(sizes.batch) * 7 + cut),
        "prefix": lambda: rg.causal() | rg.prefix(cut),
        "global_tokens": lambda: rg.window(3) | rg.global_tokens([cut]),
        "strided": lambda: rg.strided(seed % 9 + 1),
        "blocks": lambda: rg.blocks(seed % 40 + 1),
        "random_blocks": lambda: rg.random_blocks(seed % 30 + 1, 2, end, seed=seed),
        "neighborhood": lambda: rg.neighborhood((end, 2), (seed % 3 * 2 + 1, 1), edge="clip"),
        "axial": lambda: rg.axial((end, 2)),
        "edges": lambda: rg.edges(graph(seed, sizes)),
        "mask": lambda: rg.mask(seen > 0.2),
        "sparse mask": lambda: rg.mask(seen > 2),
        "nothing": lambda: ~rg.everything(),
        "per_head": lambda: rg.per_head(*(rg.window(7 * h + 1 + seed % 5) for h in range(sizes.heads))),
        "per_batch": lambda: rg.per_batch(*(rg.causal() if b % 2 else rg.window(cut + 1) for b in range(sizes.batch))),
    }[name]()
