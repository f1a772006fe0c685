"""The library's own numbers beside those of the page."""

from __future__ import annotations

import functools
from typing import Any

import torch
from page_server import TEXT

import regard as rg
from regard import data
from regard.engines.reference import Steps

LAYER, HEAD, QUERY, KEY = 5, 11, 10, 2
PLACE = f"#layer={LAYER}&head={HEAD}&query={QUERY}&key={KEY}"


def number(text: str) -> float:
    """A number as the page shows it: with a true minus sign."""
    return float(text.replace("−", "-"))


def half_of_last_digit(text: str) -> float:
    """How far a rounded number may be from what it was."""
    mantissa, _, exponent = text.partition("e")
    places = len(mantissa.partition(".")[2])
    return 0.5000001 * 10.0 ** (int(exponent.replace("−", "-") or 0) - places)


def shown(page: Any, name: str) -> str:
    """The text of the number of that name."""
    text: str = page.locator(f'data[data-name="{name}"]').first.inner_text()
    return text


def agrees(text: str, true: float) -> bool:
    """Equal to the digits shown, but for float32 in the last of them."""
    return abs(number(text) - true) <= half_of_last_digit(text) + 2e-6 * abs(true)


@functools.cache
def steps_of(layer: int, head: int) -> Steps:
    """`rg.steps` on the model's own q, k and v."""
    loaded = data.load("minilm")
    attention = loaded.model.encoder.layer[layer].attention.self
    found: dict[str, torch.Tensor] = {}
    hooks = [
        getattr(attention, name).register_forward_hook(lambda _m, _i, out, name=name: found.update({name: out}))
        for name in ("query", "key", "value")
    ]
    with torch.no_grad():
        loaded.model(**loaded.tokenizer(TEXT, return_tensors="pt"))
    for hook in hooks:
        hook.remove()
    parts = [found[name][0].unflatten(-1, (12, 32)).transpose(0, 1)[head : head + 1].double() for name in found]
    return rg.steps(*parts)
