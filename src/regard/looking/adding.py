"""What the rows of a model's layers add up to: as large for a thousand texts as for one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from regard.errors import InputError
from regard.looking.files import TOTALS, fetch, store
from regard.looking.layers import Layer, Where
from regard.looking.measured import SCORES, SUMS, Summed
from regard.looking.results import Distance
from regard.looking.table import ROWS, Table, tabled

__all__ = ["Total", "Totals"]

VERSION = 1


@dataclass(frozen=True)
class Total:
    """One layer, its rows of all texts added up; a batch of one.

    Args:
        where: which layer.
        rows: the sum of each measure of rows, `[heads]`, by the name of its column in `Table`.
        counted: over how many rows, `[heads]`.
        sums: what is added up over rows anyhow, of all texts; keys of different texts by their positions.
    """

    where: Where
    rows: dict[str, Tensor]
    counted: Tensor
    sums: Summed

    @staticmethod
    def of(layer: Layer) -> Total:
        """The rows of a layer that count, see `Layer.live`, of all batch entries."""
        measured, live = layer.measured, layer.live
        rows: dict[str, Tensor] = {}
        for name, field in ROWS.items():
            numbers = measured.by_row(field)
            numbers = numbers[..., 0] if field == "weights" else numbers
            rows[name] = torch.where(live, numbers, 0).double().sum((0, 2))
        sums = measured.sums
        whole = {name: getattr(sums, name) for name in SUMS}
        added = {
            name: (one.double() if one.is_floating_point() else one).sum(0, keepdim=True) for name, one in whole.items()
        }
        return Total(layer.where, rows, live.sum((0, 2)), replace(sums, **added))

    def __add__(self, other: Total) -> Total:
        """Of the texts of both."""
        if self.where != other.where:
            raise InputError(f"only one model's layers add up: {self.where} and {other.where} are of two")
        rows = {name: total + other.rows[name] for name, total in self.rows.items()}
        return Total(self.where, rows, self.counted + other.counted, self.sums + other.sums)

    def measures(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By the name of its column each measure's sum and over how many rows it is, `[heads]` each."""
        found = {name: (total, self.counted) for name, total in self.rows.items()}
        scores, counted = self.sums.scores[0].unbind(-1), self.sums.counted[0].unbind(-1)
        return found | dict(zip(SCORES, zip(scores, counted, strict=True), strict=False))

    def mass(self) -> Tensor:
        """`Σ_j w_ij`, a mean over rows, `[1, heads, 1]`: 1 less the share of a learned sink."""
        return (self.rows["mass"] / self.counted.clamp(min=1))[None, :, None]

    def received(self, per_query: bool = False) -> Tensor:
        """`Σ_i w_ij` of the keys at each position, `[1, heads, positions]`; or over the rows that see them."""
        return self.sums.received / self.sums.visible.clamp(min=1) if per_query else self.sums.received

    def distance(self) -> Distance:
        """Mass by distance in logarithmic bins, as in `Look`; the mean is one over all rows, `[1, heads, 1]`."""
        if self.where.kind == "cross":
            raise InputError(
                f"{self.where} is cross-attention: queries and keys are of two sequences, without distance"
            )
        mean = self.rows["distance"] / self.counted.clamp(min=1)
        return Distance(self.sums.before, self.sums.after, mean[None, :, None])


class Totals:
    """The layers of a model, each added up over all that it read: `totals[layer]`, `totals.table()`, `totals + others`.

    Made by `Layers.totals` and by `Totals.load`.

    Args:
        layers: by number.
        count: how many layers the model has, seen or not.
        about: what else is known, in JSON's words; it is saved, too.
    """

    def __init__(self, layers: Mapping[int, Total], count: int, about: Mapping[str, Any] | None = None) -> None:
        self.layers, self.count, self.about = dict(sorted(layers.items())), count, dict(about or {})

    def __repr__(self) -> str:
        rows = max((int(total.counted.max()) for total in self), default=0)
        return f"Totals({len(self)} of {self.count} layers, {rows} rows)"

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Total]:
        return iter(self.layers.values())

    def __getitem__(self, layer: int) -> Total:
        if layer not in self.layers:
            named = ", ".join(map(str, self.layers)) or "none"
            raise InputError(f"layer {layer!r} is not there, only {named}")
        return self.layers[layer]

    def __add__(self, other: Totals) -> Totals:
        """Of the texts of both; `about` is the first one's."""
        if self.layers.keys() != other.layers.keys():
            raise InputError(
                f"totals add up layer by layer, and these hold layers {list(self.layers)} and {list(other.layers)}"
            )
        layers = {number: total + other.layers[number] for number, total in self.layers.items()}
        return Totals(layers, max(self.count, other.count), self.about)

    def table(self) -> Table:
        """Layers × heads × measures, each a mean over all rows that count."""
        return tabled([(total.where, total.measures()) for total in self])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write them into one file of safetensors and JSON, for `Totals.load`."""
        tensors: dict[str, Tensor] = {}
        told = []
        for number, total in self.layers.items():
            tensors |= {f"{number}.rows.{name}": one for name, one in total.rows.items()}
            tensors |= {f"{number}.{name}": getattr(total.sums, name) for name in SUMS}
            tensors[f"{number}.rows"] = total.counted
            told.append({**total.where.told, "key_start": total.sums.key_start})
        store(path, TOTALS, VERSION, {"count": self.count, "about": self.about, "layers": told}, tensors)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Totals:
        """What `save` wrote.

        Errors: InputError for a file that is not there, is damaged, or is of another kind; MissingError without
            safetensors.
        """
        return fetch(path, TOTALS, VERSION, _totals)


def _totals(told: Any, tensors: dict[str, Tensor]) -> Totals:
    made = [_total(one, tensors) for one in told["layers"]]
    return Totals({total.where.layer: total for total in made}, int(told["count"]), dict(told["about"]))


def _total(told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Total:
    where = Where.of(told)
    heads, place = len(where.heads), str(where.layer)
    rows = {name: tensors[f"{place}.rows.{name}"] for name in ROWS}
    found = {name: tensors[f"{place}.{name}"] for name in SUMS}
    counted = tensors[f"{place}.rows"]
    paired = (("received", "visible"), ("before", "after"), ("scores", "counted"))
    right = all(found[a].shape == found[b].shape and found[a].shape[:-1] == (1, heads) for a, b in paired)
    right = right and found["scores"].shape[-1] in (len(SCORES), len(SCORES) - 2)
    if not right or any(tuple(one.shape) != (heads,) for one in (counted, *rows.values())):
        raise ValueError(f"the sizes of layer {where.layer}'s numbers don't belong together")
    return Total(where, rows, counted, Summed(**found, key_start=int(told["key_start"])))
