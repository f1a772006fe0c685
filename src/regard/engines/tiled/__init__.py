"""Any rule, on any device, tile by tile: O(N · tile) memory, forward and backward, derivatives of any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from regard.engines.tiled.program import Output, Program, TileFunction
from regard.equation import attended, weigh, with_sink
from regard.parts import Partial
from regard.problem import Problem
from regard.terms.normalize import NOTHING, Softmax
from regard.tiling import Tile, tiles

__all__ = ["Output", "compute", "over_tiles", "refusal", "weights"]


def refusal(problem: Problem) -> str | None:
    """Why the problem can't be computed here: for no reason at all."""
    return None


def compute(problem: Problem) -> Partial:
    """Attention over the keys at hand."""
    shape = (problem.batch, problem.heads, problem.queries)
    values = Output((*shape, problem.value.shape[-1]), ("batch", "head", "query", None), problem.accumulate)
    lse = Output(shape, ("batch", "head", "query"), problem.accumulate, NOTHING)
    merged = isinstance(problem.rule.normalize, Softmax)
    program = over_tiles(problem, _attend, (values, lse) if merged else (values,))
    tensors = problem.tensors
    made = program.run_plainly(tensors) if problem.transformed else program(tensors)
    return Partial(made[0], made[1] if merged else None, problem.sink, problem.query.dtype, repr(problem.said))


def weights(problem: Problem) -> Tensor:
    """`[batch, heads, queries, keys]`, a sink's share already taken."""
    shape = (problem.batch, problem.heads, problem.queries, problem.keys)
    whole = Output(shape, ("batch", "head", "query", "key"), problem.accumulate)
    program = over_tiles(problem, _weigh, (whole,))
    return (program.run_plainly if problem.transformed else program)(problem.tensors)[0]


def over_tiles(problem: Problem, function: TileFunction, outputs: tuple[Output, ...]) -> Program:
    """The function of every tile, of (query, key, value, leaves…): a program that takes `problem.tensors`."""
    row, column = ("batch", "head", "query", None), ("batch", "kv_head", "key", None)
    inputs = (row, column, column, *problem.leaf_roles)
    return Program(partial(tiles, problem, problem.transformed), function, inputs, outputs, problem.accumulate)


def _attend(tile: Tile, tensors: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """The equation for one tile: (query, key, value, leaves…) → values and, for softmax, lse."""
    query, key, value, *leaves = tensors
    weighed = weigh(tile.problem.rule.with_leaves(leaves), query, key, tile.place)
    values = attended(weighed.weights, value, replace(tile.place, visible=weighed.visible))
    return (values,) if weighed.lse is None else (values, weighed.lse)


def _weigh(tile: Tile, tensors: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """The weights of one tile: (query, key, value, leaves…) → weights."""
    query, key, _, *leaves = tensors
    rule = tile.problem.rule.with_leaves(leaves)
    weights = with_sink(rule, weigh(rule, query, key, tile.place))
    return (_spread(weights, tile) if tile.problem.transformed else weights,)


def _spread(weights: Tensor, tile: Tile) -> Tensor:
    """The weights of a tile over all keys, so that blocks of rows can be put one under the other."""
    keys = tile.problem.keys
    if isinstance(tile.key, slice):
        return pad(weights, (tile.key.start, keys - tile.key.stop))
    return weights.new_zeros(*weights.shape[:-1], keys).index_copy(
        -1, torch.from_numpy(tile.key).to(weights.device), weights
    )
