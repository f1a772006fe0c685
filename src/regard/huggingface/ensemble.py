"""The heads of a model as an ensemble: some of them silenced, and how much each is missed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from regard.errors import InputError
from regard.huggingface.interface import Call, scaling
from regard.huggingface.library import PreTrainedModel
from regard.huggingface.models import served
from regard.huggingface.order import Order, chosen
from regard.looking import asking

__all__ = ["Importance", "importance_by_gradient", "importance_by_masking", "mask_heads"]

Batch = TypeVar("Batch")
Heads = Mapping[int, Sequence[int]]


@contextmanager
def mask_heads(model: PreTrainedModel, heads: Heads) -> Iterator[None]:
    """While this is open, these heads give nothing: `out_h = ξ_h Σ_j w_ij v_j`, ξ_h = 0, before the layer mixes them.

        with mask_heads(model, {0: [3, 5], 4: [0]}):
            model(**inputs)

    Every attention is computed by regard meanwhile, in this thread; afterwards the model is as it was.

    Args:
        model: of transformers, with an attention interface.
        heads: by layer, numbered in the order in which the model runs them, as `watch` does.

    Errors: InputError for a model that computes attention by itself, and for layers or heads that it has not.

    Source: Michel, Levy & Neubig 2019, "Are Sixteen Heads Really Better than One?".
    """

    def silenced(number: int, call: Call) -> Tensor | None:
        if not len(heads.get(number, ())):
            return None
        factor = torch.ones(call.query.shape[1], device=call.query.device)
        factor[asking.indices("heads", heads[number], len(factor)).to(factor.device)] = 0
        return factor

    with _scaled(model, silenced, list(heads)):
        yield


@dataclass(frozen=True)
class Importance:
    """How much each head is missed.

    Args:
        scores: by layer, `[heads]`.
        measure: what they are.
    """

    scores: dict[int, Tensor]
    measure: str

    def order(self) -> list[tuple[int, int]]:
        """(layer, head) of all heads, the least important first; equal ones in the order of the model."""
        every = [
            (float(score), layer, head) for layer, scores in self.scores.items() for head, score in enumerate(scores)
        ]
        return [(layer, head) for _, layer, head in sorted(every)]

    def by_layer(self) -> Importance:
        """Each layer's scores over their length, `√Σ_h I_h²`, so that no layer is small as a whole."""
        scaled = {
            layer: scores / scores.norm().clamp(min=torch.finfo(scores.dtype).tiny)
            for layer, scores in self.scores.items()
        }
        return Importance(scaled, f"{self.measure}, of each layer over its length")


def importance_by_masking(
    model: PreTrainedModel,
    losses: Callable[[Batch], Tensor],
    batches: Sequence[Batch],
    note: Callable[[str], None] = lambda said: None,
) -> Importance:
    """What the loss gains when one head is silenced: `I_h = mean_x(L(x; ξ_h = 0) − L(x))`, a pass for each head.

    Args:
        model: of transformers, with an attention interface.
        losses: runs the model on a batch, and gives the loss of each example, `[examples]`.
        batches: what to run it on.
        note: told how far it is.

    Errors: InputError for a model that computes attention by itself.

    Source: Michel, Levy & Neubig 2019, "Are Sixteen Heads Really Better than One?".
    """
    found: dict[int, Tensor] = {}

    def counted(number: int, call: Call) -> None:
        found.setdefault(number, torch.zeros(call.query.shape[1], dtype=torch.float64))

    with torch.no_grad():
        with _scaled(model, counted):
            whole = _mean(losses, batches)
        _ran(found)
        total = sum(len(scores) for scores in found.values())
        done = 0
        for layer, scores in found.items():
            for head in range(len(scores)):
                done += 1
                note(f"head {done} of {total}")
                with mask_heads(model, {layer: [head]}):
                    scores[head] = _mean(losses, batches) - whole
    return Importance(found, "what the loss gains without the head")


def importance_by_gradient(
    model: PreTrainedModel, losses: Callable[[Batch], Tensor], batches: Iterable[Batch]
) -> Importance:
    """How strongly the loss depends on each head: `I_h = mean_x |∂L(x)/∂ξ_h|` at ξ = 1, all heads in one pass.

    Args:
        model: of transformers, with an attention interface.
        losses: runs the model on a batch, and gives the loss of each example, `[examples]`, which depends on no other.
        batches: what to run it on.

    Errors: InputError for a model that computes attention by itself, or losses that don't depend on it.

    Source: Michel, Levy & Neubig 2019, "Are Sixteen Heads Really Better than One?".
    """
    found: dict[int, Tensor] = {}
    factors: dict[int, Tensor] = {}
    examples = 0

    def free(number: int, call: Call) -> Tensor:
        # One for each example, so that gradients of several never cancel out; and the same wherever losses run the
        # model again, so that all that an example's loss owes to a head is there.
        size = call.query.shape[:2]
        factor = factors.setdefault(number, torch.ones(size, device=call.query.device, requires_grad=True))
        if factor.shape != size:
            raise InputError(
                f"losses ran the model on {len(factor)} and on {size[0]} examples; run it on the same ones each time"
            )
        return factor

    with torch.enable_grad():
        for batch in batches:
            factors.clear()
            with _scaled(model, free):
                loss = _checked(losses(batch))
                if not loss.requires_grad:
                    raise InputError("losses must be computed with gradients: no torch.no_grad, no detach, no argmax")
                _ran(factors)
                # Inside, for layers that are computed again for their gradient.
                grads = torch.autograd.grad(loss.sum(), list(factors.values()), materialize_grads=True)
            for layer, grad in zip(factors, grads, strict=True):
                found[layer] = found.get(layer, 0) + grad.double().abs().sum(0).cpu()
            examples += loss.numel()
    _some(examples)
    return Importance({layer: scores / examples for layer, scores in found.items()}, "mean |∂loss/∂ξ|")


@contextmanager
def _scaled(
    model: PreTrainedModel, factor: Callable[[int, Call], Tensor | None], layers: Sequence[int] | None = None
) -> Iterator[None]:
    """Every head of the model multiplied by what `factor` says of its layer's number and call."""
    with served(model) as modules:
        chosen(layers, modules)
        order = Order(model)

        def scaler(call: Call) -> Tensor | None:
            return None if order.stack(call) is None else factor(order.number(call), call)

        with order.following(lambda *_: None), scaling(scaler):
            yield


def _mean(losses: Callable[[Batch], Tensor], batches: Iterable[Batch]) -> float:
    every = [_checked(losses(batch)).double() for batch in batches]
    _some(sum(loss.numel() for loss in every))
    return float(torch.cat(every).mean())


def _some(examples: int) -> None:
    if not examples:
        raise InputError("batches must hold at least one example")


def _ran(layers: Mapping[int, Tensor]) -> None:
    if not layers:
        raise InputError("losses must run the model whose heads are asked about, and in this thread")


def _checked(loss: Tensor) -> Tensor:
    if not isinstance(loss, Tensor) or loss.ndim != 1:
        got = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise InputError(f'losses must give the loss of each example, [examples], as reduction="none" does; got {got}')
    return loss
