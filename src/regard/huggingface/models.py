"""Whole models: every sub-model set to regard, or a sentence that says why not and the model as it was."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import nn

from regard.errors import InputError
from regard.huggingface.library import PreTrainedModel

__all__ = ["NAME", "attention_layers", "serve", "served"]

NAME = "regard"
"""The attention's name in transformers, where names with "flash", "sdpa", "flex_attention" or "/" mean other things."""

_SETTING = "_attn_implementation_internal"


def serve(model: PreTrainedModel) -> PreTrainedModel:
    """Compute every attention of a model with regard, its sub-models' too.

    Does what `model.set_attn_implementation("regard")` does, where that only warns: raises InputError, and leaves the
    model as it was, when one of its attention layers computes attention by itself or can't be set.

    Args:
        model: of transformers 5.

    Returns:
        The same model.
    """
    if not isinstance(model, PreTrainedModel):
        raise InputError(f"serve takes a model of transformers, got {type(model).__name__}")
    layers, alone = attention_layers(model)
    if alone or not layers:
        which = f"in {', '.join(alone)} it computes attention by itself" if alone else "it has no attention layer"
        raise InputError(
            f"{type(model).__name__} can't be served by regard: {which}, past transformers' attention interface"
        )
    before = _settings(model)
    try:
        model.set_attn_implementation(NAME)
        for module in layers:
            _set(module)
    except Exception as error:
        _restore(before)
        raise InputError(f"{type(model).__name__} can't be served by regard: {error}") from error
    return model


@contextmanager
def served(model: PreTrainedModel) -> Iterator[list[nn.Module]]:
    """Serves a model while this is open, and gives its attention layers; then the model is as it was, whatever came."""
    before = _settings(model) if isinstance(model, nn.Module) else []
    serve(model)
    try:
        yield attention_layers(model)[0]
    finally:
        _restore(before)


def _settings(model: nn.Module) -> list[tuple[Any, Any]]:
    """Every config of a model, and the attention that it names."""
    return [(config, getattr(config, _SETTING, None)) for config in _configs(model)]


def _restore(before: list[tuple[Any, Any]]) -> None:
    for config, implementation in before:
        setattr(config, _SETTING, implementation)


def _set(module: nn.Module) -> None:
    config: Any = getattr(module, "config", None)
    if config is None:
        raise InputError(f"its {type(module).__name__} has no config that would name the attention")
    setattr(config, _SETTING, NAME)


def _configs(model: nn.Module) -> Iterator[Any]:
    """Every config that a module of the model reads, and their sub-configs, each once."""
    waiting = [config for module in model.modules() if (config := getattr(module, "config", None)) is not None]
    met: set[int] = set()
    while waiting:
        config = waiting.pop()
        if id(config) in met:
            continue
        met.add(id(config))
        inner = (getattr(config, name, None) for name in getattr(config, "sub_configs", ()))
        waiting += [sub for sub in inner if sub is not None]
        yield config


def attention_layers(model: nn.Module) -> tuple[list[nn.Module], list[str]]:
    """The layers that ask transformers' interface for their attention, and the names of those that compute it alone."""
    texts = {kind: _source(kind) for kind in {type(module) for module in model.modules()}}  # type: ignore[arg-type]
    asking = {kind for kind, text in texts.items() if "ALL_ATTENTION_FUNCTIONS" in text}
    weighing = {kind for kind, text in texts.items() if "Attention" in kind.__name__ and _weighs(text.lower())}
    alone = {
        type(module).__name__
        for module in model.modules()
        if type(module) in weighing - asking
        and not any(type(inner) in asking | weighing for inner in module.modules() if inner is not module)
    }
    return [module for module in model.modules() if type(module) in asking], sorted(alone)


def _weighs(text: str) -> bool:
    return "softmax" in text or "scaled_dot_product_attention" in text


@cache
def _source(kind: type) -> str:
    """The text of a layer's class, with what it inherits; nothing for whole models and torch's own layers."""
    if issubclass(kind, PreTrainedModel):
        return ""
    own = [base for base in kind.__mro__ if issubclass(base, nn.Module) and not base.__module__.startswith("torch.")]
    try:
        return "\n".join(inspect.getsource(base) for base in own)
    except (OSError, TypeError):
        return ""
