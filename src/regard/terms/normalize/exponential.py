"""Softmax, whose parts merge by their log-sum-exp, and its sink."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.terms.heads import check_heads, per_head
from regard.terms.normalize.base import NOTHING, Draw, Normalize
from regard.terms.tree import number, term

__all__ = ["Softmax", "softmax", "visible_share"]


@term
class Softmax(Normalize):
    """exp(s_ij) / (exp(sink) + Σ_j exp(s_ij))."""

    sink: float | Tensor | None = None
    roles = {"sink": ("head",)}  # noqa: RUF012

    def weights(self, scores: Tensor, draw: Draw) -> Tensor:
        weights, lse = self.part(scores, draw)
        return weights if self.sink is None else weights * visible_share(lse, self.sink)[..., None]

    def part(self, scores: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        if not scores.shape[-1]:
            return scores, scores.sum(-1) + NOTHING
        # A row of nothing but −∞ has no maximum to subtract; its sum stays 0.
        top = scores.detach().amax(-1, keepdim=True)
        top = torch.where(top == NOTHING, 0, top)
        powers = (scores - top).exp()
        total = powers.sum(-1, keepdim=True)
        empty = total == 0
        total = torch.where(empty, 1, total)
        return powers / total, torch.where(empty, NOTHING, total.log() + top).squeeze(-1)

    def check(self, heads: int) -> None:
        check_heads("softmax(sink)", self.sink, heads)

    def __repr__(self) -> str:
        return "softmax" if self.sink is None else f"softmax[sink={number(self.sink)}]"


def visible_share(lse: Tensor, sink: float | Tensor) -> Tensor:
    """exp(lse) / (exp(lse) + exp(sink)) = σ(lse − sink): what a sink leaves to the keys; 0 for a row of nothing.

    Args:
        lse: `[..., heads, queries]`.
        sink: a number, or logits `[heads]`.
    """
    sink = sink[:, None] if isinstance(sink, Tensor) and sink.ndim else sink
    empty = lse == NOTHING
    return torch.where(empty, 0, (torch.where(empty, 0, lse) - sink).sigmoid())


def softmax(sink: float | Tensor | None = None) -> Softmax:
    """Exponentials that sum to one, or to less where a sink takes its share.

    `w_ij = exp(s_ij) / (exp(sink) + Σ_j exp(s_ij))`

    Args:
        sink: None; 0.0 (softmax-plus-one); or logits, one number or a tensor `[heads]` (learned sinks).

    Source: Vaswani et al. 2017; Miller 2023, "Attention Is Off By One"; gpt-oss, 2025, for learned sinks.
    """
    return Softmax(sink if sink is None else per_head("softmax(sink)", sink))
