"""How a module holds a rule: its tensors are registered, the rule is put together again on every call."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from regard.terms.tree import Term

__all__ = ["Held"]


class Held(nn.Module):
    """A rule, or any one term, whose tensors belong to the module that holds it.

    `self.rule = Held(as_rule(rule))`, then `attend(query, key, value, self.rule())`: what `.to`, `load_state_dict` or
    an optimizer made of the tensors since is what the rule computes with. An `nn.Parameter` in the rule is a parameter
    here, any other tensor a buffer; both are named by where they stand: `rule.bias.table`, `rule.normalize.sink`.

    Args:
        value: the rule or term; its tensors are taken over, not copied.
    """

    def __init__(self, value: Term) -> None:
        super().__init__()
        self._still: Any = None if value.leaves() else value
        self._kind = type(value)
        self._static = value.static()
        self._names = tuple(value.children()) if self._still is None else ()
        held: dict[int, Held] = {}  # a part that stands twice is held once
        for name in self._names:
            child = getattr(value, name)
            if isinstance(child, nn.Parameter):
                self.register_parameter(name, child)
            elif isinstance(child, Tensor):
                self.register_buffer(name, child)
            elif isinstance(child, tuple):
                self.add_module(name, nn.ModuleList(held.setdefault(id(part), Held(part)) for part in child))
            else:
                self.add_module(name, Held(child))

    def forward(self) -> Any:
        """The rule or term, with the tensors as they are now."""
        if self._still is not None:
            return self._still
        made = object.__new__(self._kind)
        for name, value in self._static.items():
            object.__setattr__(made, name, value)
        for name in self._names:
            object.__setattr__(made, name, _now(getattr(self, name)))
        return made

    def __repr__(self) -> str:
        return f"Held({self()!r})"


def _now(child: Tensor | nn.Module) -> Any:
    if isinstance(child, nn.ModuleList):
        made = {id(part): part() for part in {id(part): part for part in child}.values()}
        return tuple(made[id(part)] for part in child)
    return child if isinstance(child, Tensor) else child()
