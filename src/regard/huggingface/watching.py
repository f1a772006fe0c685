"""A model watched as it runs: the weights of every layer, and nothing kept that nobody asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regard.errors import InputError
from regard.huggingface.interface import Call, watching
from regard.huggingface.library import PreTrainedModel
from regard.huggingface.models import served
from regard.huggingface.order import Order, chosen, recomputed
from regard.looking import Layers, asking
from regard.looking.layers import Layer, Run, Where
from regard.looking.measured import Posed, measure
from regard.problem import pose
from regard.rule import Rule

__all__ = ["watch"]

CROSS = re.compile(r"(cross|enc_?dec|encoder_attn)[^.]*(\.[^.]*)?$", re.IGNORECASE)


@contextmanager
def watch(
    model: PreTrainedModel,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    keep: str = "statistics",
    *,
    top: int = 8,
    within: int = 8,
) -> Iterator[Layers]:
    """Looks at the weights of a model while it runs, layer by layer, in O(N) memory.

        with watch(model) as seen:
            model(**inputs)
        seen[3].entropy(), seen.table()

    Every attention is computed by regard meanwhile, in this thread; afterwards, and after an error, the model is as it
    was. A forward is a run; so is `generate`, whose decoded tokens are rows after those of the prompt.

    Args:
        model: of transformers, with an attention interface.
        layers: which, by number, in the order in which the model runs them; None is all.
        heads: which query heads of these layers; None is all.
        keep: "statistics" measures each layer when it runs, and lets its queries go; "queries" keeps a copy of queries
            and keys, so that `looks`, `rows` and `rollout` can ask for anything afterwards.
        top: how many of the greatest weights of each row are kept.
        within: up to which distance mass is local.

    Returns: a `Layers`, which fills up as the model runs.

    Errors: InputError for a model that computes attention by itself, and for layers or heads that it has not.
    """
    if keep not in ("statistics", "queries"):
        raise InputError(f'keep must be "statistics" or "queries", got {keep!r}')
    top, within = asking.at_least("top", top, 1), asking.at_least("within", within, 0)
    with served(model) as modules:
        watcher = _Watcher(model, _Wish(chosen(layers, modules), heads, keep == "queries", top, within))
        with watcher.order.following(watcher.started), watching(watcher.told):
            try:
                yield watcher.seen
            except BaseException as error:
                watcher.stopped(error)
                raise


@dataclass(frozen=True)
class _Wish:
    """What the user asked for."""

    layers: set[int] | None
    heads: Sequence[int] | None
    queries: bool
    top: int
    within: int


@dataclass
class _Stack:
    """A part of the model that reads one sequence: what it was given, and how far it has read.

    Args:
        name: its path in the model.
        given: the token ids of this forward.
        tokens: those of the whole run so far.
        fresh: whether no layer of it has run in this forward.
        goes_on: whether this forward goes on where the last one ended.
        batch: entries of the last forward.
        end: the position after its last query.
        run: the run that it last took part in.
        key: the keys of its first layer.
        key_start: the position of the first of them.
    """

    name: str
    given: Tensor | None = None
    tokens: Tensor | None = None
    fresh: bool = True
    goes_on: bool = False
    batch: int = 0
    end: int = 0
    run: Run | None = None
    key: Tensor | None = None
    key_start: int = 0

    def enter(self, call: Call, cross: bool) -> None:
        """The first layer of a forward: whether it goes on, with which tokens, and where it will end."""
        entries, queries, keys = call.query.shape[0], call.query.shape[2], call.key.shape[2]
        # Where a mask had to be made a table, positions are counted from 0 again for every token.
        told = call.query_start == self.end or (call.query_start == 0 and queries == 1 and keys == self.end + 1)
        self.goes_on = not cross and self.end > 0 and entries == self.batch and told
        begin = self.end if self.goes_on else max(0, call.query_start)
        given = self.given
        if given is not None and tuple(given.shape) != (entries, queries):
            given = None
        if self.goes_on:
            before = None if self._reordered(call) else self.tokens
            self.tokens = None if before is None or given is None else torch.cat([before, given], -1)
        else:
            self.tokens = given if begin == 0 else None
        self.fresh, self.batch, self.end = False, entries, begin + queries
        # A static cache is written to in place.
        self.key, self.key_start = call.key.detach().clone() if self.tokens is not None else None, call.key_start

    def _reordered(self, call: Call) -> bool:
        """Whether an entry holds another's keys now, as in beam search: the tokens before are then unknown."""
        if self.key is None:
            return True
        first = max(self.key_start, call.key_start)
        runs = zip((self.key, call.key), (self.key_start, call.key_start), strict=True)
        old, new = (keys[:, :, first - start : self.end - start] for keys, start in runs)
        return not torch.equal(old, new)


class _Watcher:
    """Told of every call, it knows which layer it is of, and adds what was asked for to `seen`."""

    def __init__(self, model: PreTrainedModel, wish: _Wish) -> None:
        self.seen = Layers()
        self._wish = wish
        self.order = Order(model)
        self._stacks = {id(module): _Stack(self.order.names[id(module)]) for module in self.order.stacks}

    def started(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A stack begins a forward."""
        stack = self._stacks[id(module)]
        ids = kwargs.get("input_ids", args[0] if args else None)
        right = isinstance(ids, Tensor) and ids.ndim == 2 and not ids.is_floating_point()
        stack.given = ids.detach() if right and isinstance(ids, Tensor) else None
        stack.fresh = True

    def told(self, call: Call) -> None:
        """A layer has been computed."""
        module = self.order.stack(call)
        if module is None or recomputed():
            return  # another model's; or a layer that is computed again for its gradient
        stack, cross = self._stacks[id(module)], self._cross(call)
        if stack.fresh:
            stack.enter(call, cross)
            self._choose_run(stack)
        number = self.order.number(call)
        self.seen.count = len(self.order)
        if self._wish.layers is None or number in self._wish.layers:
            # Out of inference mode, so that what is kept can be differentiated: rollout does.
            with torch.inference_mode(False), torch.no_grad():
                self._keep(number, stack, call, cross)

    def stopped(self, error: BaseException) -> None:
        """The model, or what else is inside of `with`, ended by an error."""
        if self.seen.runs:
            self.seen.runs[-1].stopped = f"{type(error).__name__}: {error}".rstrip(": ")

    def _choose_run(self, stack: _Stack) -> None:
        runs = self.seen.runs
        if not runs or (not stack.goes_on and stack.run is runs[-1]):
            runs.append(Run())
        stack.run = runs[-1]

    def _keep(self, number: int, stack: _Stack, call: Call, cross: bool) -> None:
        wish, layers = self._wish, self.seen.runs[-1].layers
        total = call.query.shape[1]
        heads = range(total) if wish.heads is None else asking.indices("heads", wish.heads, total).tolist()
        posed = _posed(call, None if wish.heads is None else list(heads), None if cross else stack.tokens, not cross)
        measured = None if wish.queries else measure(posed, wish.top, wish.within)
        held = _held(posed) if wish.queries else None
        if number in layers:
            layers[number] = layers[number].joined(measured, held)
            return
        where = Where(number, self.order.names[id(call.module)], "cross" if cross else "self", stack.name, tuple(heads))
        layers[number] = Layer(where, measured, () if held is None else (held,), wish.top, wish.within)

    def _cross(self, call: Call) -> bool:
        """Whether keys come from another sequence: the module says so, or its name does."""
        said = getattr(call.module, "is_cross_attention", None)
        return bool(said) or CROSS.search(self.order.names[id(call.module)]) is not None


def _posed(call: Call, heads: list[int] | None, tokens: Tensor | None, alike: bool) -> Posed:
    """What a layer asked for, cut to some heads, with the tokens so far."""
    query, key, rule, lse = call.query.detach(), call.key.detach(), call.rule, call.lse
    if heads is not None:
        group = query.shape[1] // key.shape[1]
        rule = rule.of_heads(query.shape[1], heads, query.device)
        query, key = query[:, heads], key[:, [head // group for head in heads]]
        lse = None if lse is None else lse[:, heads]
    if tokens is not None:
        tokens = _up_to(tokens, call.key_start + key.shape[2])
    return Posed(query, key, rule, call.query_start, call.key_start, tokens, alike, lse)


def _held(posed: Posed) -> Posed:
    """The same, as the model used it (autocast, too), in tensors of its own: caches are written to in place."""
    start, first = posed.query_start, posed.key_start
    problem = pose(posed.query, posed.key, posed.key, posed.rule, query_start=start, key_start=first)
    rule: Rule = posed.rule.map(lambda leaf, roles: leaf.clone() if leaf.is_inference() else leaf.detach())
    return Posed(problem.query.clone(), problem.key.clone(), rule, start, first, posed.tokens, posed.alike)


def _up_to(tokens: Tensor, length: int) -> Tensor:
    """Tokens of the first positions; places that are not written yet hold numbers that are no token's."""
    missing = length - tokens.shape[1]
    fillers = -1 - torch.arange(max(0, missing), device=tokens.device)
    return torch.cat([tokens[:, :length], fillers.expand(len(tokens), -1)], -1)
