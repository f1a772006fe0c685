"""What a user calls: attend, partial, weights, steps."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.engines import reference, tiled
from regard.engines.reference import Steps
from regard.errors import InputError
from regard.operators import attended
from regard.parts import Partial
from regard.planning import solve
from regard.prepared import prepare, recall, signed
from regard.problem import pose
from regard.problem.door import settled
from regard.rule import Rule, as_rule
from regard.terms.tree import Term

__all__ = ["attend", "partial", "steps", "weights"]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rule: Rule | Term | None = None,
    *,
    query_start: int | Tensor | None = None,
    key_start: int | Tensor = 0,
    dropout: float = 0.0,
    seed: int | None = None,
    engine: str | None = None,
) -> Tensor:
    """Exact attention by any rule, at any length, with the best engine here.

    `out_i = Σ_{j ∈ pattern(i)} normalize_j(score(q_i, k_j) + bias_ij) · v_j`

    Args:
        query: `[..., heads, queries, dim]`, 2 to 5 axes; float64, float32, bfloat16 or float16.
        key: `[..., kv_heads, keys, dim]`; query head h uses key head h // (heads // kv_heads), never copied.
        value: `[..., kv_heads, keys, value_dim]`. Leading dimensions broadcast.
        rule: a `Rule`, one term of it (`causal()`, `alibi()`, …), or None: softmax over scaled dot products.
        query_start: absolute position of the first query, an int or integers per batch entry; None means
            key_start + keys − queries: the queries are the last ones.
        key_start: absolute position of the first key, likewise.
        dropout: probability with which a weight is dropped, in [0, 1); the mask depends on seed and positions alone.
        seed: of dropout and of `hard`; drawn once from torch's generator where None.
        engine: "reference", "tiled", "sdpa", "flex", or None for the best one; `plan` says why.

    Returns: `[..., heads, queries, value_dim]` in the dtype of the inputs. A row that may attend to nothing is 0. How
        it lies in memory hangs on the engine: contiguous, or as the query does.

    Errors: InputError for inputs that don't fit; EngineError where the named engine can't honour the rule.

    Source: Vaswani et al. 2017, "Attention Is All You Need"; Rabe & Staats 2021, "Self-attention Does Not Need
    O(n²) Memory".
    """
    if torch.compiler.is_compiling():
        return attended(query, key, value, rule, query_start, key_start, dropout, seed, engine).out
    signature = signed(query, key, value, rule, query_start, key_start, dropout, seed, engine)
    out = None if signature is None else recall(signature, query, key, value)
    if out is not None:
        return out
    problem = pose(
        query, key, value, rule, query_start=query_start, key_start=key_start, dropout=dropout, seed=seed
    )  # fmt: skip
    ready = None if signature is None else prepare(signature, problem, rule)
    out = None if ready is None else ready(query, key, value)
    return problem.shaped(solve(problem, engine).out) if out is None else out


def partial(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rule: Rule | Term | None = None,
    *,
    query_start: int | Tensor | None = None,
    key_start: int | Tensor = 0,
    dropout: float = 0.0,
    seed: int | None = None,
    engine: str | None = None,
) -> Partial:
    """Attention over a part of the keys, to be merged with the other parts.

    `values_i = Σ_{j ∈ part} exp(s_ij − lse_i) · v_j`, `lse_i = log Σ_{j ∈ part} exp(s_ij)`

    Args:
        query: as in `attend`; so are the others.
        key: the keys of this part.
        value: their values.
        rule: as in `attend`.
        query_start: required where the rule has a pattern or a bias, and for dropout: parts don't tell where the
            queries stand.
        key_start: absolute position of the first key of this part.
        dropout: as in `attend`; pass one seed to all parts. lse is that of the weights before dropout.
        seed: as in `attend`.
        engine: as in `attend`.

    Returns: a `Partial`; `merge(left, right).out` is what `attend` gives for all keys together.

    Errors: InputError for rules that need whole rows (sparsemax, entmax15, top_k, hard), with the reason.
    """
    said = as_rule(rule)
    if said.normalize.whole_row is not None:
        raise InputError(f"partial can't take {said!r}: {said.normalize.whole_row}; give attend all keys at once")
    if dropout and query_start is None:
        raise InputError("partial needs query_start for dropout, whose mask depends on where the queries stand")
    if torch.compiler.is_compiling():
        return attended(query, key, value, said, query_start, key_start, dropout, seed, engine, parts=True)
    problem = pose(
        query, key, value, said, query_start=query_start, key_start=key_start, dropout=dropout, seed=seed, parts=True
    )  # fmt: skip
    part = solve(problem, engine)
    lse = None if part.log_sum is None else problem.shaped(part.log_sum)
    sink = part.sink
    if problem.lead is None and isinstance(sink, Tensor):
        sink = sink.reshape(())
    return part.with_children({"values": problem.shaped(part.values), "log_sum": lse, "sink": sink})


def weights(
    query: Tensor,
    key: Tensor,
    rule: Rule | Term | None = None,
    rows: Tensor | list[int] | None = None,
    *,
    query_start: int | Tensor | None = None,
    key_start: int | Tensor = 0,
    seed: int | None = None,
) -> Tensor:
    """The attention weights themselves, of all rows or of some.

    `w_ij = normalize_j(score(q_i, k_j) + bias_ij)`, a sink's share already taken, exactly 0 where hidden

    Args:
        query: `[..., heads, queries, dim]`.
        key: `[..., kv_heads, keys, dim]`.
        rule: as in `attend`.
        rows: which query rows, counted from 0 in `query`; None is all of them, N×N numbers.
        query_start: as in `attend`; it says where row 0 stands, whatever `rows` asks for.
        key_start: as in `attend`.
        seed: of `hard`.

    Returns: `[..., heads, rows, keys]` in float64 for float64 inputs, else float32.
    """
    whole = pose(query, key, key, rule, query_start=query_start, key_start=key_start, seed=seed)
    first = torch.tensor(whole.extent.query_start)
    first = first.reshape(whole.extent.batch) if first.numel() > 1 else first
    made = []
    for low, high in _runs(rows, whole.queries):
        some = query[..., low:high, :]
        problem = pose(some, key, key, rule, query_start=first + low, key_start=key_start, seed=whole.seed)
        with settled(query.device):
            made.append(problem.shaped(tiled.weights(problem)))
    return torch.cat(made, -2)


def steps(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rule: Rule | Term | None = None,
    *,
    query_start: int | Tensor | None = None,
    key_start: int | Tensor = 0,
    seed: int | None = None,
) -> Steps:
    """Every intermediate of the equation by name, for small inputs: for learning and for tests.

    `score → bias → visible → masked → weights → out`, all of them N×N but the last

    Args: as in `attend`.

    Returns: `Steps`, its tensors in the leading dimensions of the inputs.
    """
    problem = pose(query, key, value, rule, query_start=query_start, key_start=key_start, seed=seed)
    with settled(query.device):
        return reference.steps(problem)


def _listed(rows: Tensor | list[int]) -> list[object]:
    try:
        return torch.as_tensor(rows).flatten().tolist()
    except (RuntimeError, TypeError, ValueError):
        raise InputError(f"rows must be integers, in a list or a tensor, got {type(rows).__name__}") from None


def _runs(rows: Tensor | list[int] | None, queries: int) -> list[tuple[int, int]]:
    """The rows asked for as runs [low, high) of neighbours, in the order in which they were asked for."""
    if rows is None:
        return [(0, queries)]
    runs: list[tuple[int, int]] = []
    for row in _listed(rows):
        if not isinstance(row, int) or isinstance(row, bool) or not -queries <= row < queries:
            raise InputError(f"rows must be integers from 0 to {queries - 1}, got {row}")
        row %= queries
        if runs and runs[-1][1] == row:
            runs[-1] = (runs[-1][0], row + 1)
        else:
            runs.append((row, row + 1))
    return runs or [(0, 0)]
