"""How long an attention will take, from a few rates that `regard bench --calibrate` measured on this machine.

    seconds = overhead + pairs · (pair + (dim + value_dim) · product) + partial_pairs · partial + bit_pairs · bits
            + moved_pairs · moved + numbers · move + listed · list            numbers of query, key, value and output
    seconds = overhead + bytes / read                                         where there are few queries

`pairs` are those of tiles that hold a visible pair, `partial_pairs` those of tiles that hold a hidden one too,
`bit_pairs` those whose hidden pairs are kept as bits, `moved_pairs` those whose score a bias, a cap or a sigmoid moves;
`listed` are the bytes of the pattern's lists.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from regard.errors import InputError
from regard.problem import Problem
from regard.terms.normalize import Softmax
from regard.terms.pattern import Bits, Form, Lists
from regard.terms.score import Dot
from regard.tiling import tiles

__all__ = ["Calibration", "Rate", "Work", "counted", "load", "processor", "save", "tile_counts"]

TILE = 64
FEW = 16
"""With fewer query rows (times heads of a group), reading keys and values is what takes the time."""
FORMAT = 2


@dataclass(frozen=True)
class Rate:
    """What one engine takes in one type with some threads.

    Args:
        engine: its name.
        dtype: of the tensors, such as "float32".
        threads: how many.
        overhead: seconds a call.
        pair: seconds a pair in a tile, whatever the dims.
        product: seconds a pair and component.
        partial: seconds more for a pair of a partial tile.
        bits: seconds more still where the tile's hidden pairs are kept as bits.
        moved: seconds more for a pair whose score a bias, a cap or a sigmoid moves.
        move: seconds a number of query, key, value and output.
        listed: seconds a byte of the pattern's lists, to make and to read them.
        read: bytes a second, where there are few queries.
    """

    engine: str
    dtype: str
    threads: int
    overhead: float
    pair: float
    product: float
    partial: float
    bits: float
    moved: float
    move: float
    listed: float
    read: float

    def seconds(self, work: Work) -> float:
        """The time of some work."""
        if work.few:
            return self.overhead + work.bytes / self.read
        terms = (self.pair, self.product, self.partial, self.bits, self.moved, self.move, self.listed)
        return self.overhead + sum(rate * amount for rate, amount in zip(terms, work.amounts, strict=True))


@dataclass(frozen=True)
class Work:
    """What a call has to do.

    Args:
        pairs: in tiles with a visible pair, over batch and heads.
        partial: of these, in tiles with hidden pairs too.
        bits: of these, where hidden pairs are kept as bits.
        moved: of all, where a bias, a cap or a sigmoid moves scores.
        dims: dim + value_dim.
        numbers: of query, key, value and output.
        listed: bytes of the pattern's lists.
        bytes: of query, key, value and output.
        few: whether there are so few queries that reading bounds it.
    """

    pairs: int
    partial: int
    bits: int
    moved: int
    dims: int
    numbers: int
    listed: int
    bytes: int
    few: bool

    @property
    def amounts(self) -> tuple[int, ...]:
        """What each of a rate's terms is multiplied by: pair, product, partial, bits, moved, move, listed."""
        return self.pairs, self.pairs * self.dims, self.partial, self.bits, self.moved, self.numbers, self.listed


@dataclass(frozen=True)
class Calibration:
    """The rates of one machine.

    Args:
        processor: whose rates they are.
        rates: one for each engine, type and number of threads.
    """

    processor: str
    rates: tuple[Rate, ...]

    def rate(self, engine: str, dtype: str, threads: int) -> Rate | None:
        """The one that fits, or None."""
        return next((r for r in self.rates if (r.engine, r.dtype, r.threads) == (engine, dtype, threads)), None)

    def here(self) -> Calibration:
        """Itself, or InputError where it is of another machine."""
        if self.processor != processor():
            raise InputError(
                f"the calibration is of another machine ({self.processor}), this one is {processor()}; "
                "measure here with: regard bench --calibrate FILE"
            )
        return self


def save(made: Calibration, path: Path) -> None:
    """Write it as JSON."""
    document = {"format": FORMAT, "processor": made.processor, "rates": [asdict(rate) for rate in made.rates]}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def load(path: str | os.PathLike[str]) -> Calibration:
    """Read what `save` wrote.

    Errors: InputError for a file that can't be read or is no calibration.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the calibration {path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"the calibration {path} is no JSON: {error}") from error
    try:
        if document["format"] != FORMAT:
            raise InputError(f"the calibration {path} has format {document['format']!r}, this regard reads {FORMAT}")
        return Calibration(str(document["processor"]), tuple(_rate(entry) for entry in document["rates"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the calibration {path} is malformed ({error!r}); measure again with: regard bench --calibrate FILE"
        ) from error


def _rate(entry: Mapping[str, Any]) -> Rate:
    kinds = {"engine": str, "dtype": str, "threads": int}
    made = Rate(**{field.name: kinds.get(field.name, float)(entry[field.name]) for field in fields(Rate)})
    numbers = [value for value in vars(made).values() if isinstance(value, float)]
    if not (all(0 <= number < float("inf") for number in numbers) and made.read and made.threads > 0):
        raise ValueError(f"a rate of {made.engine} is not a finite number of at least 0")
    return made


def counted(problem: Problem, engine: str) -> Work:
    """What an engine has to do for a problem.

    Args:
        problem: the problem, its pattern laid out.
        engine: "tiled" works on whole rows of tiles, every other on tiles of 64 × 64.
    """
    batch, heads, queries, keys = problem.batch, problem.heads, problem.queries, problem.keys
    lists, numbers = None if problem.traced_pattern else problem.ranges, 0
    for tensor in (problem.query, problem.key, problem.value):
        numbers += tensor.numel()
    numbers += batch * heads * queries * problem.value.shape[-1]
    if lists is None:
        counts = (batch * heads * queries * keys, 0, 0)
    elif engine == "tiled":
        visited = sum(tile.pairs for tile in tiles(problem))
        counts = (visited, visited, visited * any(isinstance(form, Bits) for form in lists.forms))
    else:
        counts = tile_counts(lists, batch, heads, queries, keys)
    return Work(
        *counts,
        moved=counts[0] * _moved(problem),
        dims=problem.query.shape[-1] + problem.value.shape[-1],
        numbers=numbers,
        listed=0 if lists is None else lists.nbytes,
        bytes=numbers * problem.query.element_size(),
        few=queries * problem.group < FEW,
    )


def _moved(problem: Problem) -> bool:
    """Whether more than a scale lies between products and what softmax takes."""
    rule = problem.rule
    return rule.bias is not None or not isinstance(rule.score, Dot) or not isinstance(rule.normalize, Softmax)


def tile_counts(lists: Lists, batch: int, heads: int, queries: int, keys: int) -> tuple[int, int, int]:
    """Pairs in 64 × 64 tiles that hold a visible pair; of these in partial ones; of these where bits say which."""
    uses = np.bincount(np.broadcast_to(lists.index, (batch, heads)).ravel(), minlength=len(lists.forms))
    pairs = partial = bits = 0
    for use, form in zip(uses, lists.forms, strict=True):
        full, cut = _tiles(form, queries, keys)
        pairs += int(use) * (full + cut)
        partial += int(use) * cut
        bits += int(use) * cut * isinstance(form, Bits)
    return pairs, partial, bits


def _tiles(form: Form, queries: int, keys: int) -> tuple[int, int]:
    full = partial = 0
    edges = np.minimum(np.arange(0, keys + TILE, TILE), keys)
    for first in range(0, queries, TILE):
        last = min(first + TILE, queries)
        shown = _shown(form, first, last, edges)
        sizes = (last - first) * np.diff(edges)
        full += int(sizes[shown == sizes].sum())
        partial += int(sizes[(shown > 0) & (shown < sizes)].sum())
    return full, partial


def _shown(form: Form, first: int, last: int, edges: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    """How many visible pairs each tile of a block of rows holds."""
    if isinstance(form, Bits):
        dense = form.dense(first, last, np.arange(edges[-1]))
        return np.add.reduceat(dense.sum(0), edges[:-1]) if edges.size > 1 else np.zeros(0, np.int64)
    begin, end = form.offsets[first], form.offsets[last]
    # Keys before an edge that some range of some row holds; sorted ends make this a sum of two searches.
    low, high = np.sort(form.low[begin:end]), np.sort(form.high[begin:end])
    return np.diff(_before(low, edges) - _before(high, edges))


def _before(ends: np.ndarray[Any, np.dtype[np.int64]], edges: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    """Σ max(0, edge − end) for each edge."""
    sums = np.concatenate(([0], np.cumsum(ends)))
    below = np.searchsorted(ends, edges)
    return below * edges - sums[below]


def processor() -> str:
    """The processor's name; on Linux with family, model and stepping, since virtual machines hide the rest."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    numbers = [f"{name} {said[name]}" for name in ("cpu family", "model", "stepping") if name in said]
    return ", ".join([said.get("model name") or platform.machine(), *numbers])
