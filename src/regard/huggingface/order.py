"""Which layer a call is of: attention layers are numbered in the order in which a model runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from regard.errors import InputError
from regard.huggingface.interface import Call
from regard.huggingface.library import PreTrainedModel
from regard.looking import asking

__all__ = ["Order", "chosen", "recomputed"]


class Order:
    """The layers of a model: a module that runs several times in one forward, as in ALBERT, is as many layers.

    Args:
        model: of transformers.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.names = {id(module): name for name, module in model.named_modules()}
        self.stacks = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
        # The innermost one counts: the last of those that hold a module, which come from the outside in.
        self._stack_of = {id(inner): stack for stack in self.stacks for inner in stack.modules()}
        self._times: dict[int, dict[int, int]] = {id(stack): {} for stack in self.stacks}
        self._numbers: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    @contextmanager
    def following(self, started: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]) -> Iterator[None]:
        """While this is open, forwards are counted, and `started` is told of every stack that begins one."""

        def begin(stack: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._times[id(stack)].clear()
            started(stack, args, kwargs)

        with ExitStack() as hooks:
            for stack in self.stacks:
                hooks.callback(stack.register_forward_pre_hook(begin, with_kwargs=True).remove)
            yield

    def stack(self, call: Call) -> PreTrainedModel | None:
        """The part of the model that the call's module belongs to; None for another model's."""
        return self._stack_of.get(id(call.module))

    def number(self, call: Call) -> int:
        """The call's layer; asked once a call."""
        module = id(call.module)
        times = self._times[id(self._stack_of[module])]
        if recomputed():
            if times.get(module, 0) > 1:
                raise InputError(
                    f"{self.names[module]} runs {times[module]} times in a forward, and which of them is computed "
                    "again for its gradient is unknown; turn gradient checkpointing off"
                )
            return self._numbers[module, 0]
        time = times.get(module, 0)
        times[module] = time + 1
        return self._numbers.setdefault((module, time), len(self._numbers))


def recomputed() -> bool:
    """Whether a layer is computed again for its gradient (checkpointing)."""
    return torch._C._current_graph_task_id() != -1


def chosen(layers: Sequence[int] | None, modules: Sequence[nn.Module]) -> set[int] | None:
    """The numbers of the layers asked for; a forward has at most as many as modules, or as configs say where one module
    runs several times. Only once it has run is it known which is the last one, so that none counts from the end.
    """
    if layers is None:
        return None
    configs = {id(config): config for module in modules if (config := getattr(module, "config", None)) is not None}
    most = max(len(modules), sum(getattr(config, "num_hidden_layers", 0) or 0 for config in configs.values()))
    found = asking.indices("layers", layers, most).tolist()
    if found != torch.as_tensor(layers).reshape(-1).tolist():
        raise InputError(f"layers must be counted from the first, from 0 to {most - 1}, got {list(layers)}")
    return set(found)
