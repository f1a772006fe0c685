"""Positions: rotary turns pairs of components, sinusoidal and learned tables are added."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import regard as rg

F64 = torch.float64


def vectors(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=F64)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def by_complex_numbers(x: Tensor, start: int, base: float) -> Tensor:
    """Neighbours (2m, 2m + 1) are one complex number each, multiplied by exp(i · position · base^(−2m/dim))."""
    dim = x.shape[-1]
    position = torch.arange(start, start + x.shape[-2], dtype=F64)
    frequency = base ** (-torch.arange(0, dim, 2, dtype=F64) / dim)
    turn = torch.polar(torch.ones((), dtype=F64), position[:, None] * frequency)
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * turn).flatten(-2)


# ------------------------------------------------------------------------------------------------ rotary


@pytest.mark.parametrize("base", [10000.0, 37.0])
@pytest.mark.parametrize("start", [0, 5, 100_003])
def test_interleaved_is_a_product_of_complex_numbers(base: float, start: int) -> None:
    x = vectors(2, 3, 11, 14)
    turned = rg.rotary(14, base, interleaved=True)(x, start=start)
    close(turned, by_complex_numbers(x, start, base))
    assert (turned - x).abs().max() > 0.1


def test_halves_are_the_same_turn_of_other_pairs() -> None:
    """Component m and m + dim/2 of one form are components 2m and 2m + 1 of the other."""
    x = vectors(2, 3, 11, 14)
    order = torch.arange(14).reshape(2, 7).T.flatten()  # 0 7 1 8 2 9 …
    halves = rg.rotary(14)(x)
    close(halves[..., order], rg.rotary(14, interleaved=True)(x[..., order]))
    assert (halves - rg.rotary(14, interleaved=True)(x)).abs().max() > 0.1


def test_by_hand() -> None:
    """dim 2 has one frequency, 1: position p turns (1, 0) to (cos p, sin p)."""
    turned = rg.rotary(2)(torch.tensor([1.0, 0.0], dtype=F64).expand(5, 2))
    close(turned, torch.tensor([[math.cos(p), math.sin(p)] for p in range(5)], dtype=F64))
    # dim 4, base 100: the second pair turns a tenth as fast.
    turned = rg.rotary(4, 100)(torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=F64).expand(5, 4))
    close(turned[3], torch.tensor([0, math.cos(0.3), 0, math.sin(0.3)], dtype=F64))


@given(st.integers(0, 10_000), st.booleans())
def test_scores_depend_on_the_distance_alone(shift: int, interleaved: bool) -> None:
    turn = rg.rotary(14, interleaved=interleaved)
    query, key = vectors(3, 7, 14), vectors(3, 11, 14)
    here = turn(query, start=4) @ turn(key).mT
    there = turn(query, start=4 + shift) @ turn(key, start=shift).mT
    torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-9)
    assert (here - turn(query, start=5) @ turn(key).mT).abs().max() > 0.1


def test_it_keeps_lengths_and_position_zero() -> None:
    x = vectors(3, 7, 14)
    turned = rg.rotary(14)(x)
    close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, 0], x[:, 0])


@pytest.mark.parametrize("interleaved", [False, True])
def test_components_past_dim_stay(interleaved: bool) -> None:
    x, turn = vectors(3, 7, 19), rg.rotary(14, interleaved=interleaved)
    assert torch.equal(turn(x)[..., 14:], x[..., 14:])
    assert torch.equal(turn(x)[..., :14], turn(x[..., :14]))


@pytest.mark.parametrize("shape", [(5,), (2, 5), (1, 5), (2, 1), (1,)])
def test_a_start_for_every_batch_entry(shape: tuple[int, ...]) -> None:
    start = torch.randint(0, 100, shape)
    x = vectors(2, 5, 3, 7, 14)
    turned = rg.rotary(14)(x, start=start)
    assert turned.shape == x.shape
    for a in range(2):
        for b in range(5):
            close(turned[a, b], rg.rotary(14)(x[a, b], start=int(start.expand(2, 5)[a, b])))


def test_a_start_of_no_axes() -> None:
    x = vectors(3, 7, 14)
    assert torch.equal(rg.rotary(14)(x, start=torch.tensor(5)), rg.rotary(14)(x, start=5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_is_rounded_once(dtype: torch.dtype) -> None:
    """Also at position 100,003, where an angle in 16 bits would be far off."""
    x = vectors(3, 7, 14).to(dtype)
    turned = rg.rotary(14)(x, start=100_003)
    exact = rg.rotary(14)(x.double(), start=100_003)
    assert turned.dtype == dtype
    assert (turned.double() - exact).abs().max() <= 1.5 * torch.finfo(dtype).eps * exact.abs().max()


def test_gradients_turn_back() -> None:
    x = vectors(3, 7, 14).requires_grad_()
    upstream = vectors(3, 7, 14)
    (grad,) = torch.autograd.grad(rg.rotary(14)(x, start=3), x, upstream)
    # The transpose of a turn by p is the turn by −p.
    positions = torch.arange(3, 10)
    back = torch.stack([rg.rotary(14)(upstream[:, n : n + 1], start=-int(p))[:, 0] for n, p in enumerate(positions)], 1)
    close(grad, back)
    assert torch.autograd.gradcheck(rg.rotary(4), [vectors(2, 3, 5).requires_grad_()])


def test_in_attention() -> None:
    """Moving queries and keys together leaves the output as it is; moving the queries alone does not."""
    turn, (query, key, value) = rg.rotary(14), (3 * vectors(3, 7, 14), vectors(3, 11, 14), vectors(3, 11, 5))
    here = rg.attend(turn(query, start=4), turn(key), value, rg.causal())
    close(here, rg.attend(turn(query, start=104), turn(key, start=100), value, rg.causal()))
    assert (here - rg.attend(turn(query, start=5), turn(key), value, rg.causal())).abs().max() > 0.1


def test_rotary_is_a_value() -> None:
    assert rg.rotary(14) == rg.rotary(14) != rg.rotary(14, interleaved=True)
    assert hash(rg.rotary(14)) == hash(rg.rotary(14))
    assert repr(rg.rotary(14)) == "rotary(14)"
    assert repr(rg.rotary(14, 500000, interleaved=True)) == "rotary(14, base=500000, interleaved=True)"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: rg.rotary(7), ["even dim ≥ 2", "got 7"]),
        (lambda: rg.rotary(0), ["even dim ≥ 2", "got 0"]),
        (lambda: rg.rotary(4, 0.0), ["base > 0", "got 0"]),
        (lambda: rg.rotary(4, float("nan")), ["base > 0", "got nan"]),
        (lambda: rg.rotary(4, float("inf")), ["base > 0", "got inf"]),
        (lambda: rg.rotary(14)(vectors(3, 7, 13)), ["rotary(14)", "at least 14 components", "got 13"]),
        (lambda: rg.rotary(4)(torch.arange(12).reshape(3, 4)), ["floating-point", "torch.int64 [3, 4]"]),
        (lambda: rg.rotary(4)(vectors(4)), ["[..., heads, positions, dim]", "[4]"]),
        (lambda: rg.rotary(4)([[1.0] * 4]), ["floating-point vectors", "got list"]),  # type: ignore[arg-type]
        (lambda: rg.rotary(4)(vectors(2, 3, 5, 4), torch.tensor([1, 2, 3])), ["start", "[2]", "got [3]"]),
        (lambda: rg.rotary(4)(vectors(3, 5, 4), torch.tensor([1, 2, 3])), ["start", "shape []", "got [3]"]),
        (lambda: rg.rotary(4)(vectors(2, 3, 5, 4), torch.tensor([1.5, 2.5])), ["start as integers", "torch.float32"]),
        (lambda: rg.sinusoidal(3, 7), ["even dim ≥ 2", "3 and 7"]),
        (lambda: rg.sinusoidal(-1, 4), ["positions ≥ 0", "-1 and 4"]),
        (lambda: rg.sinusoidal(3, 4, float("nan")), ["base > 0", "got nan"]),
        (lambda: rg.nn.LearnedPositions(0, 5), ["both ≥ 1", "0 and 5"]),
        (lambda: rg.nn.LearnedPositions(7, -5), ["both ≥ 1", "7 and -5"]),
        (
            lambda: rg.nn.LearnedPositions(7, 5)(torch.zeros(2, 8, 5)),
            ["positions 0…7", "table holds 0…6", "as long as"],
        ),
        (lambda: rg.nn.LearnedPositions(7, 5)(torch.zeros(2, 3, 5), start=5), ["positions 5…7", "0…6"]),
        (lambda: rg.nn.LearnedPositions(7, 5)(torch.zeros(2, 3, 5), start=-1), ["positions -1…1", "0…6"]),
        (lambda: rg.nn.LearnedPositions(7, 5)(torch.zeros(2, 3, 11)), ["[..., positions, 5]", "[2, 3, 11]"]),
        (lambda: rg.nn.LearnedPositions(7, 5)(torch.zeros(5)), ["[..., positions, 5]", "got [5]"]),
    ],
)
def test_bad_input(make: Any, says: list[str]) -> None:
    with pytest.raises(rg.InputError) as caught:
        make()
    assert all(part in str(caught.value) for part in says), caught.value


# -------------------------------------------------------------------------------------------- sinusoidal


def test_sinusoidal_by_hand() -> None:
    """Columns are sin p, cos p, sin p/10, cos p/10 for dim 4 and base 100."""
    table = rg.sinusoidal(3, 4, 100)
    rows = [[math.sin(p), math.cos(p), math.sin(p / 10), math.cos(p / 10)] for p in range(3)]
    torch.testing.assert_close(table, torch.tensor(rows))
    assert table.dtype == torch.float32
    torch.testing.assert_close(table[0], torch.tensor([0.0, 1.0, 0.0, 1.0]))


def test_sinusoidal_defaults_are_the_papers() -> None:
    table = rg.sinusoidal(101, 512)
    assert table[100, 256].item() == pytest.approx(math.sin(100 / 10000 ** (256 / 512)), abs=1e-7)
    assert table[100, 511].item() == pytest.approx(math.cos(100 / 10000 ** (510 / 512)), abs=1e-7)


def test_sinusoidal_starts_anywhere() -> None:
    assert torch.equal(rg.sinusoidal(11, 6, start=5), rg.sinusoidal(16, 6)[5:])
    assert rg.sinusoidal(0, 6).shape == (0, 6)


def test_rotary_is_built_on_the_same_angles() -> None:
    """Turning (1, 0) pairs gives (cos, sin): the sinusoidal table with its neighbours swapped."""
    turned = rg.rotary(6, interleaved=True)(torch.tensor([1.0, 0.0] * 3).expand(7, 6))
    torch.testing.assert_close(turned.unflatten(-1, (3, 2)).flip(-1).flatten(-2), rg.sinusoidal(7, 6))


# ----------------------------------------------------------------------------------------------- learned


def test_learned_positions_add_their_rows() -> None:
    layer, inputs = rg.nn.LearnedPositions(11, 5), torch.randn(2, 3, 7, 5)
    torch.testing.assert_close(layer(inputs, start=3), inputs + layer.table[3:10])
    assert (layer(inputs, start=3) - layer(inputs)).abs().max() > 1e-3


def test_learned_positions_learn_where_they_were_used() -> None:
    layer = rg.nn.LearnedPositions(11, 5)
    layer(torch.zeros(2, 7, 5), start=3).sum().backward()
    assert layer.table.grad is not None
    expected = torch.zeros(11, 5)
    expected[3:10] = 2
    assert torch.equal(layer.table.grad, expected)


def test_learned_positions_as_a_module() -> None:
    layer = rg.nn.LearnedPositions(11, 5)
    assert list(layer.state_dict()) == ["table"] and repr(layer) == "LearnedPositions(11, 5)"
    other = rg.nn.LearnedPositions(11, 5)
    other.load_state_dict(layer.state_dict())
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        layer.table += 1
    for one in (other, twin):
        assert torch.equal(one.table + 1, layer.table) and one.table is not layer.table
    assert layer.double()(torch.zeros(3, 5, dtype=F64)).dtype == F64
    assert 0.01 < rg.nn.LearnedPositions(101, 53).table.std() < 0.03
