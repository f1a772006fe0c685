"""Attention along a large graph's edges, beside PyTorch Geometric's own layers: `python -m regard.bench.graphs`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import torch

from regard.bench.measure import Effort, rounds
from regard.bench.scaling import Point, grown
from regard.bench.task import Unable, distance
from regard.bench.text import spoken

__all__ = ["graphs", "main"]

DIM, HEADS, HEAD_DIM = 64, 8, 8
APART = 1e-3
"""How far results and gradients of the nodes may be from one another, as a share of the largest number."""


def graphs(effort: Effort, note: Callable[[str], None], edges: int, nodes: int) -> Iterator[Point]:
    """Every layer, forward and with gradients, on random edges between nodes of 64 numbers, 8 heads of 8.

    Args:
        effort: how long for each.
        note: told what takes long.
        edges: how many, drawn with repetition; self loops are added as the layers do.
        nodes: how many.

    Errors: MissingError without PyTorch Geometric; Unable where results differ; BusyError.
    """
    from regard import pyg

    drawn = torch.Generator().manual_seed(0)
    rows = torch.randn(nodes, DIM, generator=drawn)
    index = torch.randint(nodes, (2, edges), generator=drawn)
    for kind_of_theirs in pyg.OURS:
        name = kind_of_theirs.__name__
        note(f"graphs: {name}")
        torch.manual_seed(0)
        theirs = kind_of_theirs(DIM, HEAD_DIM, heads=HEADS).eval()
        layers = {"PyTorch Geometric": theirs, "regard": pyg.from_pyg(theirs)}
        for kind, run in (("forward", _forward), ("with gradients", _gradients)):
            calls = {who: _bound(run, layer, rows, index) for who, layer in layers.items()}
            expected, made = (call() for call in calls.values())
            apart = distance(made, tuple(right.double() for right in expected))
            if apart > APART:
                raise Unable(f"{name}, {kind}: wrong, the two differ by {apart:.0e}")
            memory = {who: grown(call) for who, call in calls.items()}
            timed = rounds(calls, effort)
            for who in calls:
                yield Point(f"{name}, {kind}", who, edges, timed.spread(who), memory[who], disturbed=timed.disturbed)


def main(words: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m regard.bench.graphs", description=__doc__)
    parser.add_argument("--edges", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--nodes", type=int, default=100_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="at least so many that nothing disturbed")
    parser.add_argument("--busy", action="store_true", help="keep disturbed rounds, and mark what they make")
    asked = parser.parse_args(words)
    effort = Effort(least=asked.rounds, most=asked.rounds, keep=asked.busy)
    sizes = f"{asked.edges:,} edges, {asked.nodes:,} nodes, {HEADS} heads of {HEAD_DIM}"
    print(f"{sizes}, {torch.get_num_threads()} threads\n")
    print("| layer | who | time | quartiles | memory | |\n|---|---|---|---|---|---|", flush=True)
    for point in graphs(effort, lambda said: None, asked.edges, asked.nodes):
        assert point.seconds is not None
        memory = "unknown" if point.bytes is None else f"{point.bytes / 2**20:.0f} MiB"
        quartiles = f"{spoken(point.seconds.low)} – {spoken(point.seconds.high)}"
        mark = f"{point.disturbed} rounds DISTURBED" if point.disturbed and asked.busy else ""
        cells = (point.kind, point.name, spoken(point.seconds.middle), quartiles, memory, mark)
        print(f"| {' | '.join(cells)} |", flush=True)


def _bound(run: Callable[..., Any], *given: Any) -> Callable[[], Any]:
    return lambda: run(*given)


def _forward(layer: torch.nn.Module, nodes: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        return (layer(nodes, index),)


def _gradients(layer: torch.nn.Module, nodes: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of the nodes; those of the weights are made and let go."""
    leaf = nodes.detach().requires_grad_()
    found = torch.autograd.grad(layer(leaf, index).square().sum(), [leaf, *layer.parameters()])
    return found[:1]


if __name__ == "__main__":
    main()
