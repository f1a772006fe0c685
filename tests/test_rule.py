"""Rules and terms are values: printable, comparable, frozen, pytrees, and they survive copying and pickling."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import regard as rg
from regard.rule import as_rule
from regard.terms.tree import Term

HEADS = 6


def real(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def edge_index() -> Tensor:
    return torch.tensor([[0, 2, 3], [1, 4, 4]])


TERMS: dict[str, Callable[[], Term]] = {
    # score
    "dot/√d": rg.dot,
    "dot·0.5": lambda: rg.dot(0.5),
    "dot": lambda: rg.dot(1.0),
    "dot·<6>": lambda: rg.dot(real(6)),
    "dot·<scalar>": lambda: rg.dot(torch.tensor(2.0)),
    "general(<7×7>)": lambda: rg.general(real(7, 7)),
    "general(<6×7×7>)·3": lambda: rg.general(real(6, 7, 7), 3),
    "additive(5)": lambda: rg.additive(real(5, 7), real(5, 7), real(5)),
    "additive(5, negative_slope=0.2)·2": lambda: rg.additive(
        real(5, 7), real(5, 7), real(6, 5), negative_slope=0.2, scale=2
    ),
    "cosine": rg.cosine,
    "cosine·11": lambda: rg.cosine(11),
    "gaussian(1)": rg.gaussian,
    "gaussian(<6>)": lambda: rg.gaussian(real(6)),
    "softcap(dot/√d, 30)": lambda: rg.softcap(rg.dot(), 30),
    # pattern
    "everything": rg.everything,
    "causal": rg.causal,
    "window(256)": lambda: rg.window(256),
    "window(before=3, after=4)": lambda: rg.window(before=3, after=4),
    "documents(2 documents)": lambda: rg.documents([5, 6]),
    "documents(1 document)": lambda: rg.documents([11]),
    "packed(2 documents, causal)": lambda: rg.packed([5, 6], [4, 7]),
    "packed(2 documents, window(3))": lambda: rg.packed([5, 6], [4, 7], inside=rg.window(3)),
    "padding(7)": lambda: rg.padding(7),
    "padding(<2>)": lambda: rg.padding(torch.tensor([7, 9])),
    "padding(<2×11>)": lambda: rg.padding(torch.ones(2, 11, dtype=torch.bool)),
    "prefix(3)": lambda: rg.prefix(3),
    "prefix(<2>)": lambda: rg.prefix(torch.tensor([3, 4])),
    "global_tokens(0, 5)": lambda: rg.global_tokens(5, 0),
    "strided(3)": lambda: rg.strided(3),
    "blocks(4)": lambda: rg.blocks(4),
    "blocks(4, <3×3>)": lambda: rg.blocks(4, torch.ones(3, 3, dtype=torch.bool)),
    "random_blocks(4, 2, 11)": lambda: rg.random_blocks(4, 2, 11),
    "random_blocks(4, 2, 11, seed=7)": lambda: rg.random_blocks(4, 2, 11, seed=7),
    "neighborhood(3, 11)": lambda: rg.neighborhood(3, 11),
    'neighborhood((3, 1), (5, 2), edge="clip")': lambda: rg.neighborhood((3, 1), (5, 2), edge="clip"),
    "axial((5, 2))": lambda: rg.axial((5, 2)),
    "axial((5, 2), axis=1)": lambda: rg.axial((5, 2), axis=-1),
    "edges(3 edges)": lambda: rg.edges(edge_index()),
    "mask(<11×11>)": lambda: rg.mask(torch.ones(11, 11, dtype=torch.bool)),
    "per_head(causal, window(3))": lambda: rg.per_head(rg.causal(), rg.window(3)),
    "per_batch(causal, window(3))": lambda: rg.per_batch([rg.causal(), rg.window(3)]),
    "causal & window(3)": lambda: rg.causal() & rg.window(3),
    "causal | prefix(3)": lambda: rg.causal() | rg.prefix(3),
    "~causal": lambda: ~rg.causal(),
    "(causal | prefix(3)) & ~(window(2) & strided(3))": lambda: (
        (rg.causal() | rg.prefix(3)) & ~(rg.window(2) & rg.strided(3))
    ),
    # bias
    "alibi()": rg.alibi,
    "alibi(6)": lambda: rg.alibi(6),
    "alibi(<6>)": lambda: rg.alibi(real(6)),
    "relative(<7>)": lambda: rg.relative(real(7)),
    "t5(<6×8>)": lambda: rg.t5(real(6, 8)),
    "t5(<8>, bidirectional=False)": lambda: rg.t5(real(8), bidirectional=False),
    "keys(<11>)": lambda: rg.bias.keys(real(11)),
    "edges(3 edges) ": lambda: rg.bias.edges(edge_index(), real(3)),
    "tensor(<11×11>)": lambda: rg.bias.tensor(real(11, 11)),
    "alibi() + relative(<7>) + keys(<11>)": lambda: rg.alibi() + rg.relative(real(7)) + rg.bias.keys(real(11)),
    # normalize
    "softmax": rg.softmax,
    "softmax[sink=0]": lambda: rg.softmax(sink=0.0),
    "softmax[sink=<6>]": lambda: rg.softmax(sink=real(6)),
    "sigmoid": rg.sigmoid,
    "sigmoid[shift=-2]": lambda: rg.sigmoid(-2),
    "sigmoid[shift=<6>]": lambda: rg.sigmoid(real(6)),
    "relu": rg.relu,
    "relu[power=2, divide=7]": lambda: rg.relu(2, 7),
    "sparsemax": rg.sparsemax,
    "entmax15": rg.entmax15,
    "top_k(5)": lambda: rg.top_k(5),
    "hard(0.5)": lambda: rg.hard(0.5),
}

terms = pytest.mark.parametrize("said", TERMS)


def same(a: Term, b: Term) -> bool:
    """Alike in structure, and all tensors equal in value and dtype."""
    (ours, how), (theirs, other) = pytree.tree_flatten(a), pytree.tree_flatten(b)
    alike = all(x.dtype == y.dtype and torch.equal(x, y) for x, y in zip(ours, theirs, strict=True))
    return how == other and repr(a) == repr(b) and alike


# ----------------------------------------------------------------------------------------------- printing


@terms
def test_a_term_prints_as_it_is_read(said: str) -> None:
    assert repr(TERMS[said]()) == said.strip()


@terms
def test_a_rule_of_one_term(said: str) -> None:
    made = TERMS[said]()
    rule = as_rule(made)
    slots = [getattr(rule, f.name) for f in dataclasses.fields(rule)]
    assert sum(slot is made for slot in slots) == 1
    assert said.strip() in repr(rule) and as_rule(rule) is rule
    others = [f for f in dataclasses.fields(rule) if getattr(rule, f.name) is not made]
    usual = rg.Rule()
    assert all(getattr(rule, f.name) == getattr(usual, f.name) for f in others), "all other terms are the usual ones"


def test_a_rule_prints_the_equation() -> None:
    assert repr(rg.Rule()) == repr(as_rule(None)) == "softmax( dot/√d )"
    rule = rg.Rule(pattern=rg.causal() & rg.window(256), bias=rg.alibi(8))
    assert repr(rule) == "softmax( dot/√d + alibi(8) | causal & window(256) )"
    rule = rg.Rule(rg.softcap(rg.dot(), 30), ~rg.causal(), rg.alibi() + rg.alibi(8), rg.sigmoid(-1))
    assert repr(rule) == "sigmoid[shift=-1]( softcap(dot/√d, 30) + alibi() + alibi(8) | ~causal )"


def test_positional() -> None:
    assert not rg.Rule(rg.cosine(), normalize=rg.sparsemax()).positional
    assert rg.Rule(pattern=rg.everything()).positional and rg.Rule(bias=rg.alibi()).positional


# -------------------------------------------------------------------------------------- equality and hash


@terms
def test_equality_and_hash(said: str) -> None:
    a, b = TERMS[said](), TERMS[said]()
    assert a == a and hash(a) == hash(a) and a in {a} and a != "a term"
    assert (a == b) == (not a.leaves()), "a term that holds tensors equals only itself"
    if a == b:
        assert hash(a) == hash(b)
        assert as_rule(a) == as_rule(b) and hash(as_rule(a)) == hash(as_rule(b))


def test_terms_without_tensors_differ_in_kind_and_field() -> None:
    plain = [made for made in (make() for make in TERMS.values()) if not made.leaves()]
    assert len(set(plain)) == len(plain) > 25
    for n, one in enumerate(plain):
        assert [other == one for other in plain] == [m == n for m in range(len(plain))]


def test_prefix_and_padding_are_two_things() -> None:
    assert rg.prefix(3) != rg.padding(3)


# ------------------------------------------------------------------------------------------------ pytrees


@terms
def test_pytree_round_trip(said: str) -> None:
    made = TERMS[said]()
    leaves, how = pytree.tree_flatten(made)
    assert all(isinstance(leaf, Tensor) for leaf in leaves)
    assert [id(leaf) for leaf in leaves] == [id(leaf) for leaf in made.leaves()]
    again = pytree.tree_unflatten(leaves, how)
    assert type(again) is type(made) and same(again, made)
    hash(how)


@terms
def test_tree_map_reaches_every_tensor(said: str) -> None:
    rule = as_rule(TERMS[said]())
    doubled = pytree.tree_map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, rule)
    assert isinstance(doubled, rg.Rule) and repr(doubled) == repr(rule)
    assert all(leaf.dtype != torch.float32 for leaf in doubled.leaves())
    places = pytree.tree_map(lambda leaf: leaf.ndim, rule)
    assert pytree.tree_leaves(places) == [leaf.ndim for leaf in rule.leaves()], "whatever the leaves become"


def test_tree_map_changes_the_result() -> None:
    query, key, value = real(HEADS, 5, 7), real(HEADS, 11, 7), real(HEADS, 11, 13)
    rule = rg.Rule(rg.general(real(7, 7)), rg.causal(), rg.relative(real(7)), rg.softmax(sink=real(HEADS)))
    zero = pytree.tree_map(torch.zeros_like, rule)
    plain = rg.attend(query * 0, key, value, rg.Rule(pattern=rg.causal(), normalize=rg.softmax(sink=0.0)))
    torch.testing.assert_close(rg.attend(query, key, value, zero), plain, rtol=1e-12, atol=1e-12)
    assert (rg.attend(query, key, value, rule) - plain).abs().max() > 0.1


def test_vmap_goes_through_a_rule() -> None:
    """torch.func takes a rule as an argument: a batch of tables at once."""
    query, key, value = real(HEADS, 5, 7), real(HEADS, 11, 7), real(HEADS, 11, 13)
    tables = real(3, 7)

    def out(rule: rg.Rule) -> Tensor:
        return rg.attend(query, key, value, rule)

    many = torch.vmap(out)(rg.Rule(bias=rg.relative(tables[0])).with_leaves([tables]))
    for table, one in zip(tables, many, strict=True):
        torch.testing.assert_close(one, out(rg.Rule(bias=rg.relative(table))), rtol=1e-12, atol=1e-12)
    assert (many[0] - many[1]).abs().max() > 0.1


def test_grad_goes_through_a_rule() -> None:
    query, key, value = real(HEADS, 5, 7), real(HEADS, 11, 7), real(HEADS, 11, 13)
    table = real(7)

    def out(rule: rg.Rule) -> Tensor:
        return rg.attend(query, key, value, rule)

    gradient = torch.func.grad(lambda rule: out(rule).square().sum())(rg.Rule(bias=rg.relative(table)))
    (wanted,) = torch.autograd.grad(
        out(rg.Rule(bias=rg.relative(leaf := table.clone().requires_grad_()))).square().sum(), leaf
    )
    assert isinstance(gradient, rg.Rule)
    torch.testing.assert_close(gradient.leaves()[0], wanted, rtol=1e-11, atol=1e-11)


# ------------------------------------------------------------------------------------- copies and frozenness


@terms
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies(said: str, copied: Callable[[Any], Any]) -> None:
    for made in (TERMS[said](), as_rule(TERMS[said]())):
        twin = copied(made)
        assert type(twin) is type(made) and same(twin, made)
        assert (twin == made) == (not made.leaves())
        assert not {id(leaf) for leaf in twin.leaves()} & {id(leaf) for leaf in made.leaves()}


def test_a_copied_parameter_stays_one() -> None:
    rule = rg.Rule(bias=rg.relative(torch.nn.Parameter(real(7))))
    assert isinstance(copy.deepcopy(rule).leaves()[0], torch.nn.Parameter)
    assert copy.copy(rule).leaves()[0] is rule.leaves()[0]


@terms
def test_frozen(said: str) -> None:
    for made in (TERMS[said](), as_rule(TERMS[said]())):
        for field in dataclasses.fields(made):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(made, field.name, None)
            with pytest.raises(dataclasses.FrozenInstanceError):
                delattr(made, field.name)
        with pytest.raises(dataclasses.FrozenInstanceError):
            made.anything = 1  # type: ignore[attr-defined]


@terms
def test_a_copy_computes_the_same(said: str) -> None:
    """On what each term fits: 6 heads, 2 entries, 11 positions, dim 7; the grids have 10 positions."""
    if "packed" in said or "per_head" in said or "random" in said:
        return  # other sizes than these; their copies are compared above
    positions = 10 if "(5, 2)" in said else 11
    query, key, value = 3 * real(2, HEADS, positions, 7), real(2, HEADS, positions, 7), real(2, HEADS, positions, 13)
    made = TERMS[said]()
    twin = pickle.loads(pickle.dumps(made))
    assert torch.equal(rg.attend(query, key, value, made, seed=3), rg.attend(query, key, value, twin, seed=3))


def test_replace_checks_again() -> None:
    rule = dataclasses.replace(rg.Rule(pattern=rg.causal()), bias=rg.alibi())
    assert rule == rg.Rule(pattern=rg.causal(), bias=rg.alibi())
    with pytest.raises(rg.InputError, match=r"Rule\(bias=…\)"):
        dataclasses.replace(rule, bias=rg.causal())


def test_some_heads_of_a_rule_are_those_heads_of_the_whole():
    """A bias that has its slopes from the number of heads keeps them; what all heads share stays."""
    query, key = torch.randn(2, 6, 5, 3), torch.randn(2, 6, 7, 3)
    shared = rg.bias.tensor(torch.randn(1, 5, 7))
    rule = rg.Rule(rg.dot(torch.rand(6)), bias=rg.alibi() + shared, normalize=rg.softmax(torch.randn(6)))
    whole = rg.weights(query, key, rule, query_start=0)
    for which in ([4, 1], slice(2, 5)):
        some = rule.of_heads(6, which, query.device)
        found = rg.weights(query[:, which], key[:, which], some, query_start=0)
        torch.testing.assert_close(found, whole[:, which])
