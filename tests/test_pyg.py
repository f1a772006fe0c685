"""PyTorch Geometric's layers by regard: the same weights give the same results and gradients."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard as rg

geometric = pytest.importorskip("torch_geometric.nn", reason="PyTorch Geometric is not installed")
from regard import pyg  # noqa: E402
from regard.bench.graphs import graphs  # noqa: E402
from regard.bench.measure import Effort  # noqa: E402

NODES, TARGETS, EDGES, DIM, TARGET_DIM, OUT = 53, 31, 401, 7, 11, 5
NAMES = ("GATConv", "GATv2Conv", "TransformerConv")
OPTIONS: dict[str, dict[str, Any]] = {
    "one head": {},
    "heads": {"heads": 3},
    "mean": {"heads": 3, "concat": False},
    "no bias": {"heads": 2, "bias": False},
    "turned": {"heads": 2, "flow": "target_to_source"},
}
OF_GAT: dict[str, dict[str, Any]] = {
    "no loops": {"add_self_loops": False},
    "slope": {"negative_slope": 0.7},
    "residual": {"residual": True, "heads": 2},
}
OF_TRANSFORMER: dict[str, dict[str, Any]] = {"beta": {"beta": True, "heads": 2}, "no root": {"root_weight": False}}
CASES = [(name, said) for name in NAMES for said in OPTIONS]
CASES += [(name, said) for name in NAMES[:2] for said in OF_GAT]
CASES += [("TransformerConv", said) for said in OF_TRANSFORMER] + [("GATv2Conv", "shared")]
OPTIONS |= OF_GAT | OF_TRANSFORMER | {"shared": {"share_weights": True, "heads": 2}}


def both(name: str, dims: int | tuple[int, int], **options: Any) -> tuple[nn.Module, nn.Module]:
    """PyTorch Geometric's layer with weights that spread the scores, and ours with the same."""
    theirs = getattr(geometric, name)(dims, OUT, **options).double()
    for weight in theirs.parameters():
        nn.init.normal_(weight)
    ours = getattr(pyg, name)(dims, OUT, **options).double()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def passed(layer: nn.Module, nodes: Any, index: Tensor) -> tuple[Tensor, ...]:
    """The output, the gradients of the nodes and of all weights."""
    leaves = [rows.clone().requires_grad_() for rows in (nodes if isinstance(nodes, tuple) else (nodes,))]
    out = layer(tuple(leaves) if isinstance(nodes, tuple) else leaves[0], index)
    grads = torch.autograd.grad(out.square().sum(), [*leaves, *layer.parameters()], allow_unused=True)
    return out, *(grad for grad in grads if grad is not None)


def same(theirs: nn.Module, ours: nn.Module, nodes: Any, index: Tensor) -> None:
    wanted, found = passed(theirs, nodes, index), passed(ours, nodes, index)
    assert len(wanted) == len(found)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-9)


def drawn(targets: int = NODES) -> Tensor:
    return torch.stack((torch.randint(NODES, (EDGES,)), torch.randint(targets, (EDGES,))))


@pytest.mark.parametrize(("name", "said"), CASES)
def test_same_results_and_gradients(name: str, said: str) -> None:
    theirs, ours = both(name, DIM, **OPTIONS[said])
    index = torch.unique(drawn(), dim=1)
    nodes = torch.randn(NODES, DIM, dtype=torch.float64)
    same(theirs, ours, nodes, index)
    assert (ours(nodes, index[:, ::2]) - ours(nodes, index)).abs().max() > 1e-2, "edges that are missing must be seen"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("said", ["heads", "mean"])
def test_sources_and_targets_of_their_own(name: str, said: str) -> None:
    theirs, ours = both(name, (DIM, TARGET_DIM), **OPTIONS[said])
    nodes = torch.randn(NODES, DIM, dtype=torch.float64), torch.randn(TARGETS, TARGET_DIM, dtype=torch.float64)
    same(theirs, ours, nodes, torch.unique(drawn(TARGETS), dim=1))


@pytest.mark.parametrize("name", NAMES)
def test_an_edge_that_stands_n_times_counts_n_times(name: str) -> None:
    theirs, ours = both(name, DIM, heads=2)
    index = torch.cat((drawn(), drawn()[:, :7].repeat(1, 3)), 1)
    nodes = torch.randn(NODES, DIM, dtype=torch.float64)
    same(theirs, ours, nodes, index)
    once = ours(nodes, torch.unique(index, dim=1))
    assert (once - ours(nodes, index)).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_node_that_sees_nothing_and_an_edge_index_that_changes(name: str) -> None:
    theirs, ours = both(name, DIM, **({} if name == "TransformerConv" else {"add_self_loops": False}))
    nodes, index = torch.randn(NODES, DIM, dtype=torch.float64), drawn(TARGETS)
    same(theirs, ours, nodes, index)
    index[1] += 5  # the same tensor, other numbers
    same(theirs, ours, nodes, index)
    torch.testing.assert_close(ours(nodes, index[:, :0]), theirs(nodes, index[:, :0]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
def test_the_weights_of_the_edges(name: str, flow: str) -> None:
    theirs, ours = both(name, DIM, heads=3, flow=flow)
    index, nodes = torch.cat((drawn(), drawn()[:, :7].repeat(1, 3)), 1), torch.randn(NODES, DIM, dtype=torch.float64)
    wanted, found = (layer(nodes, index, return_attention_weights=True) for layer in (theirs, ours))
    assert torch.equal(found[1][0], wanted[1][0])
    torch.testing.assert_close(found[0], wanted[0])
    torch.testing.assert_close(found[1][1], wanted[1][1])


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = geometric.GATConv(DIM, OUT, heads=2)
        self.second = geometric.GATv2Conv(2 * OUT, 3)

    def forward(self, nodes: Tensor, index: Tensor) -> Tensor:
        return self.second(self.first(nodes, index).relu(), index)


def test_a_model_from_pyg_trains_as_it_did() -> None:
    model, nodes, index = Model(), torch.randn(NODES, DIM), drawn()
    ours = pyg.from_pyg(model)
    assert type(ours.first) is pyg.GATConv and type(model.first) is geometric.GATConv
    for one in (model, ours):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            one(nodes, index).square().mean().backward()
            optimizer.step()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], weight, rtol=1e-3, atol=1e-5)
    again = pickle.loads(pickle.dumps(copy.deepcopy(ours)))
    assert torch.equal(again(nodes, index), ours(nodes, index))


def test_dropout_is_of_weights_and_in_training_alone() -> None:
    layer, nodes, index = pyg.GATConv(DIM, OUT, dropout=0.5), torch.randn(NODES, DIM), drawn()
    assert not torch.equal(layer(nodes, index), layer(nodes, index))
    layer.eval()
    assert torch.equal(layer(nodes, index), layer(nodes, index))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_part_of_the_equation_is_refused(name: str) -> None:
    ours, theirs = getattr(pyg, name), getattr(geometric, name)
    with pytest.raises(rg.InputError, match=r"edge features .* docs/fence\.md"):
        ours(DIM, OUT, edge_dim=3)
    with pytest.raises(rg.InputError, match=r"docs/fence\.md"):
        pyg.from_pyg(theirs(DIM, OUT, edge_dim=3))
    for other in ("max", "softmax"):
        with pytest.raises(rg.InputError, match="aggr='add'"):
            ours(DIM, OUT, aggr=other)
    layer, nodes = ours(DIM, OUT), torch.randn(NODES, DIM)
    for words, given in {
        "no edge_attr": {"edge_index": drawn(), "edge_attr": torch.randn(EDGES, 3)},
        "needs edge_index": {"edge_index": torch.eye(NODES).to_sparse()},
        "shape \\[2, edges\\]": {"edge_index": drawn().T},
    }.items():
        with pytest.raises(rg.InputError, match=words):
            layer(nodes, **given)
    with pytest.raises(rg.InputError, match="needs nodes"):
        layer((nodes, None), drawn())


def test_a_model_without_such_layers_is_refused() -> None:
    with pytest.raises(rg.InputError, match="found no GATConv"):
        pyg.from_pyg(geometric.GCNConv(DIM, OUT))


def test_the_benchmark_compares_before_it_times() -> None:
    points = list(graphs(Effort(1, 1, 0.0, 0.0, keep=True), lambda said: None, edges=1009, nodes=NODES))
    assert [point.name for point in points] == ["PyTorch Geometric", "regard"] * 6
    assert all(point.length == 1009 and point.seconds is not None for point in points)
