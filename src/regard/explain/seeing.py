"""A model run twice: with regard in every layer, each watched as it is asked; and with its own eager attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from regard.attention import attend, steps
from regard.data import Loaded
from regard.engines.reference import Steps
from regard.errors import InputError
from regard.huggingface import serve
from regard.huggingface.interface import Call, watching
from regard.looking import Look, look
from regard.rule import Rule

__all__ = ["Asked", "Eager", "run", "run_eagerly"]


@dataclass(frozen=True)
class Asked:
    """What one layer asked of `attend`, as the model really used it.

    Args:
        layer: which, from 0, in the order in which the model runs them.
        call: tensors `[1, heads, tokens, dim]`, the rule, and where they stand.
    """

    layer: int
    call: Call

    @property
    def rule(self) -> Rule:
        """The layer's rule."""
        return self.call.rule

    @property
    def seen(self) -> Look:
        """Its weights to look at, `[1, heads, …]`."""
        call = self.call
        return look(call.query, call.key, call.rule, query_start=call.query_start, key_start=call.key_start)

    def steps(self, row: int) -> Steps:
        """Every intermediate of the equation for one query, of all heads."""
        call = self.call
        here = call.query_start + row
        return steps(
            call.query[..., row : row + 1, :], call.key, call.value, call.rule, query_start=here,
            key_start=call.key_start,
        )  # fmt: skip

    def out(self, row: int) -> Tensor:
        """What `attend` gives for one query, `[heads, value_dim]`."""
        call = self.call
        found = attend(
            call.query[..., row : row + 1, :], call.key, call.value, call.rule, query_start=call.query_start + row,
            key_start=call.key_start,
        )  # fmt: skip
        return found[0, :, 0]


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
        watch(Asked(next(layers), call))

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
