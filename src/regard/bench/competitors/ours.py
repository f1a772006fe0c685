"""regard's own engines."""

from __future__ import annotations

from regard.attention import attend
from regard.bench.task import Run, Task, Unable, of_torch
from regard.errors import EngineError
from regard.planning import plan
from regard.rule import Rule

__all__ = ["native", "plainer", "tiled"]


def native(task: Task) -> Run:
    """The kernels in C++."""
    return _by(task, "native", task.case.rule)


def tiled(task: Task) -> Run:
    """PyTorch's operations, tile by tile."""
    return _by(task, "tiled", task.case.rule)


def plainer(task: Task) -> Run:
    """The engine `native` without the term that the case is about."""
    if task.case.plainer is None:
        raise Unable("the case has no plainer rule")
    return _by(task, "native", task.case.plainer)


def _by(task: Task, engine: str, rule: Rule) -> Run:
    try:
        plan(*task.inputs, rule, engine=engine)
    except EngineError:
        raise Unable(plan(*task.inputs, rule, engine="reference").reasons[engine]) from None
    return of_torch(task, lambda query, key, value: attend(query, key, value, rule, engine=engine))
