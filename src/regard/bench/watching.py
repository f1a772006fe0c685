"""What it costs to look at all heads of a model, and at one long head: `python -m regard.bench.watching`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regard import data
from regard.bench.machine import machine
from regard.bench.measure import Effort, Spread, rounds
from regard.bench.scaling import grown
from regard.bench.text import spoken
from regard.looking import look
from regard.terms.pattern import causal

__all__ = ["Cost", "costs", "main"]


@dataclass(frozen=True)
class Cost:
    """One thing that is looked at, beside what it is measured against.

    Args:
        what: is done.
        seconds: it takes.
        against: what it is measured against.
        base: seconds that takes.
        ratio: the median over rounds.
        bytes: by which memory grows while it is looked at.
        base_bytes: by which it grows without.
        disturbed: how many rounds others disturbed.
    """

    what: str
    seconds: Spread
    against: str
    base: Spread
    ratio: float
    bytes: int | None
    base_bytes: int | None
    disturbed: int


def costs(effort: Effort, note: Callable[[str], None], shrink: int = 1) -> Iterator[Cost]:
    """SmolLM2 on 8,000 tokens of a play, MiniLM on 16 × 512; a head of 131,072 keys; a pyramid over 32,768.

    Args:
        effort: how long each.
        note: told what takes long.
        shrink: divides the lengths.

    Errors: MissingError, InputError without the models or the play.
    """
    yield from _models(effort, note, shrink)
    yield from _heads(effort, note, shrink)


def _models(effort: Effort, note: Callable[[str], None], shrink: int) -> Iterator[Cost]:
    from regard.huggingface import serve, watch

    text = data.play("hamlet")
    for name, rows, length in (("smollm2", 1, 8000 // shrink), ("minilm", 16, 512 // shrink)):
        note(f"{name}: {rows} × {length} tokens")
        loaded = data.load(name, note)
        ids: Tensor = loaded.tokenizer(text, return_tensors="pt", verbose=False)["input_ids"]
        ids = ids[0, : rows * length].reshape(rows, length)
        model = serve(loaded.model)

        def read(model: Any = model, ids: Tensor = ids) -> None:
            with torch.inference_mode():
                model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)

        def seen(model: Any = model, run: Callable[[], None] = read) -> Any:
            with watch(model) as found:
                run()
            return found

        yield _cost(f"{name}, {rows} × {length} tokens, watched", seen, "the same forward", read, effort)


def _heads(effort: Effort, note: Callable[[str], None], shrink: int) -> Iterator[Cost]:
    for dtype in (torch.float32, torch.bfloat16):
        length, name = 131072 // shrink, str(dtype).removeprefix("torch.")
        note(f"one head of {length} keys in {name}")
        query, key = torch.randn(2, 1, 1, length, 64).to(dtype)

        def rows(query: Tensor = query, key: Tensor = key) -> Any:
            return look(query, key, causal()).entropy()

        def all_(query: Tensor = query, key: Tensor = key) -> Any:
            seen = look(query, key, causal())
            return seen.entropy(), seen.received(), seen.distance(), seen.head_scores()

        yield _cost(f"one head, N = {length}, {name}, all statistics", all_, "the pass over rows", rows, effort)
    length = 32768 // shrink
    note(f"a pyramid over {length} keys")
    query, key = torch.randn(2, 1, 1, length, 64)

    def statistics() -> Any:
        seen = look(query, key, causal())
        return seen.entropy(), seen.received(), seen.distance()

    def pyramid() -> Any:
        seen = look(query, key, causal())
        seen.collect(pyramid=512)
        return seen.entropy(), seen.received(), seen.distance(), seen.pyramid(512)

    against = "the statistics without it"
    yield _cost(f"512 × 512 pyramid, N = {length}, with the statistics", pyramid, against, statistics, effort)


def _cost(what: str, call: Callable[[], Any], against: str, base: Callable[[], Any], effort: Effort) -> Cost:
    more, less = grown(call), grown(base)
    timed = rounds({"call": call, "base": base}, effort)
    seconds, beside = timed.spread("call"), timed.spread("base")
    return Cost(what, seconds, against, beside, 1 / timed.ratio("call", "base"), more, less, timed.disturbed)


def main(words: list[str] | None = None) -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(prog="python -m regard.bench.watching", description=__doc__)
    parser.add_argument("--shrink", type=int, default=1, metavar="N", help="divide all lengths, for a look")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="at least so many that nothing disturbed")
    parser.add_argument("--busy", action="store_true", help="keep disturbed rounds, and mark what they make")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the table")
    asked = parser.parse_args(words)
    effort = Effort(least=asked.rounds, most=asked.rounds, patience=600, keep=asked.busy)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    for line in _head():
        say(line)
    for cost in costs(effort, lambda said: print(said, file=sys.stderr), asked.shrink):
        say(_line(cost, asked.busy))
    if asked.save is not None:
        asked.save.parent.mkdir(parents=True, exist_ok=True)
        asked.save.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def _head() -> list[str]:
    here = machine()
    return [
        "# What it costs to look",
        "",
        f"Made by `make watching` on {here.processor}, {here.cores} cores, {torch.get_num_threads()} threads;",
        f"kernels: {here.isa}; torch {here.versions['torch']}. Each beside what it is measured",
        "against, medians over rounds; memory is what the process grows by at its highest, without the model.",
        "",
        "| what | time | against | time | ratio | memory above | without | |",
        "|---|---|---|---|---|---|---|---|",
    ]


def _line(cost: Cost, busy: bool) -> str:
    mark = f"{cost.disturbed} rounds DISTURBED" if cost.disturbed and busy else ""
    times = spoken(cost.seconds.middle), spoken(cost.base.middle)
    memory = [_memory(size) for size in (cost.bytes, cost.base_bytes)]
    cells = (cost.what, times[0], cost.against, times[1], f"{cost.ratio:.2f}", *memory, mark)
    return f"| {' | '.join(cells)} |"


def _memory(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**20:,.0f} MiB"


if __name__ == "__main__":
    sys.exit(main())
