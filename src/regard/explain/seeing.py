"""A model run twice: with regard in every layer, each watched as it is asked; and with its own eager attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from regard.attention import steps, weights
from regard.data import Loaded
from regard.engines.reference import Steps
from regard.errors import InputError
from regard.huggingface import serve
from regard.huggingface.interface import Call, watching
from regard.rule import Rule

__all__ = ["Asked", "Eager", "run", "run_eagerly"]


@dataclass(frozen=True)
class Asked:
    """What one layer asked of `attend`: the tensors and the rule as the model really used them.

    Args:
        layer: which, from 0, in the order in which the model runs them.
        query: `[1, heads, tokens, dim]`.
        key: `[1, kv_heads, tokens, dim]`.
        value: `[1, kv_heads, tokens, value_dim]`.
        rule: the rule.
        query_start: absolute position of the first query.
        key_start: absolute position of the first key.
    """

    layer: int
    query: Tensor
    key: Tensor
    value: Tensor
    rule: Rule
    query_start: int
    key_start: int

    def weights(self, rows: Tensor | None = None) -> Tensor:
        """The weights of some rows, or of all: `[heads, rows, keys]`."""
        found: Tensor = weights(
            self.query, self.key, self.rule, rows, query_start=self.query_start, key_start=self.key_start
        )
        return found[0]

    def steps(self, row: int) -> Steps:
        """Every intermediate of the equation for one query, of all heads."""
        here = self.query_start + row
        query = self.query[..., row : row + 1, :]
        return steps(query, self.key, self.value, self.rule, query_start=here, key_start=self.key_start)


Watch = Callable[[Asked], None]


@dataclass(frozen=True)
class Eager:
    """What a model's own attention gives: the final hidden states, and one layer's weights of one row where told."""

    states: Tensor
    row: Tensor | None


def run(loaded: Loaded, ids: Tensor, watch: Watch) -> Tensor:
    """Run a model with regard in every layer; `watch` is told of each. Returns the final hidden states.

    Errors: InputError for a model that regard can't serve, or that reads more than one text.
    """
    if getattr(loaded.model.config, "is_encoder_decoder", False):
        raise InputError(
            f"{loaded.name} is an encoder and a decoder, and explain shows models that read one text; "
            "try --model minilm or --model smollm2"
        )
    serve(loaded.model)
    layers = count()

    def told(call: Call) -> None:
        watch(Asked(next(layers), call.query, call.key, call.value, call.rule, call.query_start, call.key_start))

    with watching(told), torch.inference_mode():
        return _states(loaded, ids)


def run_eagerly(loaded: Loaded, ids: Tensor, layer: int, head: int, row: int) -> Eager:
    """Run a model with its own eager attention, and keep the weights of one row where its layers return them."""
    loaded.model.set_attn_implementation("eager")
    seen: list[Tensor] = []
    last: list[Tensor] = []

    def look(module: nn.Module, inputs: Any, result: Any) -> None:
        given = result[1] if isinstance(result, tuple) and len(result) > 1 else None
        if not isinstance(given, Tensor) or given.ndim != 4 or given.shape[-1] != ids.shape[1]:
            return
        if not any(given is known for known in last):  # an outer module hands on what its inner one returned
            last[:] = [given]
            seen.append(given[0, head, row].clone() if len(seen) == layer else torch.empty(0))

    hooks = [
        module.register_forward_hook(look)
        for module in loaded.model.modules()
        if "attention" in type(module).__name__.lower()
    ]
    try:
        with torch.inference_mode():
            states = _states(loaded, ids)
    finally:
        for hook in hooks:
            hook.remove()
    return Eager(states, seen[layer] if len(seen) > layer else None)


def _states(loaded: Loaded, ids: Tensor) -> Tensor:
    try:
        found: Tensor = loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    except (TypeError, AttributeError) as error:
        raise InputError(f"{loaded.name} is no model that reads text alone: {error}") from error
    return found
