"""Dropout and `hard`: random numbers by position, the same for any tiling, any engine, any split."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import regard as rg
from regard import counter

HEADS, QUERIES, KEYS = 6, 11, 23


def mix(x: int) -> int:
    """lowbias32, on Python's own integers."""
    x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
    x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
    return x ^ (x >> 16)


def word(seed: int, stream: int, batch: int, head: int, query: int, key: int) -> int:
    """The documented hash, one number at a time."""
    row = mix(mix(seed % 2**32) ^ (seed >> 32) % 2**32)
    for coordinate in (stream, batch, head, query):
        row = mix((row + coordinate) % 2**32)
    return mix(row ^ mix((key * 0x9E3779B9 + 1) % 2**32))


def one(number: int) -> Tensor:
    return torch.tensor([number])


def kept(p: float, seed: int, batch: int = 1, heads: int = HEADS, first: int = 0, rows: int = QUERIES) -> Tensor:
    """The mask that the documentation promises, `[batch, heads, queries, keys]`."""
    where = (torch.arange(batch)[:, None, None, None], torch.arange(heads)[:, None, None])
    return counter.keep(p, seed, *where, torch.arange(first, first + rows)[:, None], torch.arange(KEYS))


def tensors(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    query = 3 * torch.randn(batch, HEADS, QUERIES, 5, dtype=torch.float64)
    return (
        query,
        torch.randn(batch, 2, KEYS, 5, dtype=torch.float64),
        torch.randn(batch, 2, KEYS, 7, dtype=torch.float64),
    )


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


# ----------------------------------------------------------------------------------------------- the counter


coordinates = st.integers(0, 2**31)


@given(st.integers(-(2**63), 2**63 - 1), coordinates, coordinates, coordinates, coordinates, st.sampled_from([1, 2]))
def test_the_hash_is_the_documented_one(seed: int, batch: int, head: int, query: int, key: int, stream: int) -> None:
    found = counter.uniform(seed, stream, one(batch), one(head), one(query), one(key))
    assert found.item() == (word(seed, stream, batch, head, query, key) + 0.5) / 2**32


@given(st.integers(-(2**20), -1), st.integers(0, 100))
def test_queries_before_the_first_key_have_numbers_too(query: int, key: int) -> None:
    found = counter.uniform(3, counter.DROPOUT, one(0), one(0), one(query), one(key))
    assert found.item() == (word(3, 1, 0, 0, query % 2**32, key) + 0.5) / 2**32


def test_known_answers() -> None:
    """Written down once: a change of the hash would change every seeded run."""
    assert [mix(n) for n in (0, 1, 2**32 - 1)] == [0, 1753845952, 1734902346]
    assert [word(0, 1, 0, 0, 0, 0), word(7, 1, 2, 3, 5, 11), word(2**40 + 7, 2, 2, 3, 5, 11)] == [
        3996143284,
        2465131344,
        337490957,
    ]


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 2**62), coordinates, coordinates)
def test_keep_compares_the_word(p: float, seed: int, query: int, key: int) -> None:
    found = counter.keep(p, seed, one(2), one(3), one(query), one(key))
    assert found.item() == (word(seed, counter.DROPOUT, 2, 3, query, key) >= math.floor(p * 2**32))


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_the_rate_is_within_five_deviations(p: float) -> None:
    mask = counter.keep(p, 5, one(0), one(0), torch.arange(1009)[:, None], torch.arange(997)).double()
    assert abs(mask.mean().item() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / mask.numel())
    for axis in (0, 1):
        lines = (mask.mean(axis) - (1 - p)) / math.sqrt(p * (1 - p) / mask.shape[axis])
        assert 0.8 < lines.std() < 1.2 and lines.abs().max() < 6


@pytest.mark.parametrize("away", [(0, 0, 0, 1), (0, 0, 1, 0), (0, 0, 1, 1), (0, 1, 0, 0), (1, 0, 0, 0), (0, 0, 0, 64)])
def test_neighbours_are_independent(away: tuple[int, ...]) -> None:
    """The correlation of n pairs of independent numbers has a deviation of 1/√n."""
    grid = (torch.arange(307)[:, None], torch.arange(311))
    here = counter.uniform(9, counter.DROPOUT, one(2), one(3), *grid)
    batch, head, query, key = away
    there = counter.uniform(9, counter.DROPOUT, one(2 + batch), one(3 + head), grid[0] + query, grid[1] + key)
    correlation = torch.corrcoef(torch.stack((here.flatten(), there.flatten())))[0, 1]
    assert abs(correlation.item()) < 5 / math.sqrt(here.numel())


def test_seeds_and_streams_are_independent() -> None:
    grid = (one(0), one(0), torch.arange(307)[:, None], torch.arange(311))
    base = counter.uniform(9, counter.DROPOUT, *grid).flatten()
    for seed, stream in ((10, counter.DROPOUT), (9 + 2**32, counter.DROPOUT), (9, counter.GUMBEL)):
        other = counter.uniform(seed, stream, *grid).flatten()
        assert abs(torch.corrcoef(torch.stack((base, other)))[0, 1].item()) < 5 / math.sqrt(base.numel())


# ----------------------------------------------------------------------------------------- dropout in attention


@pytest.mark.parametrize("engine", ["tiled", "reference"])
@pytest.mark.parametrize("rule", [None, rg.causal(), rg.sigmoid(), rg.softmax(sink=0.0)])
def test_it_is_the_documented_mask(engine: str, rule: Any) -> None:
    """dropout → Σ_j w_ij · v_j with w_ij / (1 − p) where kept; the mask is asked of the counter, not of the engine."""
    query, key, value = tensors()
    out = rg.attend(query, key, value, rule, dropout=0.4, seed=17, engine=engine)
    mask = kept(0.4, 17, batch=2, first=KEYS - QUERIES)
    weights = rg.weights(query, key, rule)
    close(out, torch.where(mask, weights / 0.6, 0) @ value.repeat_interleave(3, 1))
    assert (out - weights @ value.repeat_interleave(3, 1)).abs().max() > 0.1, "dropout moves the result"


@pytest.mark.parametrize("engine", ["sdpa", "flex"])
def test_engines_of_torch_refuse(engine: str) -> None:
    with pytest.raises(rg.EngineError, match="dropout"):
        rg.attend(*tensors(), dropout=0.1, engine=engine)


@given(st.integers(0, QUERIES), st.integers(0, KEYS), st.integers(0, 2**40))
def test_any_split_of_rows_and_keys_has_the_same_mask(row: int, column: int, seed: int) -> None:
    query, key, value = (torch.ones(HEADS, n, 2) for n in (QUERIES, KEYS, KEYS))
    value = torch.eye(KEYS).expand(HEADS, KEYS, KEYS)
    whole = rg.attend(query, key, value, rg.sigmoid(), query_start=5, dropout=0.4, seed=seed)
    made = torch.cat(
        [
            rg.merge(
                *(
                    rg.partial(
                        query[:, a:b],
                        key[:, c:d],
                        value[:, c:d],
                        rg.sigmoid(),
                        query_start=5 + a,
                        key_start=c,
                        dropout=0.4,
                        seed=seed,
                    )
                    for c, d in ((0, column), (column, KEYS))
                )
            ).out
            for a, b in ((0, row), (row, QUERIES))
        ],
        1,
    )
    assert torch.equal(made != 0, whole != 0)
    assert torch.equal(whole != 0, kept(0.4, seed, first=5)[0])


def test_batch_entries_and_heads_are_counted_from_zero() -> None:
    """The first entries and heads of a larger batch get the mask that they would get alone; all others, another one."""
    query, key, value = tensors(batch=5)
    whole = rg.attend(query, key, value, dropout=0.4, seed=3)
    close(rg.attend(query[:3], key[:3], value[:3], dropout=0.4, seed=3), whole[:3])
    close(rg.attend(query[:, :3], key[:, :1], value[:, :1], dropout=0.4, seed=3), whole[:, :3])
    masks = kept(0.4, 3, batch=5)
    assert len({tuple(mask.flatten().tolist()) for mask in masks.flatten(0, 1)}) == 5 * HEADS
    assert (rg.attend(query[1:2], key[1:2], value[1:2], dropout=0.4, seed=3) - whole[1:2]).abs().max() > 0.1


def test_leading_dimensions_are_counted_in_order() -> None:
    query, key, value = tensors(batch=6)
    flat = rg.attend(query, key, value, dropout=0.4, seed=3)
    folded = rg.attend(*(t.unflatten(0, (2, 3)) for t in (query, key, value)), dropout=0.4, seed=3)
    close(folded.flatten(0, 1), flat)


def test_long_rows_and_tiles() -> None:
    """More rows than one tile holds, and a pattern that cuts the tiles: still the mask of the counter."""
    query, key, value = torch.zeros(401, 2), torch.zeros(401, 2), torch.eye(401)
    out = rg.attend(query, key, value, rg.causal() & rg.window(151), dropout=0.3, seed=8)
    mask = counter.keep(0.3, 8, one(0), one(0), torch.arange(401)[:, None], torch.arange(401))
    shown = rg.steps(query, key, value, rg.causal() & rg.window(151)).visible
    assert torch.equal(out != 0, mask & shown)


def test_lse_is_undropped() -> None:
    query, key, value = tensors()
    dropped = rg.partial(query, key, value, query_start=0, dropout=0.9, seed=3)
    close(dropped.lse, rg.partial(query, key, value).lse)


def test_the_expectation_is_the_result_without_dropout() -> None:
    """The mean over n seeds differs by a normal number whose deviation is that of one run over √n."""
    query, key, value = (t[:, :, :3] for t in tensors())
    runs = torch.stack([rg.attend(query, key, value, dropout=0.4, seed=seed) for seed in range(400)])
    gap = (runs.mean(0) - rg.attend(query, key, value)) / (runs.std(0) / math.sqrt(400)).clamp(min=1e-9)
    assert gap.abs().max() < 6 and 0.6 < gap.std() < 1.4


@pytest.mark.parametrize("engine", ["tiled", "reference"])
def test_backward_uses_the_same_mask(engine: str) -> None:
    inputs = [t.requires_grad_() for t in tensors()]
    sink = torch.randn(HEADS, dtype=torch.float64, requires_grad=True)
    rule = rg.Rule(pattern=rg.causal(), normalize=rg.softmax(sink=sink))
    out = rg.attend(*inputs, rule, dropout=0.4, seed=17, engine=engine)
    query, key, value = inputs
    key, value = (t.repeat_interleave(3, 1) for t in (key, value))
    scores = (query @ key.mT) / math.sqrt(5)
    scores = scores.masked_fill(torch.ones(QUERIES, KEYS).triu(KEYS - QUERIES + 1) > 0, -math.inf)
    weights = torch.cat((scores, sink[:, None, None].expand(2, HEADS, QUERIES, 1)), -1).softmax(-1)[..., :-1]
    dense = torch.where(kept(0.4, 17, batch=2, first=KEYS - QUERIES), weights / 0.6, 0) @ value
    close(out, dense)
    upstream = torch.randn_like(out)
    wanted = torch.autograd.grad(dense, [*inputs, sink], upstream)
    for a, b in zip(torch.autograd.grad(out, [*inputs, sink], upstream), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)
    undropped = torch.autograd.grad(rg.attend(*inputs, rule), [*inputs, sink], upstream)
    assert all((a - b).abs().max() > 1e-2 for a, b in zip(undropped, wanted, strict=True))


def test_the_seed_is_drawn_once_from_torchs_generator() -> None:
    inputs = tensors()
    torch.manual_seed(23)
    drawn = int(torch.randint(2**62, ()).item())
    after = torch.rand(1)
    torch.manual_seed(23)
    out = rg.attend(*inputs, dropout=0.4)
    assert torch.equal(torch.rand(1), after), "one number was drawn, no more"
    close(out, rg.attend(*inputs, dropout=0.4, seed=drawn))


def test_nothing_is_drawn_where_nothing_is_random() -> None:
    inputs = tensors()
    state = torch.get_rng_state()
    rg.attend(*inputs)
    rg.attend(*inputs, dropout=0.4, seed=3)
    rg.plan(*inputs, dropout=0.4)
    assert torch.equal(state, torch.get_rng_state())


def test_no_dropout_is_no_dropout() -> None:
    inputs = tensors()
    assert torch.equal(rg.attend(*inputs, dropout=0.0, seed=3), rg.attend(*inputs))


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_invalid_probabilities(p: float) -> None:
    with pytest.raises(rg.InputError, match=r"dropout must be a probability in \[0, 1\), got"):
        rg.attend(*tensors(), dropout=p)


# ------------------------------------------------------------------------------------------------- hard


def test_hard_is_one_hot_and_follows_softmax() -> None:
    """Draws for 4099 rows with the same seven scores, against softmax: χ² with 6 degrees of freedom, p = 0.001."""
    scores = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5, -2.0, 1.5], dtype=torch.float64)
    query, key = torch.ones(4099, 1, dtype=torch.float64), scores[:, None]
    weights = rg.weights(query, key, rg.hard(), seed=5)
    assert ((weights == 0) | (weights == 1)).all() and (weights.sum(-1) == 1).all()
    expected = 4099 * scores.softmax(0)
    distance = ((weights.sum(0) - expected).square() / expected).sum().item()
    assert distance < 22.46
    uniform = torch.full((7,), 4099 / 7, dtype=torch.float64)
    assert ((weights.sum(0) - uniform).square() / uniform).sum() > 1000, "the test can tell other probabilities"


@pytest.mark.parametrize("engine", ["tiled", "reference"])
def test_hard_draws_by_position(engine: str) -> None:
    query, key, value = tensors()
    rule = rg.Rule(pattern=rg.causal(), normalize=rg.hard(0.7))
    out = rg.attend(query, key, value, rule, seed=5, engine=engine)
    where = (torch.arange(2)[:, None, None, None], torch.arange(HEADS)[:, None, None])
    rows = torch.arange(KEYS - QUERIES, KEYS)[:, None]
    noise = -(-counter.uniform(5, counter.GUMBEL, *where, rows, torch.arange(KEYS)).log()).log()
    scores = torch.where(torch.arange(KEYS) <= rows, query @ key.repeat_interleave(3, 1).mT / math.sqrt(5), -math.inf)
    chosen = (scores + noise).argmax(-1, keepdim=True)
    wide = value.repeat_interleave(3, 1)
    close(out, wide.gather(2, chosen.expand(-1, -1, -1, 7)))
    parts = [rg.attend(query[:, :, r : r + 1], key, value, rule, query_start=12 + r, seed=5) for r in range(QUERIES)]
    close(torch.cat(parts, 2), out)


def test_hard_draws_again_without_a_seed() -> None:
    inputs = tensors()
    assert not torch.equal(rg.attend(*inputs, rg.hard()), rg.attend(*inputs, rg.hard()))


def test_a_row_of_nothing_draws_nothing() -> None:
    query, key, value = tensors()
    out = rg.attend(query, key, value, rg.Rule(pattern=rg.causal(), normalize=rg.hard()), query_start=-3, seed=5)
    assert (out[:, :, :3] == 0).all() and (out[:, :, 3] != 0).all()


def test_hard_with_the_largest_number_there_is() -> None:
    """(2³² − ½)/2³² rounds to 1 in float32, where −log(−log 1) = ∞ would make the row NaN."""
    largest = torch.tensor([[0.5, 1 - 2**-33, 0.3]], dtype=torch.float64)
    assert rg.hard().weights(torch.zeros(1, 3), lambda: largest).tolist() == [[0.0, 1.0, 0.0]]
