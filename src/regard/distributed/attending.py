"""Attention over a sequence that lies on several ranks: attend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from regard.distributed import ulysses
from regard.distributed.asked import Asked
from regard.distributed.calls import Call, begin
from regard.distributed.inner import Parts
from regard.distributed.peers import Group, Messages, Peers
from regard.distributed.setup import Setup
from regard.engines import ring
from regard.parts import Partial
from regard.planning import solve
from regard.problem import pose
from regard.problem.door import settled, untraced
from regard.rule import Rule
from regard.terms.tree import Term

__all__ = ["attend", "ringed"]


@untraced
def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rule: Rule | Term | None = None,
    *,
    group: Group = None,
    query_start: int | None = None,
    dropout: float = 0.0,
    seed: int | None = None,
    setup: Setup | None = None,
) -> Tensor:
    """Exact attention over a sequence that lies on several ranks; every rank calls it with its own rows.

    `out_i = Σ_{j ∈ pattern(i)} normalize_j(score(q_i, k_j) + bias_ij) · v_j`, j over the keys of all ranks

    Args:
        query: `[..., heads, local queries, dim]`, as `shard` cuts it.
        key: `[..., kv_heads, local keys, dim]`, likewise.
        value: `[..., kv_heads, local keys, value_dim]`.
        rule: the same on every rank, its tensors for the whole sequence, at absolute positions. Any rule whose parts
            merge: `softmax`, `sigmoid`, `relu`.
        group: a process group, a `DeviceMesh` of one axis, or None: all processes.
        query_start: absolute position of the first of all queries; None means that the queries are the last ones.
        dropout: probability with which a weight is dropped; by absolute position, so the same as on one machine.
        seed: of dropout; None takes what the first rank draws.
        setup: how ranks work together; `Setup()` unless told.

    Returns: this rank's rows, `[..., heads, local queries, value_dim]`. Gradients of query, key and value are those of
    the whole; of the rule's tensors each rank has the share of its own queries, as of any replicated parameter: their
    sum over the ranks is the gradient.

    Errors: on every rank, within the group's timeout: InputError where the rule can't be merged or ranks bring
    different rules, shapes or types; GroupError where a rank failed, died or stalled.

    Source: Liu et al. 2023, "Ring Attention with Blockwise Transformers for Near-Infinite Context".
    """
    peers = Peers(group)
    asked = Asked("attend", (query, key, value), rule, query_start, dropout, seed, setup or Setup())
    call = begin(peers, asked)
    with settled(peers.device):
        if call.layout == "ulysses":
            return _by_heads(call)
        return call.frame.shaped(_whole(call).out)


def _whole(call: Call) -> Partial:
    """All keys for this rank's queries, `[batch, heads, local queries, ·]`, with the user's sink."""
    made: list[Partial] = []
    results = _Ring.apply(call, made, *call.shard.tensors)  # type: ignore[no-untyped-call]
    sums = {"log_sum": results[1]} if len(results) > 1 else {}
    part = made[0].with_children({"values": results[0], **sums})
    return Partial(part.values, part.log_sum, call.frame.sink, part.dtype, part.rule)


def ringed(call: Call, messages: Messages) -> ring.Round:
    """This rank's part."""
    inner = Parts(call.asked.setup.engine)
    return ring.Round(call.shard, call.needs, call.wanted, messages, inner, call.groups())


class _Ring(Function):
    """One node of autograd; its backward pass is a ring as well."""

    @staticmethod
    def forward(ctx: Any, call: Call, made: list[Partial], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.call, ctx.count = call, len(tensors)
        ctx.set_materialize_grads(False)
        whole = ring.forward(ringed(call, call.messages()))
        call.peers.finished("the end of all ranks' forward passes")
        made.append(whole)
        results = (whole.values,) if whole.log_sum is None else (whole.values, whole.log_sum)
        ctx.save_for_backward(*tensors, *results)
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        call: Call = ctx.call
        tensors, results = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        values, log_sum = (*results, None)[:2]
        whole = Partial(values, log_sum, None, values.dtype, "")
        upstream: Sequence[Tensor | None] = (*grads, None)[:2]
        this = replace(call, shard=call.shard.with_tensors(tensors))
        with settled(call.peers.device):
            found = ring.backward(ringed(this, call.messages()), whole, upstream)
        call.peers.finished("the end of all ranks' backward passes")
        return (None, None, *found)


def _by_heads(call: Call) -> Tensor:
    peers, shard = call.peers, call.shard
    own = ulysses.met(peers, *shard.tensors[:3], *call.rule.leaves())
    query = ulysses.turned(own[0], peers, call.queries)
    key, value = (ulysses.turned(t, peers, shard.keys) for t in own[1:3])
    heads = shard.query.shape[-3]
    which = slice(peers.rank * heads // peers.size, (peers.rank + 1) * heads // peers.size)
    rule = call.rule.with_leaves(own[3:]).of_heads(heads, which, query.device)
    problem = pose(query, key, value, rule, query_start=call.asked.query_start, seed=shard.seed)
    out = problem.shaped(solve(problem, call.asked.setup.engine).out)
    found = ulysses.back(out, peers, call.queries)
    peers.finished("the end of all ranks' forward passes")
    return found
