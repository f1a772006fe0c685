"""Random compositions of all patterns: what is lowered, what is allowed and what is meant are the same pairs."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.terms import pattern as patterns
from regard.terms.pattern import Lists, Pattern, per_batch, per_head

SIZE = 31
Meaning = Callable[[int, int, int, int], bool]


@dataclass(frozen=True)
class World:
    """The rows and keys that are asked for; every term is made for positions 0 … SIZE − 1."""

    batch: int
    heads: int
    rows: tuple[int, int]
    keys: tuple[int, int]

    def lower(self, pattern: Pattern) -> Lists:
        return pattern.lower(np.arange(*self.rows), self.keys, self.batch, self.heads)

    def lowered(self, pattern: Pattern) -> np.ndarray:
        lists = self.lower(pattern)
        pages = [form.dense(0, form.rows, np.arange(*self.keys)) for form in lists.forms]
        return np.array(pages)[np.broadcast_to(lists.index, (self.batch, self.heads))]

    def allowed(self, pattern: Pattern) -> np.ndarray:
        ends = (0, self.batch), (0, self.heads), self.rows, self.keys
        b, h, i, j = torch.meshgrid(*(torch.arange(*end) for end in ends), indexing="ij")
        return pattern.allows(i, j, b, h).expand(b.shape).numpy()

    def meant(self, meaning: Meaning) -> np.ndarray:
        shape = self.batch, self.heads, self.rows[1] - self.rows[0], self.keys[1] - self.keys[0]
        every = itertools.product(range(shape[0]), range(shape[1]), range(*self.rows), range(*self.keys))
        return np.array([meaning(*pair) for pair in every], dtype=bool).reshape(shape)


@dataclass(frozen=True)
class Case:
    """A pattern, and what it means, said pair by pair: (batch, head, i, j)."""

    pattern: Pattern
    meaning: Meaning


@st.composite
def worlds(draw: st.DrawFn) -> World:
    queries, keys = draw(st.sampled_from([(7, 13), (11, 5), (2, 19), (1, 23), (17, 1), (0, 3), (3, 0)]))
    row, key = draw(st.integers(0, SIZE - queries)), draw(st.integers(0, SIZE - keys))
    batch, heads = draw(st.sampled_from([(1, 1), (2, 3), (3, 2)]))
    return World(batch, heads, (row, row + queries), (key, key + keys))


def booleans(draw: st.DrawFn, *shape: int) -> torch.Tensor:
    density, seed = draw(st.sampled_from([0.1, 0.5, 0.95])), draw(st.integers(0, 2**16))
    return torch.from_numpy(np.random.default_rng(seed).random(shape) < density)


def size_or_one(draw: st.DrawFn, size: int) -> int:
    return draw(st.sampled_from([1, size]))


def cuts(draw: st.DrawFn, documents: int) -> list[int]:
    """Lengths, some zero, that sum to SIZE."""
    ends = sorted(draw(st.lists(st.integers(0, SIZE), min_size=documents - 1, max_size=documents - 1)))
    return np.diff([0, *ends, SIZE]).tolist()


def homes(lengths: list[int]) -> list[tuple[int, int]]:
    """For each position, its document and its place in it."""
    return [(document, place) for document, length in enumerate(lengths) for place in range(length)]


# One strategy for each factory that the package exports, under the factory's name.


def everything(draw: st.DrawFn, world: World) -> Case:
    return Case(patterns.everything(), lambda b, h, i, j: True)


def causal(draw: st.DrawFn, world: World) -> Case:
    return Case(patterns.causal(), lambda b, h, i, j: j <= i)


def window(draw: st.DrawFn, world: World) -> Case:
    if draw(st.booleans()):
        size = draw(st.integers(1, SIZE))
        return Case(patterns.window(size), lambda b, h, i, j: 0 <= i - j < size)
    before, after = draw(st.integers(0, 7)), draw(st.integers(0, 7))
    return Case(patterns.window(before=before, after=after), lambda b, h, i, j: j in range(i - before, i + after + 1))


def documents(draw: st.DrawFn, world: World) -> Case:
    lengths = [cuts(draw, 4) for _ in range(size_or_one(draw, world.batch))]
    one = len(lengths) == 1 and draw(st.booleans())
    pattern = patterns.documents(lengths[0] if one else torch.tensor(lengths))
    return Case(
        pattern, lambda b, h, i, j: homes(lengths[b % len(lengths)])[i][0] == homes(lengths[b % len(lengths)])[j][0]
    )


def packed(draw: st.DrawFn, world: World) -> Case:
    query_lengths = [cuts(draw, 3) for _ in range(size_or_one(draw, world.batch))]
    key_lengths = [cuts(draw, 3) for _ in range(size_or_one(draw, world.batch))]
    inside = draw(st.sampled_from([causal, window, strided, everything]))(draw, world)
    pattern = patterns.packed(torch.tensor(query_lengths), torch.tensor(key_lengths), ~inside.pattern)

    def meaning(b: int, h: int, i: int, j: int) -> bool:
        own, other = query_lengths[b % len(query_lengths)], key_lengths[b % len(key_lengths)]
        (document, row), (key_document, key) = homes(own)[i], homes(other)[j]
        return document == key_document and not inside.meaning(b, h, row + other[document] - own[document], key)

    return Case(pattern, meaning)


def padding(draw: st.DrawFn, world: World) -> Case:
    batch = size_or_one(draw, world.batch)
    if draw(st.booleans()):
        real = booleans(draw, batch, SIZE)
        return Case(patterns.padding(real), lambda b, h, i, j: bool(real[b % batch, j]))
    lengths = [draw(st.integers(0, SIZE + 2)) for _ in range(batch)]
    given_lengths = lengths[0] if batch == 1 else torch.tensor(lengths)
    return Case(patterns.padding(given_lengths), lambda b, h, i, j: j < lengths[b % batch])


def prefix(draw: st.DrawFn, world: World) -> Case:
    lengths = [draw(st.integers(0, SIZE + 2)) for _ in range(size_or_one(draw, world.batch))]
    given_lengths = torch.tensor(lengths) if draw(st.booleans()) or len(lengths) > 1 else lengths[0]
    return Case(patterns.prefix(given_lengths), lambda b, h, i, j: j < lengths[b % len(lengths)])


def global_tokens(draw: st.DrawFn, world: World) -> Case:
    positions = draw(st.lists(st.integers(0, SIZE + 3), max_size=5))
    return Case(patterns.global_tokens(*positions), lambda b, h, i, j: i in positions or j in positions)


def strided(draw: st.DrawFn, world: World) -> Case:
    stride = draw(st.integers(1, 9))
    return Case(patterns.strided(stride), lambda b, h, i, j: (i - j) % stride == 0)


def blocks(draw: st.DrawFn, world: World) -> Case:
    size = draw(st.integers(1, 12))
    if draw(st.booleans()):
        return Case(patterns.blocks(size), lambda b, h, i, j: i // size == j // size)
    count, heads = -(-SIZE // size), size_or_one(draw, world.heads)
    layout = booleans(draw, heads, count, count)
    shown = layout[0] if heads == 1 and draw(st.booleans()) else layout
    return Case(patterns.blocks(size, shown), lambda b, h, i, j: bool(layout[h % heads, i // size, j // size]))


def random_blocks(draw: st.DrawFn, world: World) -> Case:
    size, seed = draw(st.integers(1, 12)), draw(st.integers(0, 99))
    count = draw(st.integers(1, -(-SIZE // size)))
    pattern = patterns.random_blocks(size, count, SIZE, seed)
    chosen = pattern.leaves()[0].tolist()
    return Case(pattern, lambda b, h, i, j: j // size in chosen[i // size])


def neighborhood(draw: st.DrawFn, world: World) -> Case:
    shape = draw(st.sampled_from([(SIZE,), (5, 7), (7, 5), (3, 4, 3), (1, 32), (32, 1)]))
    sizes = tuple(draw(st.integers(1, length)) for length in shape)
    edge = draw(st.sampled_from(["shift", "clip"]))

    def meaning(b: int, h: int, i: int, j: int) -> bool:
        found = []
        for length, size, row, key in zip(
            shape, sizes, np.unravel_index(i, shape), np.unravel_index(j, shape), strict=True
        ):
            begin = row - size // 2
            if edge == "shift":
                begin = min(max(begin, 0), length - size)
            found.append(begin <= key < begin + size)
        return all(found)

    one = len(shape) == 1
    return Case(patterns.neighborhood(sizes[0] if one else sizes, SIZE if one else shape, edge=edge), meaning)


def axial(draw: st.DrawFn, world: World) -> Case:
    shape = draw(st.sampled_from([(SIZE,), (5, 7), (3, 4, 3), (32, 1), (4, 1, 8)]))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))

    def meaning(b: int, h: int, i: int, j: int) -> bool:
        both = zip(np.unravel_index(i, shape), np.unravel_index(j, shape), strict=True)
        differing = {place for place, (row, key) in enumerate(both) if row != key}
        return len(differing) <= 1 if axis is None else differing <= {axis % len(shape)}

    return Case(patterns.axial(shape, axis), meaning)


def edges(draw: st.DrawFn, world: World) -> Case:
    node = st.integers(0, SIZE + 3)
    pairs = draw(st.lists(st.tuples(node, node), max_size=60))
    index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    return Case(patterns.edges(index), lambda b, h, i, j: (j, i) in pairs)


def mask(draw: st.DrawFn, world: World) -> Case:
    shape = [size_or_one(draw, size) for size in (world.batch, world.heads, SIZE, SIZE)]
    shown = booleans(draw, *shape)
    axes = draw(st.integers(0, 3))
    if axes and all(size == 1 for size in shape[:axes]):
        shown = shown.reshape(shape[axes:])
    wide = shown.expand(world.batch, world.heads, SIZE, SIZE)
    return Case(patterns.mask(wide if draw(st.booleans()) else shown), lambda b, h, i, j: bool(wide[b, h, i, j]))


MEMBERS = [
    everything, causal, window, documents, packed, padding, prefix, global_tokens, strided, blocks, random_blocks,
    neighborhood, axial, edges, mask,
]  # fmt: skip
OPERATIONS = ["per_head", "per_batch", "&", "|", "~"]


def composed(draw: st.DrawFn, world: World, depth: int) -> Case:
    kind = draw(st.sampled_from(["member", *OPERATIONS])) if depth else "member"
    if kind == "member":
        return draw(st.sampled_from(MEMBERS))(draw, world)
    count = {"per_head": world.heads, "per_batch": world.batch, "~": 1}.get(kind, 2)
    parts = [composed(draw, world, depth - 1) for _ in range(count)]
    given_patterns, meant = [part.pattern for part in parts], [part.meaning for part in parts]
    return {
        "per_head": lambda: Case(per_head(given_patterns), lambda b, h, i, j: meant[h](b, h, i, j)),
        "per_batch": lambda: Case(per_batch(*given_patterns), lambda b, h, i, j: meant[b](b, h, i, j)),
        "&": lambda: Case(given_patterns[0] & given_patterns[1], lambda *pair: meant[0](*pair) and meant[1](*pair)),
        "|": lambda: Case(given_patterns[0] | given_patterns[1], lambda *pair: meant[0](*pair) or meant[1](*pair)),
        "~": lambda: Case(~given_patterns[0], lambda *pair: not meant[0](*pair)),
    }[kind]()


@st.composite
def scenes(draw: st.DrawFn, count: int = 1, depth: int = 2) -> tuple[World, ...]:
    world = draw(worlds())
    return (world, *(composed(draw, world, depth) for _ in range(count)))


def factories() -> set[str]:
    found = {name: getattr(patterns, name) for name in patterns.__all__}
    made = {
        name: inspect.signature(value).return_annotation for name, value in found.items() if inspect.isfunction(value)
    }
    return {name for name, kind in made.items() if kind in (Pattern, "Pattern")}


def test_every_exported_factory_has_a_strategy() -> None:
    assert factories() == {member.__name__ for member in MEMBERS} | {"per_head", "per_batch"}


def agree(world: World, case: Case) -> None:
    meant = world.meant(case.meaning)
    np.testing.assert_array_equal(world.lowered(case.pattern), meant)
    np.testing.assert_array_equal(world.allowed(case.pattern), meant)


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
def test_member_agrees_with_its_meaning(member: Callable[[st.DrawFn, World], Case]) -> None:
    @settings(max_examples=80)
    @given(st.data(), worlds())
    def run(data: st.DataObject, world: World) -> None:
        agree(world, member(data.draw, world))

    run()


@settings(max_examples=400)
@given(scenes())
def test_composition_agrees_with_its_meaning(scene: tuple[World, Case]) -> None:
    agree(*scene)
