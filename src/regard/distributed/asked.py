"""What one rank's user asks for, checked as far as one rank can."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from regard.distributed.agreement import Brought, ruled
from regard.distributed.setup import Setup
from regard.errors import InputError
from regard.problem import Problem, own_rows, pose
from regard.problem.door import admit, alike, probability, starts, transformed
from regard.rule import Rule, as_rule
from regard.terms.tree import Term

__all__ = ["Asked"]


@dataclass(frozen=True)
class Asked:
    """What one rank's user asks for.

    Args:
        kind: of call: attend, plan, look.
        tensors: query, key, value, this rank's rows.
        rule: as in `attend`.
        query_start: absolute position of the first query of all.
        dropout: as in `attend`.
        seed: as in `attend`.
        setup: how ranks work together.
    """

    kind: str
    tensors: tuple[Tensor, Tensor, Tensor]
    rule: Rule | Term | None
    query_start: int | None
    dropout: float
    seed: int | None
    setup: Setup

    def settled(self) -> Asked:
        """Checked, as far as one rank can; the rule is a Rule, the tensors are of one dtype."""
        said = as_rule(self.rule)
        if said.normalize.whole_row is not None:
            raise InputError(
                f"{said!r} can't be computed over several ranks: {said.normalize.whole_row}; unshard query, key and "
                "value and call regard.attend"
            )
        query, key, value = (admit(n, t) for n, t in zip(("query", "key", "value"), self.tensors, strict=True))
        tensors = alike(query, key, value)
        if transformed([*tensors, *said.leaves()]):
            raise InputError("torch.func transforms and forward-mode AD don't reach other ranks; unshard first")
        if isinstance(self.query_start, Tensor):
            raise InputError("query_start must be one int for all of the batch, or None; got a tensor")
        start = None if self.query_start is None else starts("query_start", self.query_start, ())[0]
        return replace(self, tensors=tensors, rule=said, query_start=start, dropout=probability(self.dropout))

    def placed(self, queries: int, keys: int, drawn: int) -> Asked:
        """With what only all ranks together know: where the queries start, and the seed that one of them drew."""
        assert isinstance(self.rule, Rule)
        own = own_rows(self.rule)
        start = (keys if own is None else own) - queries if self.query_start is None else self.query_start
        return replace(self, query_start=start, seed=drawn if self.seed is None else self.seed)

    def brought(self) -> Brought:
        """What must be alike, in words, and what may differ; errors of this rank's own inputs are raised here."""
        query, key, value = self.tensors
        assert isinstance(self.rule, Rule)
        self.frame()
        if key.shape[-2] != value.shape[-2]:
            raise InputError(f"key and value need as many positions, got {key.shape[-2]} and {value.shape[-2]}")
        shapes = ", ".join(f"{[*t.shape[:-2], '·', t.shape[-1]]}".replace("'", "") for t in self.tensors)
        grads = [t.requires_grad and torch.is_grad_enabled() for t in (*self.tensors, *self.rule.leaves())]
        drawn = int(torch.randint(2**62, ()).item()) if self.dropout and self.seed is None else 0
        return Brought(
            {
                "call": self.kind,
                "rule": ruled(self.rule),
                "shapes of query, key and value": shapes,
                "dtype": str(query.dtype),
                "dropout and seed": f"{self.dropout} and {self.seed}",
                "query_start": str(self.query_start),
                "wish for gradients (of query, key, value and the rule's tensors)": str(grads),
                "setup": repr(self.setup),
            },
            (query.shape[-2], key.shape[-2], drawn),
        )

    def frame(self) -> Problem:
        """The rule and the shapes, checked, without rows; its sink is the user's."""
        query, key, value = (t[..., :0, :] for t in self.tensors)
        return pose(query, key, value, self.rule, query_start=0, parts=True)
