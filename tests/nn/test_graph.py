"""Layers on graphs: by hand, against the square, and in O(edges) memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

import regard as rg

# 0 → 2, 1 → 2, 2 → 0; node 1 sees nothing.
INDEX = torch.tensor([[0, 1, 2], [2, 2, 0]])


def test_gat_by_hand() -> None:
    """One head of one number, W = 1: the scores of node 2 are LeakyReLU(2·x_2 + x_j) + e."""
    layer = rg.nn.GAT(1, 1, self_loops=False, edge_dim=1)
    for weight, number in ((layer.source.weight, 1.0), (layer.from_target, 2.0), (layer.from_source, 1.0)):
        torch.nn.init.constant_(weight, number)
    torch.nn.init.constant_(layer.edge.weight, 0.5)
    torch.nn.init.constant_(layer.bias, 10.0)
    nodes, carried = torch.tensor([[1.0], [4.0], [-1.0]]), torch.tensor([[2.0], [6.0], [0.0]])
    # −2 + 1 → −0.2, and 1; −2 + 4 → 2, and 3.
    near, far = torch.tensor([0.8, 5.0]).softmax(0)
    out = layer(nodes, INDEX, carried)[:, 0]
    torch.testing.assert_close(out, torch.stack((torch.tensor(9.0), torch.tensor(10.0), 10 + near + 4 * far)))


def test_a_self_loop_is_seen_once() -> None:
    layer = rg.nn.GATv2(3, 5, 2)
    nodes = torch.randn(3, 3)
    looped = torch.cat((INDEX, torch.arange(3).expand(2, -1)), 1)
    torch.testing.assert_close(layer(nodes, INDEX), layer(nodes, looped))
    layer.self_loops = False
    torch.testing.assert_close(layer(nodes, looped), rg.nn.GATv2.forward(layer, nodes, looped))
    assert (layer(nodes, INDEX) - layer(nodes, looped)).abs().max() > 1e-3


def test_graph_is_the_rule_over_the_edges() -> None:
    """With every edge there, it is attention without a pattern."""
    rule = rg.Rule(rg.cosine(3.0), bias=rg.alibi(2), normalize=rg.softmax(sink=0.0))
    layer, nodes = rg.nn.Graph(3, 5, 2, rule=rule), torch.randn(7, 3)
    every = torch.cartesian_prod(torch.arange(7), torch.arange(7)).T
    query, key, value = (
        made(nodes).unflatten(-1, (2, 5)).transpose(0, 1) for made in (layer.query, layer.key, layer.value)
    )
    wanted = rg.attend(query, key, value, rule).transpose(0, 1).flatten(1) + layer.skip(nodes)
    torch.testing.assert_close(layer(nodes, every), wanted)


SCORES = {
    "tanh": lambda: rg.additive(torch.randn(11, 5), torch.randn(6, 11, 5), torch.randn(6, 11)),
    "leaky": lambda: rg.additive(None, None, torch.randn(5), negative_slope=0.2, scale=2.0),
    "half projected": lambda: rg.additive(torch.randn(6, 5, 5), None, torch.randn(6, 5), negative_slope=-0.3),
    "capped": lambda: rg.softcap(rg.additive(None, None, 3 * torch.randn(6, 5)), 2.0),
}


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("starts", [{}, {"query_start": 3, "key_start": 7}])
def test_any_score_along_edges_in_the_kernels(score: str, starts: dict[str, int]) -> None:
    """Scores, a bias by edges, gradients; the same numbers as tile by tile, in every block of edges."""
    index = torch.unique(torch.randint(53, (2, 401)), dim=1)
    query, key, value = (torch.randn(2, heads, 53, 5) for heads in (6, 3, 3))
    bias = rg.bias.edges(index[:, 1:], torch.randn(6, index.shape[1] - 1)) + rg.alibi()
    rule = rg.Rule(SCORES[score](), rg.edges(index) & rg.window(before=29, after=31), bias, rg.softmax(sink=0.3))
    results = []
    for engine in ("native", "tiled"):
        leaves = [t.double().requires_grad_() for t in (query, key, value, *rule.leaves()) if t.is_floating_point()]
        numbers = iter(leaves[3:])
        said = rule.map(lambda leaf, roles, rest=numbers: next(rest) if leaf.is_floating_point() else leaf)
        out = rg.attend(*leaves[:3], said, engine=engine, **starts)
        results.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_blocks_of_edges_are_one_result(monkeypatch: pytest.MonkeyPatch) -> None:
    from regard.engines.native import edgewise

    layer, nodes, index = rg.nn.GATv2(3, 5, 2), torch.randn(31, 3, requires_grad=True), torch.randint(31, (2, 211))

    def passed() -> tuple[Tensor, ...]:
        out = layer(nodes, index)
        return out, *torch.autograd.grad(out.square().sum(), [nodes, *layer.parameters()])

    whole = passed()
    monkeypatch.setattr(edgewise, "BLOCK", 7 * 5)
    for a, b in zip(passed(), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_same_bits_for_any_threads_and_any_other_entries() -> None:
    index, before = torch.randint(997, (2, 30_011)), torch.get_num_threads()
    query, key, value = (torch.randn(3, heads, 997, 5, requires_grad=True) for heads in (4, 2, 2))
    rule = rg.Rule(rg.additive(torch.randn(7, 5), torch.randn(7, 5), torch.randn(7)), rg.edges(index))

    def passed(entry: slice, threads: int) -> list[Tensor]:
        torch.set_num_threads(threads)
        inputs = [rows[entry] for rows in (query, key, value)]
        out = rg.attend(*inputs, rule, engine="native")
        return [out, *torch.autograd.grad(out.square().sum(), inputs)]

    try:
        whole = passed(slice(None), 1)
        for threads in (1, 2, 3):
            assert all(torch.equal(a, b) for a, b in zip(passed(slice(None), threads), whole, strict=True))
            assert all(torch.equal(a[0], b[1]) for a, b in zip(passed(slice(1, 2), threads), whole, strict=True))
    finally:
        torch.set_num_threads(before)


def test_nan_of_a_node_reaches_those_that_see_it() -> None:
    layer, nodes = rg.nn.GAT(3, 5, 2, self_loops=False), torch.randn(3, 3)
    nodes[1] = torch.nan
    out = layer(nodes, INDEX)
    assert out[[0, 1]].isfinite().all() and out[2].isnan().all()


def test_only_edges_are_scored_one_by_one() -> None:
    score = SCORES["tanh"]()
    query = torch.randn(6, 13, 5)
    index = torch.randint(13, (2, 17))
    assert rg.plan(query, query, query, rg.Rule(score, rg.edges(index) & rg.causal())).engine == "native"
    for pattern in (None, rg.causal(), rg.edges(index) | rg.causal(), ~rg.edges(index)):
        plan = rg.plan(query, query, query, rg.Rule(score, pattern))
        assert plan.engine == "tiled" and "but for a graph's edges" in plan.reasons["native"]


def test_a_plan_takes_fewer_steps_than_there_are_edges() -> None:
    edges, steps = 200_003, 0
    query = torch.zeros(1, 20_011, 1)
    pattern = rg.edges(torch.randint(20_011, (2, edges)))

    def count(frame: object, event: str, what: object) -> None:
        nonlocal steps
        steps += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        rg.plan(query, query, query, pattern)
    finally:
        sys.setprofile(None)
    assert 1000 < steps < edges / 2


def test_edges_of_a_bias_are_each_given_once() -> None:
    rg.bias.edges(INDEX, torch.zeros(3))
    with pytest.raises(rg.InputError, match="every edge once"):
        rg.bias.edges(INDEX[:, [0, 1, 2, 1]], torch.zeros(4))


GRAPH = """
import torch
import regard as rg
torch.set_num_threads(1)
torch.manual_seed(0)
def run(layer, nodes, edges):
    index = torch.randint(nodes, (2, edges))
    rows = torch.randn(nodes, 64, requires_grad=True)
    layer(rows, index).square().sum().backward()
def kilobytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))
layer = rg.nn.LAYER(64, 8, 8)
run(layer, 101, 1009)
with open("/proc/self/clear_refs", "w") as marks:
    marks.write("5")
before = kilobytes("VmRSS")
run(layer, 100_000, 1_000_000)
print((kilobytes("VmHWM") - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the highest resident memory is read from /proc")
@pytest.mark.parametrize(("layer", "numbers"), [("GAT", 3), ("GATv2", 3), ("Graph", 2)])
def test_a_million_edges_in_memory_of_edges_times_dim(layer: str, numbers: int) -> None:
    """64 float32 numbers an edge are 256 MB; the 100,000² square would be 40 GB a head. Forward and backward."""
    made = subprocess.run(
        [sys.executable, "-c", GRAPH.replace("LAYER", layer)], capture_output=True, text=True, check=True
    )
    assert int(made.stdout) < numbers * 1_000_000 * 64 * 4 + 100_000 * 64 * 4 * 10


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ((None, None, torch.ones(3)), "additive without W needs vectors of 3 components, got 5"),
        ((torch.ones(3, 5), None, torch.ones(3)), "additive without U needs vectors of 3 components, got 5"),
        ((None, torch.ones(5, 5), torch.ones(3)), "additive's v must be [5] or [2, 5], got [3]"),
    ],
)
def test_projections_that_are_made_already_fit(weights: tuple[Tensor | None, ...], says: str) -> None:
    rows = torch.ones(2, 7, 5)
    with pytest.raises(rg.InputError) as caught:
        rg.attend(rows, rows, rows, rg.additive(*weights))
    assert str(caught.value) == says


@pytest.mark.parametrize("layer", [rg.nn.Graph, rg.nn.GAT, rg.nn.GATv2])
def test_an_edge_to_a_node_that_is_not_there(layer: type[torch.nn.Module]) -> None:
    beyond = torch.tensor([[0, 1], [2, 3]])
    with pytest.raises(rg.InputError, match="the edges' targets must be nodes from 0 to 2, got 3"):
        layer(3, 5)(torch.ones(3, 3), beyond)
    with pytest.raises(rg.InputError, match="the edges' sources must be nodes from 0 to 2, got 3"):
        layer(3, 5)(torch.ones(3, 3), beyond.flip(0))
    bipartite = layer((3, 4), 5)
    assert bipartite((torch.ones(2, 3), torch.ones(4, 4)), beyond).shape == (4, 5)
    with pytest.raises(rg.InputError, match="the edges' sources must be nodes from 0 to 1, got 2"):
        bipartite((torch.ones(2, 3), torch.ones(4, 4)), torch.tensor([[0, 2], [2, 3]]))
