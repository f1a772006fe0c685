"""Who is compared: ten models, all with as many parameters as self-attention has, or a little fewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch

from regard import approximate
from regard.compare.models import DIM, HEADS, Attend, Bahdanau, Looking, Model, Recurrent, Transformer
from regard.terms.pattern import Pattern, blocks, global_tokens, window

__all__ = ["CONTESTANTS", "FAMILIES", "SELF", "Contestant"]

FAMILIES = ("recurrent", "exact", "approximate")

SIDE, TOKENS, BLOCK, FEATURES, LANDMARKS = 4, 4, 8, 64, 16
"""Of the window, to each side; global tokens; positions of a block; of the Performer; of Nyström."""

HIDDEN = 128


@dataclass(frozen=True)
class Contestant:
    """One way to attend, or not to.

    Args:
        name: as tables show it.
        family: "recurrent", "exact" (the equation, by some pattern) or "approximate".
        make: (tokens, symbols, width) → the model.
        widths: which widths it may have, from the widest.
    """

    name: str
    family: str
    make: Callable[[int, int, int], Model]
    widths: Sequence[int] = (HIDDEN,)

    def model(self, tokens: int, symbols: int, seed: int) -> Model:
        """The widest one with no more parameters than self-attention has, begun from the seed."""
        most = _parameters(partial(Transformer, tokens, symbols, HIDDEN))
        width = next(w for w in self.widths if _parameters(partial(self.make, tokens, symbols, w)) <= most)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            return self.make(tokens, symbols, width)


def _parameters(make: Callable[[], Model]) -> int:
    """How many it would have, without making them."""
    with torch.device("meta"):
        return make().parameter_count()


def _near(length: int) -> Pattern:
    return window(before=SIDE, after=SIDE)


def _hubs(length: int) -> Pattern:
    return _near(length) | global_tokens(range(TOKENS))


@cache
def _sparse(length: int) -> Pattern:
    """A block sees itself and those whose number differs in one binary digit (Dao et al. 2022, flat butterfly)."""
    number = torch.arange(-(-length // BLOCK))
    apart = number[:, None] ^ number
    return blocks(BLOCK, apart & (apart - 1) == 0)


def _pattern(of: Callable[[int], Pattern]) -> Callable[[int, int, int], Model]:
    return partial(Transformer, pattern=of)


def _approximation(attend: Attend) -> Callable[[int, int, int], Model]:
    return partial(Transformer, approximation=attend)


def _performer(tokens: int, symbols: int, width: int) -> Model:
    """Its directions are drawn once, and belong to the model."""
    drawn = approximate.directions(FEATURES, DIM // HEADS)
    return Transformer(tokens, symbols, width, approximation=partial(approximate.performer, features=drawn))


_ANY = range(2 * HIDDEN, 0, -2)

SELF = Contestant("self-attention", "exact", Transformer)

CONTESTANTS = (
    Contestant("GRU alone", "recurrent", Recurrent, _ANY),
    Contestant("GRU + Bahdanau", "recurrent", Bahdanau, _ANY),
    Contestant("GRU + Luong", "recurrent", Looking, _ANY),
    SELF,
    Contestant("windowed", "exact", _pattern(_near)),
    Contestant("global + local", "exact", _pattern(_hubs)),
    Contestant("block-sparse", "exact", _pattern(_sparse)),
    Contestant("linear", "approximate", _approximation(approximate.linear)),
    Contestant("Performer", "approximate", _performer),
    Contestant("Nyström", "approximate", _approximation(partial(approximate.nystrom, landmarks=LANDMARKS))),
)
