"""Hamlet as SmolLM2 reads it: in whole, through a window, through a window and the first few tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from regard import data
from regard.bench.scaling import grown
from regard.recipes.recipe import ATTENTION, BASELINE, Work
from regard.recipes.splits import place
from regard.terms.pattern import Pattern, causal, global_tokens, window

__all__ = ["OTHERS", "stretch", "told"]

OTHERS = ("king-lear", "macbeth", "othello", "romeo-and-juliet")
LENGTH, NEAR, FIRST = 1024, 128, 4

Says = Callable[[], Tensor]
"""The token said after each of a stretch, `[tokens − 1]`."""


@torch.no_grad()
def told(work: Work, seed: int) -> None:
    """Every pattern on one stretch of the play."""
    if "smollm2" not in work.kept:
        data.extra("transformers", "transformers", "recipes")
        loaded = data.load("smollm2", work.note)
        plays = (data.play(name) for name in ("hamlet", *(OTHERS[:1] if work.quick else OTHERS)))
        read = [torch.tensor(loaded.tokenizer(play, verbose=False)["input_ids"]) for play in plays]
        work.kept["smollm2"] = (_served(loaded.model), read[0], _followers(torch.cat(read[1:]), loaded.tokenizer))
    model, play, follower = work.kept["smollm2"]
    length, near = (96, 24) if work.quick else (LENGTH, NEAR)
    tokens = play[stretch(len(play), length, seed)]
    first = causal() & (window(near) | global_tokens(range(FIRST)))
    says: dict[str, Says] = {"what mostly follows a token": lambda: follower[tokens[:-1]]}
    for name, pattern in (("full", causal()), (f"window of {near}", window(near)),
                          (f"window of {near} + first {FIRST}", first)):  # fmt: skip
        says[name] = _reading(model, tokens, pattern)
    for name, say in says.items():
        work.note(f"Hamlet, {name}")
        began = time.process_time()
        said = say()
        took = time.process_time() - began
        right = (said == tokens[1:])[near:].double().mean()
        if name not in work.kept:  # no stretch takes another room
            work.kept[name] = (grown(say) or 0) / 1e6
        family = BASELINE if "mostly" in name else ATTENTION
        work.add("Hamlet", name, family, seed, [100 * float(right), length / max(took, 1e-6), work.kept[name]])


def stretch(tokens: int, length: int, seed: int) -> slice:
    """Where the stretch of a seed is: no two of the first three overlap."""
    third = tokens // 3
    first = seed % 3 * third + int(place(f"{seed}", "hamlet") * (third - length))
    return slice(first, first + length)


def _served(model: Any) -> Any:
    from regard.huggingface import serve

    return serve(model)


def _followers(tokens: Tensor, tokenizer: Any) -> Tensor:
    """The token that most often follows each, `[vocabulary]`; the commonest one where none is known."""
    size = len(tokenizer)
    pairs, often = torch.unique(tokens[:-1] * size + tokens[1:], return_counts=True)
    follower = tokens.mode().values.repeat(size)
    order = often.argsort(stable=True)  # the most frequent is written last
    for before, after in zip((pairs[order] // size).tolist(), (pairs[order] % size).tolist(), strict=True):
        follower[before] = after
    return follower


def _reading(model: Any, tokens: Tensor, pattern: Pattern) -> Says:
    from regard.huggingface import Mask
    from regard.huggingface.grid import Grid

    grid = Grid(1, len(tokens), len(tokens), 0, 0, tokens.device)
    out = model.get_input_embeddings().weight

    def say() -> Tensor:
        states = model(tokens[None], attention_mask=Mask(pattern, grid), use_cache=False).last_hidden_state[0]
        return torch.cat([(part @ out.T).argmax(-1) for part in states[:-1].split(128)])

    return say
