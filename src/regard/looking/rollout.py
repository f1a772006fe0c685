"""Attention rollout, one row or one column of a product of matrices that are never made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from regard.attention import attend, weights
from regard.errors import InputError
from regard.looking import asking
from regard.looking.layers import Layer, continued
from regard.looking.measured import Posed

__all__ = ["Rollout", "rolled"]


@dataclass(frozen=True, repr=False)
class Rollout:
    """One row or one column of a rollout.

    Args:
        weights: `[batch, tokens]`: how much of each token reaches the row's, or how much of the column's reaches each.
        row: which row, or None.
        column: which column, or None.
        layers: through which layers, from the first to the last.
        without: keys that were left out.
        causal: whether the layers are causal, so that over many of them all ends at the first token.
    """

    weights: Tensor
    row: int | None
    column: int | None
    layers: tuple[int, ...]
    without: tuple[int, ...]
    causal: bool

    @property
    def note(self) -> str:
        """What a reader must know of a causal rollout; empty for others."""
        if not self.causal:
            return ""
        share = "" if self.row is None else f", here {float(self.weights[:, 0].mean()):.1%} of the row"
        return (
            f"causal: every step leads to earlier tokens, so over many layers nearly all ends at the first one{share}, "
            "whatever the model does; take few layers (layers=…), or without_sink=True"
        )

    def __repr__(self) -> str:
        which = f"column {self.column}" if self.row is None else f"row {self.row}"
        less = f", without keys {list(self.without)}" if self.without else ""
        said = f"; {self.note}" if self.note else ""
        return f"Rollout({which} of {self.weights.shape[-1]}, layers {list(self.layers)}{less}{said})"


def rolled(
    layers: Sequence[Layer], row: int | None, column: int | None, without_sink: bool | int | Sequence[int]
) -> Rollout:
    """One row, or one column, of the product of some layers, which go from the first to the last."""
    if (row is None) == (column is None):
        raise InputError(f"rollout takes either row or column, got row={row!r} and column={column!r}")
    paths = [_Path(layer) for layer in _of_one_stack(layers)]
    tokens = paths[0].tokens
    if any(path.tokens != tokens for path in paths):
        raise InputError(f"rollout needs layers of one sequence, got {sorted({p.tokens for p in paths})} tokens")
    struck = _struck(without_sink, tokens)
    name, asked = ("row", row) if row is not None else ("column", column)
    assert asked is not None
    at = int(asking.indices(name, asked, tokens)[0])
    length = max(path.length for path in paths)
    first = paths[0].calls[0]
    state = torch.zeros(first.query.shape[0], length, dtype=paths[0].dtype, device=first.query.device)
    state[:, at] = 1
    open_ = torch.ones(length, dtype=state.dtype, device=state.device)
    open_[struck] = 0
    with torch.no_grad():
        for path in reversed(paths) if column is None else paths:
            state = path.down(state, open_) if column is None else path.up(state, open_)
        causal = tokens > 1 and all(path.causal for path in paths)
    numbers = tuple(layer.where.layer for layer in layers)
    which = (at, None) if column is None else (None, at)
    return Rollout(state[:, :tokens], which[0], which[1], numbers, tuple(struck), causal)


class _Path:
    """One layer as the matrix `A = ½ M + ½ I`, M the mean over heads with rows of sum one; a row of nothing is I's."""

    def __init__(self, layer: Layer) -> None:
        self.calls, where = layer.posed, layer.where
        if self.calls[0].query_start != self.calls[0].key_start:
            raise InputError(
                f"rollout needs all rows of {where}, and the first {self.calls[0].query_start} were computed "
                "before the model was watched; watch it from its first token on"
            )
        if not all(continued(*pair) for pair in zip(self.calls, self.calls[1:], strict=False)):
            raise InputError(
                f"rollout needs one text in each entry, and in {where} they changed places between tokens, as in beam "
                "search; run the model once over the finished text"
            )
        self.tokens = sum(call.query.shape[2] for call in self.calls)
        self.length = max(self.tokens, *(call.key_start + call.key.shape[2] for call in self.calls))
        self.dtype = torch.promote_types(self.calls[0].query.dtype, torch.float32)

    @property
    def causal(self) -> bool:
        """Whether the first token sees at most itself."""
        call = self.calls[0]
        seen = weights(call.query, call.key, call.rule, [0], query_start=call.query_start, key_start=call.key_start)
        return not bool(seen[..., 1:].any())

    def up(self, column: Tensor, open_: Tensor) -> Tensor:
        """`A · column`, `[batch, tokens]`: an attention whose values are the column."""
        made, begin = column.clone(), 0
        for call in self.calls:
            rows, keys = self._places(call, begin)
            value = torch.stack([column * open_, open_.expand_as(column)], -1)[:, None, keys]
            found, mass = _through(call, value).mean(1).unbind(-1)
            moved = torch.where(mass > 0, found / torch.where(mass > 0, mass, 1), column[:, rows])
            made[:, rows] = (column[:, rows] + moved) / 2
            begin = rows.stop
        return made

    def down(self, row: Tensor, open_: Tensor) -> Tensor:
        """`row · A`, `[batch, tokens]`: the gradient of an attention by its values, since `∂out_i / ∂v_j = w_ij`."""
        made, begin = row.clone(), 0
        made[:, : self.tokens] /= 2
        for call in self.calls:
            rows, keys = self._places(call, begin)
            with torch.enable_grad():
                value = open_.expand_as(row)[:, None, keys, None].clone().requires_grad_()
                out = _through(call, value)
                mass = out.detach().mean(1)[..., 0]
                share = torch.where(mass > 0, row[:, rows] / torch.where(mass > 0, mass, 1), 0)
                pull = (share / out.shape[1])[:, None, :, None].expand_as(out)
                (moved,) = torch.autograd.grad(out, value, pull)
            made[:, keys] += moved[:, 0, :, 0] * open_[keys] / 2
            made[:, rows] += torch.where(mass > 0, 0, row[:, rows]) / 2
            begin = rows.stop
        return made

    def _places(self, call: Posed, begin: int) -> tuple[slice, slice]:
        return slice(begin, begin + call.query.shape[2]), slice(call.key_start, call.key_start + call.key.shape[2])


def _wide(call: Posed) -> Posed:
    """The call in at least float32: sixteen bits would round the state at every layer."""
    if call.query.dtype in (torch.float32, torch.float64):
        return call
    wide = call.rule.map(lambda leaf, roles: leaf.float() if leaf.is_floating_point() else leaf)
    return replace(call, query=call.query.float(), key=call.key.float(), rule=wide)


def _through(call: Posed, value: Tensor) -> Tensor:
    """`Σ_j w_ij v_j`, `[batch, heads, queries, n]`, of values `[batch, 1, keys, n]` that all heads share."""
    call, shared = _wide(call), value.expand(-1, call.key.shape[1], -1, -1)
    out: Tensor = attend(
        call.query, call.key, shared, call.rule, query_start=call.query_start, key_start=call.key_start
    )  # fmt: skip
    return out


def _of_one_stack(layers: Sequence[Layer]) -> Sequence[Layer]:
    if not layers:
        raise InputError("rollout needs at least one layer")
    stacks = sorted({layer.where.stack for layer in layers})
    kinds = {layer.where.kind for layer in layers}
    if len(stacks) > 1 or kinds != {"self"}:
        numbers = {
            stack: [one.where.layer for one in layers if one.where.stack == stack and one.where.kind == "self"]
            for stack in stacks
        }
        told = "; ".join(f"{stack or 'model'}: layers={some}" for stack, some in numbers.items())
        raise InputError(f"rollout goes through self-attention of one stack, and there is more here: {told}")
    return layers


def _struck(without_sink: bool | int | Sequence[int], tokens: int) -> list[int]:
    if without_sink is False:
        return []
    if without_sink is True:
        return [0]
    return sorted(set(asking.indices("without_sink", without_sink, tokens).tolist()))
