"""Each rule × each engine agrees with `reference`, forward and backward, or the plan gives a reason."""

from __future__ import annotations

from itertools import combinations, product

import pytest
import torch
from covering import all_pairs, pairs_of
from members import BIASES, FIRST, NORMALIZERS, PATTERNS, ROOMS, SCORES, exported, tensors
from torch import Tensor

import regard as rg
from regard.planning import ENGINES

AXES = (["", *SCORES], ["", *PATTERNS], ["", *BIASES], ["", *NORMALIZERS])
OTHERS = [name for name in ENGINES if name != "reference"]


def rule_of(score: str, pattern: str, bias: str, normalize: str) -> rg.Rule:
    return rg.Rule(
        SCORES[score]() if score else rg.dot(),
        PATTERNS[pattern]() if pattern else None,
        BIASES[bias]() if bias else None,
        NORMALIZERS[normalize]() if normalize else rg.softmax(),
    )


def first_query(pattern: str) -> int:
    """Packings count query rows from 0; all else takes the queries for the last positions."""
    return 0 if pattern == "packed" else FIRST


def run(rule: rg.Rule, start: int, engine: str, graph: bool = True) -> list[Tensor]:
    """Output and the gradients of query, key, value and every floating tensor of the rule."""
    leaves = [leaf.clone().requires_grad_(graph and leaf.is_floating_point()) for leaf in rule.leaves()]
    inputs = [t.requires_grad_(graph) for t in tensors()]
    out = rg.attend(*inputs, rule.with_leaves(leaves), query_start=start, seed=7, engine=engine)
    if not graph:
        return [out]
    wanted = [*inputs, *(leaf for leaf in leaves if leaf.requires_grad)]
    weight = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).reshape(out.shape)
    grads = torch.autograd.grad((out * weight).sum(), wanted, allow_unused=True)
    return [out, *(torch.zeros_like(t) if g is None else g for t, g in zip(wanted, grads, strict=True))]


def agree(row: tuple[str, ...]) -> None:
    rule, start = rule_of(*row), first_query(row[1])
    expected = run(rule, start, "reference")
    assert all(t.isfinite().all() for t in expected)
    for engine in OTHERS:
        plan = rg.plan(*tensors(), rule, query_start=start)
        try:
            found = run(rule, start, engine)
        except rg.EngineError as refused:
            assert engine != "tiled"
            if engine != "flex" or "backward" not in str(refused):
                assert engine == plan.engine or plan.reasons[engine] in str(refused)
                continue
            found = run_forward(rule, start, engine)
        for got, want in zip(found, expected, strict=False):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-12 * max(1.0, want.abs().max().item()))


def run_forward(rule: rg.Rule, start: int, engine: str) -> list[Tensor]:
    try:
        return run(rule, start, engine, graph=False)
    except rg.EngineError:
        return []


@pytest.mark.parametrize("room, examples", ROOMS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_exported_term_has_an_example(room, examples):
    assert exported(room) == set(examples)


def test_every_pair_of_terms_is_covered():
    met = {pair for row in all_pairs(AXES) for pair in pairs_of(row)}
    for a, b in combinations(range(4), 2):
        assert {(a, x, b, y) for x, y in product(AXES[a], AXES[b])} <= met


@pytest.mark.parametrize("row", all_pairs(AXES), ids=lambda row: "-".join(part or "·" for part in row))
def test_pairs_of_terms(row):
    agree(row)


@pytest.mark.battery
@pytest.mark.parametrize("row", list(product(*AXES)), ids=lambda row: "-".join(part or "·" for part in row))
def test_full_product(row):
    agree(row)


def without(row: tuple[str, ...], axis: int) -> rg.Rule:
    return rule_of(*("" if n == axis else part for n, part in enumerate(row)))


@pytest.mark.parametrize(
    "axis, name",
    [(n, name) for n, axis in enumerate(AXES) for name in axis if name and (n, name) != (1, "everything")],
    ids=str,
)
def test_the_battery_can_fail(axis, name):
    """Leaving the term out moves the result by far more than the tolerance."""
    row = tuple(name if n == axis else "" for n in range(4))
    start = first_query(name if axis == 1 else "")
    with_it = run(rule_of(*row), start, "tiled")[0]
    without_it = run(without(row, axis), start, "tiled")[0]
    assert (with_it - without_it).abs().max() > 1e-2


SINGLES = [
    tuple(name if n == axis else "" for n in range(4)) for axis, names in enumerate(AXES) for name in names if name
]


@pytest.mark.parametrize("row", SINGLES, ids="".join)
def test_each_term_alone(row):
    agree(row)


def taken(engine: str) -> set[tuple[int, str]]:
    """The terms, by axis and name, that an engine takes in an otherwise plain rule on an accelerator."""
    found = set()
    for row in SINGLES:
        plan = rg.plan(*tensors(), rule_of(*row), query_start=first_query(row[1]))
        if "chosen on" in plan.reasons[engine]:
            found.update((axis, name) for axis, name in enumerate(row) if name)
    return found


def test_what_pytorchs_own_kernels_are_given():
    """Neither is refused what it can do; packed, blocks and per_head have rows that see no key."""
    assert taken("sdpa") == {(1, name) for name in PATTERNS} - {(1, "packed"), (1, "blocks"), (1, "per_head")}
    formulas = {(1, name) for name in PATTERNS} | {(2, name) for name in BIASES}
    assert taken("flex") == formulas - {(1, "edges"), (2, "edges")} | {(3, "softmax"), (0, "softcap")}
