"""Whole models under transformers, regard against PyTorch's SDPA in every layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from regard import data
from regard.bench.measure import Effort, Spread, rounds
from regard.errors import InputError, MissingError

__all__ = ["Served", "served"]

CLOSE = 1e-3
IMPLEMENTATIONS = ("regard", "sdpa")


@dataclass(frozen=True)
class Served:
    """One job of one model.

    Args:
        job: what it does.
        regard: seconds with regard in every layer, or None where it was not timed.
        sdpa: seconds with PyTorch's SDPA.
        ratio: how many times as fast regard is, the median over rounds.
        why: why it was not timed, else empty.
        disturbed: how many rounds were disturbed.
    """

    job: str
    regard: Spread | None = None
    sdpa: Spread | None = None
    ratio: float | None = None
    why: str = ""
    disturbed: int = 0


def served(effort: Effort, note: Callable[[str], None], shrink: int = 1) -> Iterator[Served]:
    """SmolLM2 reading 8,000 tokens, and writing after 2,000 and 8,000; MiniLM on 32 × 128 and 8 × 512 tokens.

    Args:
        effort: how long each.
        note: told what takes long.
        shrink: divides the lengths.
    """
    few = replace(effort, least=3, most=7)
    for name, jobs in (("minilm", _encode(shrink)), ("smollm2", _decode(shrink))):
        note(f"loading {name}")
        try:
            import regard.huggingface  # noqa: F401

            model = data.load(name, note).model
        except (InputError, MissingError) as error:
            for job in jobs:
                yield Served(f"{name}: {job}", why=str(error))
            continue
        for job, begin in jobs.items():
            note(f"{name}: {job}")
            yield _compared(f"{name}: {job}", model, begin, few)


Begin = Callable[[Any], Callable[[], Tensor]]
"""A model → what is timed; it gives hidden states."""


def _encode(shrink: int) -> dict[str, Begin]:
    return {
        f"{batch} × {length // shrink} tokens": _read(batch, length // shrink)
        for batch, length in ((32, 128), (8, 512))
    }


def _decode(shrink: int) -> dict[str, Begin]:
    made = {f"prefill of {8000 // shrink} tokens": _read(1, 8000 // shrink)}
    return made | {f"one token after {n // shrink}": _write(n // shrink) for n in (2000, 8000)}


def _read(batch: int, length: int) -> Begin:
    def begin(model: Any) -> Callable[[], Tensor]:
        tokens = _tokens(model, batch, length)
        return lambda: model(tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state

    return begin


def _write(length: int) -> Begin:
    def begin(model: Any) -> Callable[[], Tensor]:
        tokens = _tokens(model, 1, length + 1)
        cache = model(tokens[:, :length], use_cache=True).past_key_values

        def step() -> Tensor:
            out: Tensor = model(tokens[:, length:], past_key_values=cache, use_cache=True).last_hidden_state
            cache.crop(-1)
            return out

        return step

    return begin


def _tokens(model: Any, batch: int, length: int) -> Tensor:
    drawn = torch.Generator().manual_seed(length)
    return torch.randint(100, model.config.vocab_size, (batch, length), generator=drawn)


def _compared(job: str, model: Any, begin: Begin, effort: Effort) -> Served:
    """Both in the same model; each sets its name before every call, which costs nothing beside it."""
    with torch.inference_mode():
        calls = {name: _with(model, name, begin) for name in IMPLEMENTATIONS}
        ours, theirs = (calls[name]() for name in IMPLEMENTATIONS)
        apart = float((ours - theirs).abs().max() / theirs.abs().max())
        if not apart <= CLOSE:
            return Served(job, why=f"wrong: the two differ by {apart:.1e} of the largest number, {CLOSE:.0e} may be")
        timed = rounds(calls, effort)
    own, base = (timed.spread(name) for name in IMPLEMENTATIONS)
    return Served(job, own, base, timed.ratio(*IMPLEMENTATIONS), disturbed=timed.disturbed)


def _with(model: Any, name: str, begin: Begin) -> Callable[[], Tensor]:
    model.set_attn_implementation(name)
    call = begin(model)

    def run() -> Tensor:
        model.set_attn_implementation(name)
        return call()

    return run
