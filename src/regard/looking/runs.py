"""All layers of a model as they were seen, run by run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add

from torch import Tensor

from regard.errors import InputError
from regard.looking import asking, saved
from regard.looking.adding import Total, Totals
from regard.looking.agreeing import agreed
from regard.looking.layers import Layer, Run
from regard.looking.rollout import Rollout, rolled
from regard.looking.table import Table

__all__ = ["Layers", "load"]


class Layers:
    """What was seen of a model: `seen[layer]` for each attention layer, in the order in which the model runs them.

    Made by `regard.huggingface.watch` and by `regard.load`.

    Args:
        runs: what was seen; `watch` adds to it.
        count: how many layers the model ran, seen or not.
    """

    def __init__(self, runs: list[Run] | None = None, count: int = 0) -> None:
        self.runs: list[Run] = [] if runs is None else runs
        self.count = count

    def __repr__(self) -> str:
        seen = sorted({number for run in self.runs for number in run.layers})
        stopped = [run.stopped for run in self.runs if run.stopped]
        return f"Layers({len(seen)} of {self.count} layers, {len(self.runs)} runs{''.join(f', {s}' for s in stopped)})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the page where queries were kept and the text is short, else a table of the heads."""
        from regard.looking.page import of_layers

        return of_layers(self)

    def __len__(self) -> int:
        return len({number for run in self.runs for number in run.layers})

    def __iter__(self) -> Iterator[Layer]:
        layers = self._run().layers
        return iter([layers[number] for number in sorted(layers)])

    def __getitem__(self, layer: int) -> Layer:
        run = self._run()
        if isinstance(layer, bool) or not isinstance(layer, int) or not -self.count <= layer < self.count:
            raise InputError(f"layer must be an integer from 0 to {self.count - 1}, got {layer!r}{self._why(run)}")
        found = run.layers.get(layer % self.count)
        if found is None:
            named = ", ".join(map(str, sorted(run.layers)))
            raise InputError(f"layer {layer % self.count} was not seen, only {named or 'none'}{self._why(run)}")
        return found

    def run(self, number: int) -> Layers:
        """What was seen of one run alone, −1 being the last; a model that reads several texts runs several times."""
        if isinstance(number, bool) or not isinstance(number, int) or not -len(self.runs) <= number < len(self.runs):
            raise InputError(f"run must be an integer from 0 to {len(self.runs) - 1}, got {number!r}")
        return Layers([self.runs[number]], self.count)

    def table(self) -> Table:
        """Layers × heads × measures, each a mean over all rows of real tokens, of all batch entries and runs.

        Needs no extra; `Table` goes on to pandas, CSV and Parquet.
        """
        return self.totals().table()

    def totals(self) -> Totals:
        """What all rows of real tokens add up to, of all batch entries and runs: for more texts than memory holds rows.

        Keys of different texts are added by their positions.
        """
        self._any()
        numbers = sorted({number for run in self.runs for number in run.layers})
        every = {n: [Total.of(run.layers[n]) for run in self.runs if n in run.layers] for n in numbers}
        return Totals({number: reduce(add, totals) for number, totals in every.items()}, self.count)

    def rollout(
        self,
        *,
        row: int | None = None,
        column: int | None = None,
        layers: Sequence[int] | None = None,
        without_sink: bool | int | Sequence[int] = False,
    ) -> Rollout:
        """How much of each token reaches one token through all layers, or how much of one reaches each; O(N) memory.

        `A_l = ½ mean_h(W_l) + ½ I`, its rows brought to sum one; `rollout = A_L ⋯ A_1`, of which only one row
        (a vector times the matrices, from the last layer down) or one column (from the first up) is ever made.

        A causal model is degenerate: each step leads to earlier tokens, so over many layers nearly all of every row
        ends at the first token, whatever the model does. The result says how much; take few layers, or without_sink.

        Args:
            row: the token at which the rows end.
            column: the token from which a column starts; one of the two.
            layers: which, by number; None is all that were seen. They must be self-attention of one stack.
            without_sink: keys to leave out, True for the first; rows are brought to sum one again.

        Returns: a `Rollout`, its weights `[batch, tokens]`.

        Errors: InputError where queries were not kept, see `watch(model, keep="queries")`.

        Source: Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers".
        """
        return rolled(self._chosen(layers), row, column, without_sink)

    def agreement(self, layers: Sequence[int] | None = None, *, rows: Sequence[int] | None = None) -> Tensor:
        """How alike the weights of any two heads are, from 0 to 1: `mean_i Σ_j √(w_ij w'_ij)`, `[batch, heads, heads]`.

        Bhattacharyya's coefficient, 1 for equal rows; the heads of all layers one after another. O(N) memory at a time,
        but all weights are made once: O(N² · heads) time.

        Args:
            layers: which, by number; None is all that were seen.
            rows: which rows; None is all of real tokens.

        Errors: InputError where queries were not kept, see `watch(model, keep="queries")`.
        """
        return agreed(self._chosen(layers), rows)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the statistics of all runs into one file of safetensors and JSON, for `regard.load`.

        Queries and keys are not saved; of layers that kept them the statistics are made now.
        """
        self._any()
        saved.write(path, self.runs, self.count)

    # ------------------------------------------------------------------------------------------------ which run

    def _chosen(self, layers: Sequence[int] | None) -> list[Layer]:
        if layers is None:
            return list(self)
        numbers = asking.indices("layers", layers, self.count).tolist()
        return [self[number] for number in sorted(set(numbers))]

    def _any(self) -> None:
        if not self.runs:
            raise InputError(
                "nothing was seen: the model has not run inside of `with watch(model)`, or ran in another thread"
            )
        if not len(self):
            why = self._why(self.runs[-1])
            raise InputError(f"none of the layers asked for was seen: the model ran layers 0 to {self.count - 1}{why}")

    def _run(self) -> Run:
        self._any()
        if len(self.runs) > 1:
            raise InputError(
                f"the model ran {len(self.runs)} times: take seen.run(i)[layer], i from 0 to {len(self.runs) - 1}"
            )
        return self.runs[0]

    def _why(self, run: Run) -> str:
        return f"; the model stopped after {self.count} layers: {run.stopped}" if run.stopped else ""


def load(path: str | os.PathLike[str]) -> Layers:
    """What `Layers.save` wrote.

    Args:
        path: of the file.

    Returns: a `Layers`, its statistics; queries and keys were not saved.

    Errors: InputError for a file that is not there, is damaged, or was not written by regard; MissingError without
        safetensors.
    """
    return Layers(*saved.read(path))
