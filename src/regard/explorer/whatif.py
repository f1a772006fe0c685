"""What if … : one head's temperature or mask changed, tokens dropped, heads silenced, and the model run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from regard.errors import InputError
from regard.explain.seeing import Asked, run
from regard.explorer.reading import Reading, sight_of
from regard.huggingface.interface import Call, changing
from regard.looking import documents
from regard.looking.told import numbers
from regard.rule import Rule
from regard.terms.pattern import Pattern, everything, padding, per_head
from regard.terms.score import Dot

__all__ = ["WhatIf", "answer"]

COOLEST, HOTTEST = 0.01, 100.0
LIKELY = 8


@dataclass(frozen=True)
class WhatIf:
    """What is changed.

    Args:
        layer: whose head is looked at, and whose temperature and mask are changed.
        head: which.
        query: which row is shown.
        temperature: the head's scores are divided by it.
        unmask: whether the head sees every key.
        drop: tokens that no head of any layer sees.
        silence: (layer, head) pairs that write nothing.
    """

    layer: int
    head: int
    query: int
    temperature: float = 1.0
    unmask: bool = False
    drop: tuple[int, ...] = ()
    silence: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def of(said: Mapping[str, Any], reading: Reading) -> WhatIf:
        """From what the page sent, checked."""
        unknown = set(said) - set(WhatIf.__dataclass_fields__)
        if unknown:
            raise InputError(
                f"a what-if has {', '.join(WhatIf.__dataclass_fields__)}; got {', '.join(sorted(unknown))}"
            )
        layers, length = len(reading.sights), len(reading.words)
        layer = _whole("layer", said.get("layer"), layers)
        silence = said.get("silence") or []
        if not (isinstance(silence, list) and all(isinstance(one, list) and len(one) == 2 for one in silence)):
            raise InputError(f"silence must be a list of [layer, head], got {str(silence)[:80]}")
        return WhatIf(
            layer=layer,
            head=_whole("head", said.get("head"), reading.sights[layer].heads),
            query=_whole("query", said.get("query"), length),
            temperature=_temperature(said.get("temperature", 1.0)),
            unmask=_flag("unmask", said.get("unmask", False)),
            drop=tuple(sorted({_whole("drop", one, length) for one in _list("drop", said.get("drop"))})),
            silence=tuple(sorted({_head(one, reading) for one in silence})),
        )

    def rule(self, layer: int, call: Call) -> Rule:
        """The rule by which a layer is computed."""
        rule, heads = call.rule, call.query.shape[1]
        if layer == self.layer and self.temperature != 1:
            rule = replace(rule, score=self._tempered(rule, heads, call.query.shape[-1]))
        pattern = rule.pattern
        if layer == self.layer and self.unmask and pattern is not None:
            pattern = pattern | _only(heads, {self.head}, everything(), ~everything())
        pattern = self._without_dropped(pattern, call.key_start + call.key.shape[2])
        silent = {head for at, head in self.silence if at == layer}
        if silent:  # a row that sees nothing gives 0
            loud = _only(heads, silent, ~everything(), everything())
            pattern = loud if pattern is None else pattern & loud
        return replace(rule, pattern=pattern)

    def of_head(self, rule: Rule, length: int) -> Rule:
        """The rule of the head that is looked at, alone: `rule` without what it says of others.

        Args:
            rule: of the layer, as it is without changes.
            length: of the text.
        """
        pattern = self._without_dropped(None if self.unmask else rule.pattern, length)
        score = rule.score
        if isinstance(score, Dot) and self.temperature != 1 and isinstance(score.scale, float):
            score = Dot(score.scale / self.temperature)
        if (self.layer, self.head) in self.silence:
            pattern = ~everything()
        return replace(rule, score=score, pattern=pattern)

    def _without_dropped(self, pattern: Pattern | None, length: int) -> Pattern | None:
        if not self.drop:
            return pattern
        seen = torch.ones(length, dtype=torch.bool)
        seen[list(self.drop)] = False
        return padding(seen) if pattern is None else pattern & padding(seen)

    def _tempered(self, rule: Rule, heads: int, dim: int) -> Dot:
        if not isinstance(rule.score, Dot) or rule.bias is not None:
            raise InputError(f"temperature divides plain products, and this layer's rule is {rule!r}")
        scale = dim**-0.5 if rule.score.scale is None else rule.score.scale
        scales = torch.as_tensor(scale, dtype=torch.float32).expand(heads).clone()
        scales[self.head] /= self.temperature
        return Dot(scales)


def answer(reading: Reading, asked: WhatIf, breathe: Callable[[], None]) -> dict[str, Any]:
    """The steps of the query as they would be, as they are, and what it changes in the model's last state."""
    before = documents.steps(reading.sights[asked.layer], asked.head, asked.query)
    if reading.loaded is None or reading.ids is None or reading.states is None:
        raise InputError("a what-if runs a model again, and this is a look without one")
    states, now = _again(reading, asked, breathe)
    seen = documents.steps(sight_of(now, True), asked.head, asked.query)
    old, new = reading.states[0, asked.query].double(), states[0, asked.query].double()
    change = float((new - old).norm() / old.norm())
    rule = asked.of_head(reading.sights[asked.layer].problem.said, len(reading.words))
    return {
        **seen,
        "rule": repr(rule),
        "before": {"weights": before["weights"]},
        "changed": {"output": numbers(torch.tensor(change)), "next": _next(reading, old, new)},
    }


def _again(reading: Reading, asked: WhatIf, breathe: Callable[[], None]) -> tuple[Tensor, Asked]:
    """The model run with the changed rules: its last states, and what the layer was asked."""
    assert reading.loaded is not None
    assert reading.ids is not None
    kept: list[Asked] = []
    layer = -1

    def change(call: Call) -> Rule:
        nonlocal layer
        layer += 1
        return asked.rule(layer, call)

    def watch(found: Asked) -> None:
        breathe()
        if found.layer == asked.layer:
            kept.append(found)

    with changing(change):
        states = run(reading.loaded, reading.ids, watch)
    return states, kept[0]


def _next(reading: Reading, before: Tensor, after: Tensor) -> list[dict[str, Any]] | None:
    """The likeliest next tokens before and after, of a decoder whose words are read and written by one table."""
    assert reading.loaded is not None
    model, tokenizer = reading.loaded.model, reading.loaded.tokenizer
    config = model.config
    causal = bool((reading.sights[0].look.rows(0)[0, :, 0, 1:] == 0).all()) and (len(reading.words)) > 1
    if not causal or not getattr(config, "tie_word_embeddings", False):
        return None
    table = model.get_input_embeddings().weight
    old, new = ((table @ state.to(table)).double().softmax(0) for state in (before, after))
    likely = [*old.topk(LIKELY).indices.tolist(), *new.topk(LIKELY).indices.tolist()]
    order = sorted(dict.fromkeys(likely), key=lambda token: -float(max(old[token], new[token])))
    return [
        {"token": tokenizer.decode([token]), "before": float(old[token]), "after": float(new[token])} for token in order
    ]


def _only(heads: int, chosen: set[int], these: Pattern, others: Pattern) -> Pattern:
    return per_head(*(these if head in chosen else others for head in range(heads)))


def _whole(name: str, value: Any, length: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < length:
        raise InputError(f"{name} must be an integer from 0 to {length - 1}, got {str(value)[:40]}")
    return value


def _head(said: list[Any], reading: Reading) -> tuple[int, int]:
    layer = _whole("silence's layer", said[0], len(reading.sights))
    return layer, _whole("silence's head", said[1], reading.sights[layer].heads)


def _list(name: str, value: Any) -> list[Any]:
    if value is None or isinstance(value, list):
        return value or []
    raise InputError(f"{name} must be a list, got {str(value)[:40]}")


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise InputError(f"{name} must be true or false, got {str(value)[:40]}")


def _temperature(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not COOLEST <= value <= HOTTEST:
        raise InputError(f"temperature must be a number from {COOLEST:g} to {HOTTEST:g}, got {str(value)[:40]}")
    return float(value)
