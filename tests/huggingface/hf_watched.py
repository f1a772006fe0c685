"""What a model's eager attention says, and what `watch` sees of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import regard as rg
from regard.huggingface import watch


def eager(made: Any, given: Any) -> list[Tensor]:
    """All weights by the model's own attention, in the order in which its layers run."""
    with torch.no_grad():
        out = made(**given, output_attentions=True)
    if "encoder_attentions" not in out:
        return list(out.attentions)
    decoder = [w for pair in zip(out.decoder_attentions, out.cross_attentions, strict=True) for w in pair]
    return [*out.encoder_attentions, *decoder]


def seen_in(made: Any, given: Any, **more: Any) -> rg.Layers:
    with torch.no_grad(), watch(made, **more) as seen:
        made(**given)
    return seen


def close(found: Tensor, wanted: Tensor, live: Tensor | None = None) -> None:
    if live is not None:
        found, wanted = found[live], wanted[live]
    torch.testing.assert_close(found.double(), wanted.double(), atol=2e-4, rtol=2e-4)
