"""The attention of recurrent decoders: Bahdanau's and Luong's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regard.attention import attend, partial
from regard.errors import InputError
from regard.nn.checks import check_rows, check_sizes
from regard.nn.held import Held
from regard.rule import Rule
from regard.terms import bias as biases
from regard.terms.pattern import Pattern, mask, padding, window
from regard.terms.score import Score, additive, general

__all__ = ["Additive", "Luong"]


class Additive(nn.Module):
    """Bahdanau's attention: a context for each state of a decoder, from all states of an encoder.

    `context_i = Σ_j softmax_j(v · tanh(W s_i + U h_j)) · h_j`

    Args:
        query_dim: components of a decoder's state s_i.
        key_dim: components of an encoder's state h_j.
        hidden: components of the network between them.

    Source: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate".
    """

    def __init__(self, query_dim: int, key_dim: int, hidden: int) -> None:
        check_sizes("Additive", query_dim=query_dim, key_dim=key_dim, hidden=hidden)
        super().__init__()
        self.query_dim, self.key_dim = query_dim, key_dim
        self.rule = Held(Rule(_additive(query_dim, key_dim, hidden)))

    def forward(self, query: Tensor, memory: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """`[..., queries, query_dim]`, `[..., keys, key_dim]` → `[..., queries, key_dim]`.

        Args:
            query: the decoder's states, 2 to 4 axes.
            memory: the encoder's states, keys and values at once.
            lengths: how many states are real, integers per batch entry; None is all of them.
        """
        check_rows("Additive", "query", query, self.query_dim)
        check_rows("Additive", "memory", memory, self.key_dim)
        score = self.rule().score
        rule = Rule(score=score, pattern=None if lengths is None else padding(lengths))
        memory = memory.unsqueeze(-3)
        return _one_head(attend(query.unsqueeze(-3), memory, memory, rule))

    def extra_repr(self) -> str:
        """Its sizes, as modules print them."""
        return f"{self.query_dim}, {self.key_dim}"


class Luong(nn.Module):
    """Luong's attention: global, local-m and local-p, by any score; and the attentional vector.

    `context_t = Σ_s softmax_s(score(h_t, h_s)) · g_ts · h_s`, global: all s, g = 1; local-m: |s − t| ≤ D, g = 1;
    local-p: |s − p_t| ≤ D, `g_ts = exp(−(s − p_t)²/2(D/2)²)`, `p_t = S · σ(v_p · tanh(W_p h_t))`;
    with `out_dim` the attentional vector, `tanh(W_c [context_t; h_t] + b_c)`.

    The Gaussian comes after the softmax, so that weights no longer sum to 1. No matrix of weights is made: with b the
    Gaussian's logarithm, the context is exp(lse_b − lse) times the output of the rule with b as a bias.

    Args:
        query_dim: components of a decoder's state h_t.
        key_dim: components of an encoder's state h_s; None is `query_dim`.
        score: `dot(1.0)`, `general(W)`, or `Luong.concat(query_dim, key_dim, hidden)`; its `nn.Parameter`s are
            learned. None is *general* with a fresh W.
        reach: D, how far local attention looks to both sides, in positions; None is global attention.
        predict: with `reach`: local-p, which predicts p_t, instead of local-m.
        out_dim: components of the attentional vector; None gives the context itself.

    Source: Luong et al. 2015, "Effective Approaches to Attention-based Neural Machine Translation".
    """

    def __init__(
        self,
        query_dim: int,
        key_dim: int | None = None,
        *,
        score: Score | None = None,
        reach: int | None = None,
        predict: bool = False,
        out_dim: int | None = None,
    ) -> None:
        key_dim = query_dim if key_dim is None else key_dim
        check_sizes("Luong", query_dim=query_dim, key_dim=key_dim)
        check_sizes("Luong", **{n: v for n, v in (("reach", reach), ("out_dim", out_dim)) if v is not None})
        if predict and reach is None:
            raise InputError("Luong(predict=True) is local attention: say its reach, as reach=10")
        super().__init__()
        self.query_dim, self.key_dim, self.reach = query_dim, key_dim, reach
        self.rule = Held(Rule(general(_fresh(query_dim, key_dim)) if score is None else score))
        self.rule().score.check(query_dim, key_dim, 1)
        self.place = _Place(query_dim) if predict else None
        self.combine = None if out_dim is None else nn.Linear(key_dim + query_dim, out_dim)

    @staticmethod
    def concat(query_dim: int, key_dim: int, hidden: int) -> Score:
        """The score *concat* with fresh weights: `v · tanh(W [h_t; h_s])`, W in two halves."""
        check_sizes("Luong.concat", query_dim=query_dim, key_dim=key_dim, hidden=hidden)
        return _additive(query_dim, key_dim, hidden)

    def forward(
        self, query: Tensor, memory: Tensor, *, lengths: Tensor | None = None, query_start: int | Tensor = 0
    ) -> Tensor:
        """`[..., queries, query_dim]`, `[..., keys, key_dim]` → `[..., queries, out_dim or key_dim]`.

        Args:
            query: the decoder's states, 2 to 4 axes.
            memory: the encoder's states, keys and values at once.
            lengths: how many states are real, integers per batch entry (also S of local-p); None is all of them.
            query_start: t of the first query, for local-m.
        """
        check_rows("Luong", "query", query, self.query_dim)
        check_rows("Luong", "memory", memory, self.key_dim)
        context = _one_head(self._context(query.unsqueeze(-3), memory.unsqueeze(-3), lengths, query_start))
        if self.combine is None:
            return context
        return self.combine(torch.cat((context, query.expand(*context.shape[:-1], -1)), -1)).tanh()  # type: ignore[no-any-return]

    def _context(self, query: Tensor, memory: Tensor, lengths: Tensor | None, start: int | Tensor) -> Tensor:
        score = self.rule().score
        real = None if lengths is None else padding(lengths)
        if self.reach is None:
            return attend(query, memory, memory, Rule(score, real))
        if self.place is None:
            near = window(before=self.reach, after=self.reach)
            return attend(query, memory, memory, Rule(score, _both(near, real)), query_start=start)
        whole = memory.shape[-2] if lengths is None else lengths.to(query.device)[..., None, None, None]
        # In 16 bits far positions would be rounded.
        place = self.place(query).to(torch.promote_types(query.dtype, torch.float32))
        away = torch.arange(memory.shape[-2], device=query.device) - place * whole
        gaussian = biases.tensor(-2 * (away / self.reach).square())
        pattern = _both(mask(away.abs() <= self.reach), real)
        flat = partial(query, memory, memory, Rule(score, pattern), query_start=0)
        bent = partial(query, memory, memory, Rule(score, pattern, gaussian), query_start=0)
        nothing = flat.lse == -torch.inf
        gap = torch.where(nothing, 0, bent.lse) - torch.where(nothing, 0, flat.lse)
        return (torch.where(nothing, 0, gap.exp())[..., None] * bent.values).to(query.dtype)

    def extra_repr(self) -> str:
        """Its sizes, as modules print them."""
        return f"{self.query_dim}, {self.key_dim}" + ("" if self.reach is None else f", reach={self.reach}")


class _Place(nn.Module):
    """σ(v_p · tanh(W_p h_t)): where in the source a state looks, in [0, 1]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, dim, bias=False)
        self.outer = nn.Linear(dim, 1, bias=False)

    def forward(self, query: Tensor) -> Tensor:
        """`[..., queries, dim]` → `[..., queries, 1]`."""
        return self.outer(self.inner(query).tanh()).sigmoid()  # type: ignore[no-any-return]


def _one_head(out: Tensor) -> Tensor:
    """`[..., 1, queries, dim]` → `[..., queries, dim]`."""
    return out.squeeze(-3)


def _both(pattern: Pattern, other: Pattern | None) -> Pattern:
    return pattern if other is None else pattern & other


def _additive(query_dim: int, key_dim: int, hidden: int) -> Score:
    vector = nn.Parameter(_fresh(1, hidden).detach()[0])
    return additive(_fresh(hidden, query_dim), _fresh(hidden, key_dim), vector)


def _fresh(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, columns)))
