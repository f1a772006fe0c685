"""Layers in space and at scales: each equal to the rule it is, and to its well-known counterpart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard as rg

CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "plain": {"kernel_size": 3},
    "one place": {"kernel_size": 1},
    "padding, stride": {"kernel_size": (3, 2), "padding": (1, 2), "stride": (2, 3)},
    "dilation, same": {"kernel_size": (3, 2), "dilation": (2, 3), "padding": "same"},
    "groups": {"kernel_size": 3, "groups": 2, "padding": 1, "bias": False},
    "depthwise": {"kernel_size": 3, "groups": 4, "stride": 2},
    "circular": {"kernel_size": 3, "padding": 2, "padding_mode": "circular"},
    "reflect": {"kernel_size": (5, 3), "padding": (2, 1), "padding_mode": "reflect"},
}


@pytest.mark.parametrize("said", CONVOLUTIONS)
def test_a_convolution_as_attention(said: str) -> None:
    conv = nn.Conv2d(4, 8, **CONVOLUTIONS[said])
    layer = rg.nn.convolution_as_attention(conv)
    maps = torch.randn(2, 4, 11, 13, requires_grad=True)
    wanted, found = conv(maps), layer(maps)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-5
    for a, b in zip(*(torch.autograd.grad(out.square().sum(), maps) for out in (found, wanted)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    (to_weight,) = torch.autograd.grad(conv(maps).square().sum(), conv.weight)
    (ours,) = torch.autograd.grad(layer(maps).square().sum(), layer.weight)
    torch.testing.assert_close(
        ours.movedim(0, -1).flatten(0, 1).reshape(to_weight.shape), to_weight, rtol=1e-4, atol=1e-3
    )


def test_one_head_for_every_place_of_the_kernel() -> None:
    """Weights of heads that look one place off, or that are wide, are not a convolution's."""
    conv = nn.Conv2d(3, 5, 3)
    layer, maps = rg.nn.convolution_as_attention(conv), torch.randn(2, 3, 7, 11)
    assert layer.weight.shape[0] == 9 and layer.offset.tolist()[5] == [1.0, 2.0]
    with torch.no_grad():
        layer.width.mul_(5)
    assert (layer(maps) - conv(maps)).abs().max() > 1e-2


@pytest.mark.parametrize("layer", [nn.Conv1d(3, 5, 3), nn.ConvTranspose2d(3, 5, 3), nn.Linear(3, 5)])
def test_what_is_no_convolution_of_maps(layer: nn.Module) -> None:
    with pytest.raises(rg.InputError, match=f"takes a torch.nn.Conv2d, got {type(layer).__name__}"):
        rg.nn.convolution_as_attention(layer)
    with pytest.raises(rg.InputError, match="needs maps as large"):
        rg.nn.convolution_as_attention(nn.Conv2d(3, 5, 3))(torch.randn(1, 3, 2, 7))


@pytest.mark.parametrize("rule", [None, rg.cosine(5.0)])
def test_axial_is_the_pattern_axial(rule: rg.Rule | None) -> None:
    grid = (3, 5, 7)
    layer, inputs = rg.nn.Axial(12, 3, 3, rule=rule).double(), 3 * torch.randn(2, *grid, 12, dtype=torch.float64)
    rows = inputs.flatten(1, 3)
    other = layer.along[0](rows, pattern=rg.axial(grid, 1))
    assert (other - layer.along[0](rows, pattern=rg.axial(grid, 0))).abs().max() > 1e-2
    for axis, one in enumerate(layer.along):
        rows = one(rows, pattern=rg.axial(grid, axis))
    torch.testing.assert_close(layer(inputs), rows.unflatten(1, grid))
    torch.testing.assert_close(layer(inputs[0]), layer(inputs)[0])


def test_causal_along_every_axis() -> None:
    layer, inputs = rg.nn.Axial(6, 2, rule=rg.causal()), torch.randn(3, 5, 6, requires_grad=True)
    (grad,) = torch.autograd.grad(layer(inputs)[1, 2].sum(), inputs)
    seen = grad.abs().sum(-1) > 0
    assert seen[:2, :3].all() and not seen[2:].any() and not seen[:, 3:].any()


def test_neighborhood_is_the_rule() -> None:
    layer, inputs = rg.nn.Neighborhood(12, 3, (3, 5), edge="clip"), 3 * torch.randn(2, 7, 11, 12)
    rows = layer.attention(inputs.flatten(1, 2), pattern=rg.neighborhood((3, 5), (7, 11), edge="clip"))
    torch.testing.assert_close(layer(inputs), rows.unflatten(1, (7, 11)))
    shifted = rg.nn.Neighborhood(12, 3, (3, 5))
    shifted.load_state_dict(layer.state_dict())
    apart = (shifted(inputs) - layer(inputs)).abs().amax((0, 3))
    assert apart[1:-1, 2:-2].max() < 1e-5 and apart[0].min() > 1e-3


@pytest.mark.parametrize(("window", "grid"), [((3,), (13,)), ((7,), (13,)), ((3, 5), (7, 11))])
def test_neighborhood_is_nattens(window: tuple[int, ...], grid: tuple[int, ...]) -> None:
    natten = pytest.importorskip("natten", reason="NATTEN is not installed: pip install 'regard[bench]'")
    layer, inputs = rg.nn.Neighborhood(48, 3, window), 3 * torch.randn(2, *grid, 48)
    theirs = (natten.na1d, natten.na2d)[len(grid) - 1]
    inner = layer.attention
    with torch.no_grad():  # NATTEN has no backward pass on a CPU
        split = [made(inputs).unflatten(-1, (3, 16)) for made in (inner.query, inner.key, inner.value)]
        wanted = inner.out(theirs(*split, kernel_size=window).flatten(-2))
        torch.testing.assert_close(layer(inputs), wanted, rtol=1e-4, atol=1e-5)
        other = rg.nn.Neighborhood(48, 3, [size + 2 for size in window])
        other.load_state_dict(layer.state_dict())
        assert (other(inputs) - wanted).abs().max() > 1e-2


def test_a_rule_with_a_pattern_is_refused() -> None:
    with pytest.raises(rg.InputError, match="without causal"):
        rg.nn.Neighborhood(12, 3, 5, rule=rg.causal())


def heads(layer: rg.nn.Pyramid, inputs: Tensor) -> list[Tensor]:
    made = (layer.query(inputs), layer.key(inputs), layer.value(inputs))
    return [rows.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for rows in made]


def test_a_pyramid_of_one_scale_is_a_window() -> None:
    layer, inputs = rg.nn.Pyramid(12, 3, (2, 5, 7), (1,), causal=True), 3 * torch.randn(2, 13, 12)
    seen = rg.attend(*heads(layer, inputs), rg.per_head(rg.window(2), rg.window(5), rg.window(7)))
    torch.testing.assert_close(layer(inputs), layer.out(seen.transpose(1, 2).flatten(2)))


def test_cells_that_hold_one_value_weigh_as_their_positions() -> None:
    """Positions that repeat 3 times: attention to cells of 3 is attention to all; the last cell is not whole."""
    layer = rg.nn.Pyramid(12, 3, 99, (3,))
    inputs = 3 * torch.randn(2, 5, 12).repeat_interleave(3, 1)[:, :13]
    seen = rg.attend(*heads(layer, inputs))
    torch.testing.assert_close(layer(inputs), layer.out(seen.transpose(1, 2).flatten(2)), rtol=1e-4, atol=1e-5)


def test_scales_share_one_softmax() -> None:
    """Against the square: every cell is a key with the mean of its positions and log 3 on its score."""
    layer, inputs = rg.nn.Pyramid(12, 3, (1, 2, 4), (1, 3), causal=True), 3 * torch.randn(2, 12, 12)
    query, key, value = heads(layer, inputs)
    pooled = [rows.unflatten(2, (4, 3)).mean(3) for rows in (key, value)]
    place, cell = torch.arange(12)[:, None], torch.arange(4)
    shown = []
    for window in (1, 2, 4):
        fine = (place >= place.T) & (place - window < place.T)
        coarse = (cell < place // 3) & (cell >= place // 3 - window)
        shown.append(torch.cat((fine, coarse), 1))
    weigh = torch.cat((torch.zeros(12), torch.full((4,), 3.0).log()))
    rule = rg.Rule(pattern=rg.mask(torch.stack(shown)), bias=rg.bias.keys(weigh))
    both = [torch.cat(pair, 2) for pair in zip((key, value), pooled, strict=True)]
    seen = rg.attend(query, *both, rule, query_start=0)
    torch.testing.assert_close(layer(inputs), layer.out(seen.transpose(1, 2).flatten(2)), rtol=1e-4, atol=1e-5)


def test_a_causal_pyramid_sees_no_later_position_and_no_padding() -> None:
    layer = rg.nn.Pyramid(12, 3, (1, 2, 5), (1, 2, 5), causal=True)
    inputs = torch.randn(2, 13, 12, requires_grad=True)
    present = torch.arange(13) < torch.tensor([[13], [7]])
    for place in range(13):
        (grad,) = torch.autograd.grad(layer(inputs, present)[:, place].sum(), inputs)
        assert grad[:, place + 1 :].abs().sum() == 0
        assert grad[1, 7:].abs().sum() == 0 or place >= 7  # its own query
    (grad,) = torch.autograd.grad(layer(inputs)[0, 12].sum(), inputs)
    assert (grad[0].abs().sum(-1) > 0)[:13].all()
    free = rg.nn.Pyramid(12, 3, 2, (1, 2))
    (grad,) = torch.autograd.grad(free(inputs)[0, 0].sum(), inputs)
    assert grad[0, 1:3].abs().sum() > 0, "without causal it looks ahead"


def test_nan_in_padding_reaches_nothing() -> None:
    layer, inputs = rg.nn.Pyramid(12, 3, 2, (1, 4)), torch.randn(1, 13, 12)
    present = torch.arange(13)[None] < 9
    wanted = layer(inputs, present)
    inputs[:, 9:] = torch.nan
    torch.testing.assert_close(layer(inputs, present)[:, :9], wanted[:, :9])


def test_nadaraya_watson_by_hand() -> None:
    """Known at 0 and 2: the point 0.5 is 0.25 of a bandwidth from one and 0.75 from the other."""
    layer = rg.nn.NadarayaWatson(1, 2.0)
    key, value, query = torch.tensor([[0.0], [2.0]]), torch.tensor([[10.0], [20.0]]), torch.tensor([[0.5]])
    share = torch.tensor([-(0.25**2) / 2, -(0.75**2) / 2]).softmax(0)
    torch.testing.assert_close(layer(query, key, value), (share @ value)[None])
    torch.testing.assert_close(layer.variance(query, key, value), (share[0] * share[1] * 100)[None, None])
    assert layer.quantiles(query, key, value, [0.1, float(share[0]) + 0.01, 0.99]).tolist() == [[10.0, 20.0, 20.0]]
    assert layer.leave_one_out(key, value) == 100


def test_units_and_neighbors() -> None:
    """A component a thousand times as large with a bandwidth as large is the same; the k nearest are found by hand."""
    key, value, query = torch.randn(17, 2), torch.randn(17, 1), torch.randn(5, 2)
    layer = rg.nn.NadarayaWatson(2, 0.7)
    wanted, unit = layer(query, key, value), torch.tensor([1.0, 1000.0])
    with torch.no_grad():
        layer.log_bandwidth.add_(unit.log())
    torch.testing.assert_close(layer(query * unit, key * unit, value), wanted, rtol=1e-4, atol=1e-5)
    near = rg.nn.NadarayaWatson(2, 0.7, neighbors=3)
    found = near(query, key, value)
    for row, point in enumerate(query):
        apart, place = ((point - key) / 0.7).square().sum(-1).topk(3, largest=False)
        torch.testing.assert_close(found[row], (-apart / 2).softmax(0) @ value[place])
    assert (found - wanted).abs().max() > 1e-3


def test_a_bandwidth_that_is_learned_gets_better() -> None:
    layer = rg.nn.NadarayaWatson(1, 5.0)
    points = torch.rand(97, 1) * 6
    answers = points.sin() + 0.1 * torch.randn(97, 1)
    before = layer.leave_one_out(points, answers)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        layer.leave_one_out(points, answers).backward()
        optimizer.step()
    assert layer.leave_one_out(points, answers) < 0.02 < 0.2 < before
    low, high = layer.quantiles(points, points, answers, [0.2, 0.8]).unbind(-1)
    inside = ((answers[:, 0] >= low) & (answers[:, 0] <= high)).float().mean()
    assert 0.6 < inside < 1.0


@pytest.mark.parametrize("levels", [[], [0.0], [1.5]])
def test_levels_that_are_none(levels: list[float]) -> None:
    layer, points = rg.nn.NadarayaWatson(), torch.zeros(3, 1)
    with pytest.raises(rg.InputError, match="levels between 0 and 1"):
        layer.quantiles(points, points, points, levels)
    with pytest.raises(rg.InputError, match=r"value \[keys, 1\]"):
        layer.quantiles(points, points, torch.zeros(3, 2), [0.5])


def test_cbam_is_two_gates() -> None:
    """Woo et al. 2018, equations 1 to 3, written out."""
    layer, maps = rg.nn.Spatial(5, 2, 3), 3 * torch.randn(2, 5, 7, 11)
    network, conv = layer[0].network, layer[1].conv
    gate = torch.sigmoid(network(maps.mean((2, 3))) + network(maps.amax((2, 3))))
    scaled = maps * gate[:, :, None, None]
    pooled = torch.cat((scaled.mean(1, keepdim=True), scaled.amax(1, keepdim=True)), 1)
    torch.testing.assert_close(layer(maps), scaled * torch.sigmoid(conv(pooled)))


@pytest.mark.parametrize("pool", [1, 2])
def test_non_local_is_its_equation(pool: int) -> None:
    """Wang et al. 2018, equation 6 with the embedded Gaussian, written out; nothing at first."""
    layer, maps = rg.nn.NonLocal(5, 3, pool=pool), torch.randn(2, 5, 7, 11)
    assert torch.equal(layer(maps), maps)
    nn.init.normal_(layer.out.weight)
    cells, keys = maps.flatten(2).mT, nn.functional.max_pool2d(maps, pool).flatten(2).mT
    weights = (layer.query(cells) @ layer.key(keys).mT).softmax(-1)
    wanted = maps + layer.out(weights @ layer.value(keys)).mT.unflatten(-1, (7, 11))
    torch.testing.assert_close(layer(maps), wanted, rtol=1e-4, atol=1e-5)
    near = rg.nn.NonLocal(5, 3, rule=rg.neighborhood((3, 3), (7, 11)))
    near.load_state_dict(layer.state_dict())
    assert (near(maps) - wanted).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rg.nn.SpatialGate(4), "odd"),
        (lambda: rg.nn.NonLocal(8, 6, heads=4), "multiple of heads, got 6 and 4"),
        (lambda: rg.nn.Pyramid(12, 5, 3), "multiple of heads, got 12 and 5"),
        (lambda: rg.nn.Pyramid(12, 3, (2, 3)), "one for each of 3"),
        (lambda: rg.nn.Pyramid(12, 3, 2, (1, 1)), "each once"),
        (lambda: rg.nn.Pyramid(12, 3, 0), "at least 1"),
        (lambda: rg.nn.NadarayaWatson(1, -1.0), "number > 0"),
        (lambda: rg.nn.NadarayaWatson(1, neighbors=0), "neighbors"),
        (lambda: rg.nn.Axial(12, 3, 0), "axes"),
        (lambda: rg.nn.Neighborhood(12, 3, 3, edge="wrap"), "edge"),
        (lambda: rg.nn.Graph(0, 3), "dim"),
        (lambda: rg.nn.GAT(3, 3, edge_dim=0), "edge_dim"),
        (lambda: rg.nn.GAT(3, 3, dropout=1.5), "dropout"),
    ],
)
def test_sizes_that_are_none(make: Any, words: str) -> None:
    with pytest.raises(rg.InputError, match=words):
        make()
