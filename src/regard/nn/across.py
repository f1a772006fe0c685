"""What a layer asks of the ranks over which a sequence is spread; it is given who does it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from regard.nn.positions import Rotary
from regard.rule import Rule

__all__ = ["Across"]


class Across(Protocol):
    """Attention over positions of which each rank has some."""

    def turned(self, rotary: Rotary, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """This rank's queries and keys, turned by their positions in the whole."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule, dropout: float) -> Tensor:
        """This rank's rows of the output, over the keys of all ranks."""
