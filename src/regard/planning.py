"""Which engine computes a problem, and why not another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from textwrap import fill
from types import MappingProxyType, ModuleType

import torch
from torch import Tensor

from regard.calibration import Calibration, counted, load
from regard.differentiate import Engine, guarded
from regard.engines import flex, native, reference, sdpa, tiled
from regard.errors import EngineError, InputError
from regard.parts import Partial
from regard.problem import Problem, pose
from regard.problem.door import settled, untraced
from regard.rule import Rule
from regard.terms.normalize import Sigmoid, Softmax
from regard.terms.score import Dot, Softcap
from regard.terms.tree import Term
from regard.tiling import tiles

__all__ = ["Plan", "chosen", "plan", "solve"]

ENGINES: Mapping[str, ModuleType] = MappingProxyType(
    {"native": native, "sdpa": sdpa, "flex": flex, "tiled": tiled, "reference": reference}
)
"""In order of preference."""

GUARDED: Mapping[str, Engine] = MappingProxyType(
    {
        "native": Engine(native.compute, native.gradient),
        "sdpa": Engine(lambda problem: (sdpa.compute(problem), ())),
        "flex": Engine(lambda problem: (flex.compute(problem), ())),
    }
)
"""Fused engines, whose backward passes need a fallback; autograd follows the others, and they keep every promise."""

ACCELERATORS = {"sdpa": ("cuda", "mps", "xpu"), "flex": ("cuda", "xpu")}


@dataclass(frozen=True)
class Plan:
    """What an attention will cost and who computes it.

    Args:
        rule: the rule, as it prints.
        engine: the engine that will run.
        reasons: for every other engine, why it will not.
        pairs: visible pairs (query, key), over batch and query heads.
        visited: pairs that the tiles of `tiled` touch, hidden ones in partial tiles included.
        square: batch · heads · queries · keys.
        flops: floating-point operations of the forward pass over visible pairs, 2 · pairs · (dim + value_dim).
        bytes: bytes of query, key, value and output.
        pattern_bytes: bytes of the lists that the pattern became.
        seconds: of the forward pass, predicted from the calibration; None without one, and where it can't tell.
        untimed: why the calibration can't tell; empty without one, and where it can.
    """

    rule: str
    engine: str
    reasons: Mapping[str, str]
    pairs: int
    visited: int
    square: int
    flops: int
    bytes: int
    pattern_bytes: int
    seconds: float | None = None
    untimed: str = ""

    @property
    def share(self) -> float:
        """Visible pairs as a share of the square."""
        return self.pairs / self.square if self.square else 0.0

    def __str__(self) -> str:
        lines = [
            self.rule,
            f"  engine   {self.engine}",
            f"  pairs    {self.pairs:,} visible, {self.share:.1%} of the square; tiles touch {self.visited:,}",
            f"  work     {_unit(self.flops, 'FLOP', 1000)} forward",
            f"  bytes    {_unit(self.bytes, 'B', 1024)} in and out, {_unit(self.pattern_bytes, 'B', 1024)} of pattern",
        ]
        if self.seconds is not None:
            lines.append(f"  time     {1000 * self.seconds:.3g} ms forward, by the calibration")
        if self.untimed:
            lines.append(f"  time     {self.untimed}")
        lines += [f"  not {name:<9} {why}" for name, why in self.reasons.items()]
        return "\n".join(fill(line, 80, subsequent_indent=" " * 16, break_on_hyphens=False) for line in lines)


def plan(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rule: Rule | Term | None = None,
    *,
    query_start: int | Tensor | None = None,
    key_start: int | Tensor = 0,
    dropout: float = 0.0,
    seed: int | None = None,
    engine: str | None = None,
    calibration: Calibration | str | PathLike[str] | None = None,
) -> Plan:
    """Say which engine `attend` would use for these inputs, why not the others, and what it will cost.

    Args:
        query: `[..., heads, queries, dim]`.
        key: `[..., kv_heads, keys, dim]`.
        value: `[..., kv_heads, keys, value_dim]`.
        rule: a `Rule`, one term of it, or None.
        query_start: absolute position of the first query; None means that the queries are the last ones.
        key_start: absolute position of the first key.
        dropout: probability with which a weight is dropped.
        seed: of dropout; drawn from torch's generator where None.
        engine: an engine by name, or None for the best one.
        calibration: what `regard bench --calibrate FILE` wrote, the file or what is in it, to predict the time.

    Errors: those of `attend`; InputError for a calibration that can't be read or is of another machine.
    """
    held = 0 if seed is None else seed
    problem = pose(query, key, value, rule, query_start=query_start, key_start=key_start, dropout=dropout, seed=held)
    name = chosen(problem, engine)
    square = problem.batch * problem.heads * problem.queries * problem.keys
    lists = None if problem.traced_pattern else problem.ranges
    pairs = square if lists is None else lists.pairs(problem.batch, problem.heads)
    numbers = problem.query.numel() + problem.key.numel() + problem.value.numel()
    numbers += problem.batch * problem.heads * problem.queries * problem.value.shape[-1]
    seconds, untimed = (None, "") if calibration is None else _time(problem, name, calibration)
    return Plan(
        rule=repr(problem.said),
        engine=name,
        reasons={other: _why_not(problem, other, name) for other in ENGINES if other != name},
        pairs=pairs,
        visited=sum(tile.pairs for tile in tiles(problem)),
        square=square,
        flops=2 * pairs * (problem.query.shape[-1] + problem.value.shape[-1]),
        bytes=numbers * problem.query.element_size(),
        pattern_bytes=0 if lists is None else lists.nbytes,
        seconds=seconds,
        untimed=untimed,
    )


def _time(problem: Problem, engine: str, calibration: Calibration | str | PathLike[str]) -> tuple[float | None, str]:
    """Seconds, or why the calibration can't tell."""
    known = (calibration if isinstance(calibration, Calibration) else load(calibration)).here()
    dtype, threads = str(problem.query.dtype).removeprefix("torch."), torch.get_num_threads()
    rate = known.rate(engine, dtype, threads)
    if rate is None:
        return None, f"unknown: the calibration has no {engine} in {dtype} with {threads} threads"
    rule = problem.rule
    score = rule.score.score if isinstance(rule.score, Softcap) else rule.score
    if not isinstance(score, Dot) or not isinstance(rule.normalize, Softmax | Sigmoid):
        return None, "unknown: the calibration is of softmax and sigmoid over dot products"
    return rate.seconds(counted(problem, engine)), ""


def chosen(problem: Problem, engine: str | None) -> str:
    """The name of the engine, or InputError for an unknown name, EngineError for one that can't."""
    if engine is None:
        return next(name for name in ENGINES if _unwanted(problem, name) is None and not _refusal(problem, name))
    if engine not in ENGINES:
        raise InputError(f"engine must be one of {', '.join(ENGINES)} or None, got {engine!r}")
    why = _refusal(problem, engine)
    if why is not None:
        raise EngineError(f"engine {engine!r} can't compute {problem.said!r}: {why}; engine=None picks one that can")
    return engine


@untraced
def solve(problem: Problem, engine: str | None) -> Partial:
    """Compute the problem with the engine that was named, or with the best one here."""
    name = chosen(problem, engine)
    with settled(problem.query.device):
        if name in GUARDED:
            return guarded(problem, GUARDED[name], tiled.compute)
        made: Partial = ENGINES[name].compute(problem)
        return made


def _refusal(problem: Problem, name: str) -> str | None:
    why: str | None = ENGINES[name].refusal(problem)
    return why


def _unwanted(problem: Problem, name: str) -> str | None:
    """Why an engine that could compute the problem is not the one to choose."""
    device = problem.query.device.type
    if device not in ACCELERATORS.get(name, (device,)):
        return f"it is chosen on {', '.join(ACCELERATORS[name])}, not on {device}"
    if name == "reference":
        return "it keeps every N×N intermediate"
    return None


def _why_not(problem: Problem, name: str, chosen_one: str) -> str:
    why = _refusal(problem, name) or _unwanted(problem, name)
    return why or f"{chosen_one} comes first"


def _unit(amount: float, unit: str, step: int) -> str:
    for prefix in ("", "k", "M", "G", "T", "P"):
        if amount < step or prefix == "P":
            break
        amount /= step
    return f"{amount:.3g} {prefix}{unit}"
