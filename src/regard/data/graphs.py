"""Graphs whose nodes have a known side: the karate club of PyTorch Geometric, the political blogs of graph-tool."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from regard.data.installed import checked, debian, extra
from regard.errors import InputError

__all__ = ["Network", "karate", "polblogs"]

PACKAGE = "python3-graph-tool"
FILE = "usr/lib/python3/dist-packages/graph_tool/collection/polblogs.gt.gz"
DIGEST = "3e6a876e6506a1b105700186d7ac2b909fbb7b36654526f1c7b64f511b055aa6"
_MAGIC = b"\xe2\x9b\xbe gt\x01\x00"  # version 1, little endian
_SIZES = (
    1,
    2,
    4,
    8,
    8,
    16,
)  # bytes of a property's number by its type, 0 to 5; 6 is a text, 7 to 12 are lists of those
_LISTS, _NUMBERS = 7, {0: "B", 1: "h", 2: "i", 3: "q", 4: "d"}


@dataclass(frozen=True, eq=False)
class Network:
    """A graph without directions, loops or repeats.

    Args:
        name: of the graph.
        edges: every edge both ways, int64 `[2, edges]`, sorted.
        labels: the side of every node, int64 `[nodes]`.
        names: of the sides.
    """

    name: str
    edges: Tensor
    labels: Tensor
    names: tuple[str, ...]


def karate() -> Network:
    """34 members of a karate club and their friendships; four communities, those that the GCN's authors used.

    Errors: MissingError.

    Source: Zachary 1977, "An Information Flow Model for Conflict and Fission in Small Groups"; Kipf & Welling 2017.
    """
    datasets: Any = extra("torch_geometric.datasets", "PyTorch Geometric", "pyg")
    club = datasets.KarateClub()[0]
    return Network("karate", _both(club.edge_index), club.y.long(), tuple(f"community {n}" for n in range(4)))


def polblogs() -> Network:
    """Blogs on politics in 2004 and the links between them, liberal or conservative: the largest connected part.

    Errors: MissingError, InputError.

    Source: Adamic & Glance 2005, "The Political Blogosphere and the 2004 U.S. Election: Divided They Blog".
    """
    path = debian(PACKAGE, FILE)
    raw = checked(path, DIGEST, f"apt-get install --reinstall {PACKAGE}")
    edges, labels = _read_gt(gzip.decompress(raw), "value")
    edges, labels = _largest(_both(edges), labels)
    return Network("polblogs", edges, labels, ("liberal", "conservative"))


def _both(edges: Tensor) -> Tensor:
    """Every edge both ways, once, none from a node to itself."""
    joins = (edges[0] != edges[1]).repeat(2)
    return torch.unique(torch.cat((edges, edges.flip(0)), 1)[:, joins], dim=1)  # type: ignore[no-any-return]


def _largest(edges: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The largest connected part, its nodes numbered anew."""
    part = torch.arange(len(labels))
    while True:  # every node takes the lowest number of its neighbours, until nothing changes
        lower = part.scatter_reduce(0, edges[1], part[edges[0]], "amin")
        if torch.equal(lower, part):
            break
        part = lower
    inside = part == part.mode().values
    number = inside.cumsum(0) - 1
    return number[edges[:, inside[edges[0]]]], labels[inside]


def _read_gt(raw: bytes, wanted: str) -> tuple[Tensor, Tensor]:
    """The edges of a graph in graph-tool's format, and one property of its nodes.

    Source: https://graph-tool.skewed.de/static/doc/gt_format.html
    """
    reader = _Reader(raw)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise InputError("polblogs must be in graph-tool's format, version 1, little endian")
    reader.text()  # a comment
    reader.take(1)  # directed or not
    nodes = reader.number("Q")
    code = next(code for code, most in zip("BHIQ", (8, 16, 32, 64), strict=True) if nodes <= 1 << most)
    lists = [reader.numbers(code, reader.number("Q")) for _ in range(nodes)]
    source = torch.repeat_interleave(torch.tensor([len(one) for one in lists]))
    edges = torch.stack((source, torch.tensor([target for one in lists for target in one])))
    for _ in range(reader.number("Q")):
        of, name, kind = reader.number("B"), reader.text(), reader.number("B")
        count = {0: 1, 1: nodes, 2: edges.shape[1]}[of]
        if of == 1 and name == wanted and kind in _NUMBERS:
            return edges, torch.tensor(reader.numbers(_NUMBERS[kind], count)).long()
        reader.skip(kind, count)
    raise InputError(f"polblogs must name the side of its nodes as {wanted!r}, and has no such property")


class _Reader:
    """Numbers and texts, one after the other."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def take(self, count: int) -> bytes:
        """So many bytes."""
        self._at += count
        return self._raw[self._at - count : self._at]

    def numbers(self, code: str, count: int) -> tuple[int, ...]:
        """So many numbers of a type."""
        return struct.unpack(f"<{count}{code}", self.take(count * struct.calcsize(f"<{code}")))

    def number(self, code: str) -> int:
        """One of them."""
        return self.numbers(code, 1)[0]

    def text(self) -> str:
        """A text after its length."""
        return self.take(self.number("Q")).decode()

    def skip(self, kind: int, count: int) -> None:
        """So many values of a property that nobody asked for."""
        for _ in range(count):
            if kind < len(_SIZES):
                self.take(_SIZES[kind])
            elif kind < _LISTS + len(_SIZES):
                self.take(self.number("Q") * (1 if kind < _LISTS else _SIZES[kind - _LISTS]))
            else:
                raise InputError(f"polblogs has a property of type {kind}, which can't be read; expected 0 to 12")
