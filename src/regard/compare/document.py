"""The comparison as one JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from regard.compare.reading import reading
from regard.compare.run import FAR, Comparison

__all__ = ["SCHEMA", "as_json"]

SCHEMA = """\
  task         name, said
  seed         of models and sequences
  training     length, steps, batch, rate, held (sequences that judge), marks
  chance       what guessing scores
  machine      processor, cores, isa, ceilings, system, versions
  models       list of: name, family, parameters, accuracy, learned_at (step;
               null: never), curve [[step, share]], path, far_path (steps;
               null: no way), layers (null: no bound), reaches, sequential,
               far_sequential
  far          the length of far_path and far_sequential
  costs        list of: name, length, seconds, bytes (null: not measured), why,
               disturbed (rounds)
  reading      list of paragraphs
  interrupted  empty, or after what"""


def as_json(found: Comparison) -> dict[str, Any]:
    """All that was found."""
    models = [
        {
            **{name: value for name, value in asdict(one).items() if name != "learned"},
            "accuracy": one.learned.accuracy, "learned_at": one.learned.at, "curve": one.learned.curve,
            "reaches": one.reaches,
        }
        for one in found.outcomes
    ]  # fmt: skip
    return {
        "task": {"name": found.task.name, "said": found.task.said},
        "seed": found.wish.seed,
        "training": asdict(found.wish.budget),
        "chance": found.chance,
        "machine": asdict(found.machine),
        "models": models,
        "far": FAR,
        "costs": [asdict(cost) for cost in found.costs],
        "reading": reading(found),
        "interrupted": found.interrupted,
    }
