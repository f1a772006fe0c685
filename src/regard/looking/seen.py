"""What a user holds: the weights of one attention, looked at without the square."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regard.engines.native import grouping, single
from regard.engines.native.grouping import Grouping
from regard.errors import InputError
from regard.looking import asking, heads, passes
from regard.looking.asking import Span
from regard.looking.kept import Kept
from regard.looking.pooling import areas, halved
from regard.looking.results import Cells, Distance, HeadScores, Needle, Pooled, Top
from regard.looking.source import Source
from regard.terms.normalize import NOTHING, Softmax

__all__ = ["Look"]

Ids = Tensor | Sequence[int]


class Look:
    """The weights w_ij of one attention, exact, without ever holding them all: O(N) memory.

    Made by `regard.look`. Nothing is computed before it is asked for, and nothing twice:

    - one pass over rows gives `lse`, `mass`, `entropy`, `effective_keys`, `maximum`, `top`, the mean of `distance` and
      the local mass of `head_scores`;
    - one pass over columns gives `received` and the profile of `distance`;
    - `share`, `segments`, `tile` and `pyramid` are a pass each, or one together, if `collect` is told of them first.

    A sink stands in the denominator and is no key. Rows and keys are counted from 0 in `query` and `key`; distances are
    in absolute positions. Query and key are held, not copied: don't change them in between.
    """

    def __init__(self, source: Source) -> None:
        self._source, self._problem, self._kept = source, source.problem, Kept(source)

    def __repr__(self) -> str:
        problem, shape = self._problem, self._problem.shaped(self._problem.query).shape[:-1]
        return f"Look({[*shape, problem.keys]}, {problem.said!r}, by {self._source.engines})"

    @property
    def source(self) -> Source:
        """What is looked at, and by whom."""
        return self._source

    def _repr_html_(self) -> str:
        """What a notebook shows: the page where the text is short, else a table of the heads."""
        from regard.looking.page import of_look

        return of_look(self)

    # ------------------------------------------------------------------------------------------------- by rows

    @property
    def lse(self) -> Tensor:
        """`log(exp(sink) + Σ_j exp(s_ij))`, `[..., heads, queries]`, so that w_ij = exp(s_ij − lse_i).

        −∞ in a row that sees no key. InputError for a normalizer that has none.
        """
        if not isinstance(self._problem.rule.normalize, Softmax):
            raise InputError(
                f"{self._problem.said!r} has no log-sum-exp: only softmax divides by a sum of exponentials"
            )
        found = self._kept.rows().lse
        assert found is not None
        return self._problem.shaped(found)

    def mass(self) -> Tensor:
        """`Σ_j w_ij`, `[..., heads, queries]`: 1 less the share of a sink; any number for `sigmoid` and `relu`."""
        return self._problem.shaped(self._kept.rows().mass)

    def entropy(self) -> Tensor:
        """`−Σ_j w_ij log w_ij` over the keys, in nats, `[..., heads, queries]`; 0 in a row that sees no key.

        For `sigmoid` and `relu`, whose weights need not sum to one, of the weights over their sum.
        """
        return self._problem.shaped(self._kept.rows().entropy)

    def effective_keys(self) -> Tensor:
        """`(Σ_j w_ij)² / Σ_j w_ij²`, `[..., heads, queries]`: n for n equal weights; 0 for a row without weight."""
        return self._problem.shaped(self._kept.rows().effective)

    def maximum(self) -> Tensor:
        """`max_j w_ij`, `[..., heads, queries]`."""
        return self._problem.shaped(self._kept.rows().top.weights[..., 0])

    def top(self, k: int = 8) -> Top:
        """The k greatest weights of each row, their keys, and the mass on all other keys.

        Args:
            k: from 1 to the number of keys; more than `look` was told to keep (8) takes another pass.
        """
        asking.count("k", k, max(1, self._problem.keys))
        found = self._kept.rows(k).top
        greatest, keys, rest = found.weights[..., :k], found.keys[..., :k], found.weights[..., k:].sum(-1)
        return Top(*(self._problem.shaped(t) for t in (greatest, keys, found.uncovered + rest)))

    # ---------------------------------------------------------------------------------------------- over rows

    def received(self, per_query: bool = False) -> Tensor:
        """`Σ_i w_ij`, how much each key gets, `[..., heads, keys]`.

        Args:
            per_query: over the number of rows that see the key; 0 for a key that no row sees.
        """
        sums = self._kept.sums()
        assert sums.received is not None
        assert sums.visible is not None
        return self._problem.shaped(sums.received / sums.visible.clamp(min=1) if per_query else sums.received)

    def distance(self) -> Distance:
        """How far the weights reach: mass by distance in logarithmic bins, and the mean distance of each row."""
        sums, rows = self._kept.sums(), self._kept.rows()
        assert sums.before is not None
        assert sums.after is not None
        return Distance(*(self._problem.shaped(t) for t in (sums.before, sums.after, rows.distance)))

    def share(self, keys: Ids | int) -> Tensor:
        """`Σ_{j ∈ keys} w_ij`, the mass on a set of keys, `[..., heads, queries]`.

        Args:
            keys: bool `[*batch, keys]`, True for those in the set; or indices.
        """
        return self._problem.shaped(self._rows_of(asking.share(self._problem, keys))[..., 0])

    def segments(self, keys: Ids, queries: Ids | None = None) -> Cells:
        """Weights from every segment to every other.

        Args:
            keys: the segment of each key, integers from 0, `[*batch, keys]`; −1 is none.
            queries: the segment of each query; None is that of the key at its position.
        """
        total, pairs, _ = self._cells_of(asking.segments(self._problem, keys, queries))
        return Cells(*(self._problem.shaped(t) for t in (total, pairs, total / pairs.clamp(min=1))))

    def tile(self, rows: Span = None, columns: Span = None, size: int = 256, pool: str = "mean") -> Tensor:
        """A rectangle of the weights in size × size cells, `[..., heads, size, size]`, each a true pool of its weights.

        Args:
            rows: (first, end) of the query rows; None is all.
            columns: (first, end) of the keys.
            size: cells a side, as equal as can be; as many as there are rows or columns where these are fewer.
            pool: "mean" over all pairs of a cell, hidden ones being 0, or "max".
        """
        spans = self._spans(rows, columns)
        wanted, areas = self._pooled(spans, size, pool)
        total, _, greatest = self._cells_of(wanted, spans)
        return self._problem.shaped(total / areas.to(total) if pool == "mean" else _kept(greatest))

    def cells(self, side: int, rows: Span = None, columns: Span = None, heads: Ids | int | None = None) -> Pooled:
        """A rectangle in cells of side × side pairs, by both pools in one pass over these pairs.

        What one tile of a map needs, of one head; it is not kept, so that who draws many keeps those it wants.

        Args:
            side: of a cell; the last ones may be smaller.
            rows: (first, end) of the query rows; None is all.
            columns: (first, end) of the keys.
            heads: which query heads; None is all.
        """
        asking.count("side", side, 1 << 40)
        problem, spans = self._problem, self._spans(rows, columns)
        chosen = None if heads is None else asking.indices("heads", heads, problem.heads).tolist()
        wanted = grouping.pooled(problem, *spans, side)
        found = self._kept.fresh(wanted, spans, chosen)
        assert found.sum is not None
        area = areas(side, spans)
        mean = problem.shaped(found.sum / area.to(found.sum))
        return Pooled(mean, problem.shaped(_kept(found.greatest)), area)

    def pyramid(self, size: int = 512, pool: str = "mean") -> list[Tensor]:
        """All weights in size × size cells, in half as many, … , in one cell; one pass, the finest first.

        Args:
            size: cells a side of the finest level, as in `tile`.
            pool: as in `tile`.
        """
        wanted, areas = self._pooled(self._spans(None, None), size, pool)
        total, _, greatest = self._cells_of(wanted)
        level, area, made = total if pool == "mean" else _kept(greatest), areas.to(total), []
        while True:
            made.append(self._problem.shaped(level / area if pool == "mean" else level))
            if max(level.shape[-2:]) == 1:
                return made
            level, area = halved(level, pool), halved(area, "mean")

    def collect(
        self, *, shares: Sequence[Ids | int] = (), segments: Sequence[Ids] = (), pyramid: int | None = None
    ) -> None:
        """One pass for `received`, `distance` and all of these: what is asked for afterwards is at hand.

        Args:
            shares: what `share` will be asked for.
            segments: what `segments` will be asked for.
            pyramid: the size that `pyramid` will be asked for, or `tile` of everything.
        """
        wanted = [asking.share(self._problem, keys) for keys in shares]
        wanted += [asking.segments(self._problem, keys) for keys in segments]
        if pyramid is not None:
            wanted.append(self._pooled(self._spans(None, None), pyramid, "mean")[0])
        self._kept.collect(wanted)

    # ----------------------------------------------------------------------------------------- single weights

    def rows(self, indices: Ids | int) -> Tensor:
        """The weights of some rows as they are, `[..., heads, rows, keys]`.

        Args:
            indices: which rows, in any order; −1 is the last one.
        """
        problem = self._problem
        index = asking.indices("rows", indices, problem.queries)
        if self._source.kernels:
            return problem.shaped(single.rows(problem, index.tolist()))
        with torch.set_grad_enabled(self._source.differentiable):
            # In the leading dimensions of this problem, which need not be those of the tensors: `look_alone`.
            found = self._source.weights(index).reshape(problem.batch, problem.heads, len(index), problem.keys)
        return problem.shaped(found)

    def head_scores(self, tokens: Ids | None = None, *, sink: int = 0) -> HeadScores:
        """What each head does: previous, next, same, duplicate, induction, sink, local; `[..., heads]` each.

        Single weights, O(N · dim) by the kernels, and for `local` the pass over rows.

        Args:
            tokens: the token of each key, `[*batch, keys]`, for duplicate and induction.
            sink: which key is the sink.
        """
        problem = self._problem
        ids = None if tokens is None else asking.ids_of(problem, "tokens", tokens, problem.keys)
        keys = heads.targets(problem, int(asking.indices("sink", sink, problem.keys)[0]), ids)
        measured = self._kept.rows()
        with torch.set_grad_enabled(self._source.differentiable):
            found = passes.given(problem, self._source.kernels, self._kept.levels(), keys)
            live = measured.top.keys[..., 0] >= 0
            scores = heads.means(found, keys, live)
            local = measured.local.sum(-1) / live.sum(-1).clamp(min=1)
        previous, following, same, first, *rest = (problem.shaped(one) for one in scores.unbind(-1))
        duplicate, induction = rest or (None, None)
        return HeadScores(previous, following, same, duplicate, induction, first, problem.shaped(local))

    def needle(self, query: Ids | int, key: Ids | int) -> Needle:
        """Whether some queries find some keys: the mass on them, and how many other keys get more.

        Args:
            query: which rows.
            key: which keys are the needle.
        """
        found = self.rows(query)
        needle = torch.zeros(self._problem.keys, dtype=torch.bool, device=found.device)
        needle[asking.indices("key", key, self._problem.keys).to(found.device)] = True
        greatest = found.masked_fill(~needle, NOTHING).amax(-1, keepdim=True)
        return Needle((found * needle).sum(-1), ((found > greatest) & ~needle).sum(-1))

    # --------------------------------------------------------------------------------------------- the classes

    def _rows_of(self, wanted: Grouping) -> Tensor:
        found = self._kept.group(wanted).rows
        assert found is not None
        return found

    def _cells_of(
        self, wanted: Grouping, spans: tuple[tuple[int, int], tuple[int, int]] | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        found = self._kept.group(wanted, spans)
        assert found.sum is not None
        assert found.pairs is not None
        return found.sum, found.pairs, found.greatest

    def _spans(self, rows: Span, columns: Span) -> tuple[tuple[int, int], tuple[int, int]]:
        problem = self._problem
        return asking.span("rows", rows, problem.queries), asking.span("columns", columns, problem.keys)

    def _pooled(self, spans: tuple[tuple[int, int], tuple[int, int]], size: int, pool: str) -> tuple[Grouping, Tensor]:
        """The classes of a rectangle's cells, and how many pairs each cell holds."""
        if pool not in ("mean", "max"):
            raise InputError(f'pool must be "mean" or "max", got {pool!r}')
        if pool == "max" and self._source.differentiable:
            raise InputError('pool="max" has no gradient here: take pool="mean", or look without differentiable=True')
        asking.count("size", size, 1 << 20)
        (row, tall), (column, wide) = (
            asking.edges(length, run, size)
            for length, run in zip((self._problem.queries, self._problem.keys), spans, strict=True)
        )
        areas = tall[:, None] * wide
        wanted = Grouping(column, len(wide), row, len(tall), greatest=not self._source.differentiable)
        return wanted, areas.to(self._problem.query.device)


def _kept(greatest: Tensor | None) -> Tensor:
    assert greatest is not None
    return greatest
