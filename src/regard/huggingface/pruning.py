"""Heads taken out of a model for good: their rows and columns of the projections are cut away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regard.errors import InputError
from regard.huggingface.library import PreTrainedModel
from regard.huggingface.models import attention_layers
from regard.looking import asking

__all__ = ["prune_heads"]

LAYOUTS = (
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("q_proj", "k_proj", "v_proj", "out_proj"),
    ("q_lin", "k_lin", "v_lin", "out_lin"),
    ("query", "key", "value", "dense"),
    ("query", "key", "value", "../output.dense"),
)
"""Where projections of query, key, value and output are, seen from the layer; ../ is from what holds it."""
DIMS = ("head_dim", "attention_head_size", "dim_per_head")
COUNTS = ("num_heads", "num_attention_heads", "n_heads", "num_key_value_heads")


def prune_heads(model: PreTrainedModel, heads: Mapping[int, Sequence[int]]) -> PreTrainedModel:
    """Take heads out of a model: it gives what it gives under `mask_heads`, with less work and fewer numbers.

    The model is changed, and its config still names the old number of heads: keep its `state_dict`, or prune again
    after loading. Of grouped heads as many must stay on each key head, or none of a group.

    Args:
        model: of transformers, with an attention interface, each of whose attention layers is a module of its own.
        heads: by layer, numbered in the order in which they stand in the model.

    Returns: the same model.

    Errors: InputError where a layer's projections are not known, where all its heads would go, or where groups would
        become unequal; the model is then as it was.

    Source: Michel, Levy & Neubig 2019, "Are Sixteen Heads Really Better than One?".
    """
    modules, _ = attention_layers(model)
    said = getattr(model.config, "num_hidden_layers", len(modules))
    if len(modules) < said:
        raise InputError(
            f"{type(model).__name__} runs {len(modules)} attention modules in {said} layers, so that no layer's heads "
            "can go alone; mask_heads silences them"
        )
    names = {id(module): name for name, module in model.named_modules()}
    every = dict(model.named_modules())
    cuts = []
    for number, some in heads.items():
        layer = int(asking.indices("layers", number, len(modules))[0])
        if layer != number:
            raise InputError(f"layers must be counted from the first, from 0 to {len(modules) - 1}, got {number}")
        if len(some):
            cuts.append(_planned(names[id(modules[layer])], every, some))
    for cut in cuts:
        cut.apply()
    return model


@dataclass(frozen=True)
class _Cut:
    """What stays of one layer.

    Args:
        module: the layer.
        linears: the projections of query, key, value and output.
        dim: of a head.
        heads: which query heads stay, `[…]`.
        kv_heads: which key heads stay.
        before: how many query and key heads there were.
    """

    module: nn.Module
    linears: tuple[nn.Linear, ...]
    dim: int
    heads: Tensor
    kv_heads: Tensor
    before: tuple[int, int]

    def apply(self) -> None:
        """Cut."""
        query, key, value, out = self.linears
        for linear, which in ((query, self.heads), (key, self.kv_heads), (value, self.kv_heads)):
            rows = _places(which, self.dim)
            linear.weight = _kept(linear.weight, rows, 0)
            if linear.bias is not None:
                linear.bias = _kept(linear.bias, rows, 0)
            linear.out_features = len(rows)
        columns = _places(self.heads, self.dim)
        out.weight = _kept(out.weight, columns, 1)
        out.in_features = len(columns)
        for name in COUNTS:
            old = getattr(self.module, name, None)
            if old in self.before:
                setattr(self.module, name, len(self.kv_heads if "key" in name else self.heads))
        if hasattr(self.module, "num_key_value_groups"):
            setattr(self.module, "num_key_value_groups", len(self.heads) // len(self.kv_heads))  # noqa: B010 (no tensor)


def _planned(name: str, every: Mapping[str, nn.Module], some: Sequence[int]) -> _Cut:
    module = every[name]
    linears, dim = _projections(name, every), next((int(getattr(module, d)) for d in DIMS if hasattr(module, d)), 0)
    if linears is None or not dim or linears[0].out_features % dim:
        raise InputError(f"{name} has no projections that prune_heads knows; mask_heads silences its heads")
    total, shared = linears[0].out_features // dim, linears[1].out_features // dim
    gone = set(asking.indices("heads", some, total).tolist())
    own = [
        part
        for part, tensor in module.named_parameters()
        if not any(tensor is weight for linear in linears for weight in linear.parameters()) and total in tensor.shape
    ]
    if own:
        raise InputError(f"{name} holds numbers by head in {own[0]}, which prune_heads can't cut; use mask_heads")
    stay = [head for head in range(total) if head not in gone]
    group = total // shared
    of_each = [sum(head // group == kv for head in stay) for kv in range(shared)]
    if not stay or len({count for count in of_each if count}) > 1:
        why = "no head would stay" if not stay else f"on its key heads {of_each} query heads would stay"
        raise InputError(f"{name} can't lose heads {sorted(gone)}: {why}; mask_heads silences them")
    kv_stay = [kv for kv, count in enumerate(of_each) if count]
    return _Cut(module, linears, dim, torch.tensor(stay), torch.tensor(kv_stay), (total, shared))


def _projections(name: str, every: Mapping[str, nn.Module]) -> tuple[nn.Linear, ...] | None:
    holder = name.rpartition(".")[0]
    for layout in LAYOUTS:
        places = [f"{holder}.{part[3:]}" if part.startswith("../") else f"{name}.{part}" for part in layout]
        found = tuple(every.get(place.lstrip(".")) for place in places)
        linears = tuple(one for one in found if isinstance(one, nn.Linear))
        if len(linears) == len(layout):
            return linears
    return None


def _places(heads: Tensor, dim: int) -> Tensor:
    return (heads[:, None] * dim + torch.arange(dim)).flatten()


def _kept(numbers: Tensor, places: Tensor, axis: int) -> nn.Parameter:
    kept = numbers.detach().index_select(axis, places.to(numbers.device)).clone()
    return nn.Parameter(kept, requires_grad=numbers.requires_grad)
