"""Every error that regard raises on purpose: what was expected, what came, what to do."""

from __future__ import annotations

__all__ = ["EngineError", "InputError", "MissingError", "RegardError"]


class RegardError(Exception):
    """The root of regard's own errors."""


class InputError(RegardError, ValueError):
    """An argument, a file or a rule that can't be taken as it is."""


class EngineError(RegardError, RuntimeError):
    """An engine was asked for by name and can't honour the rule."""


class MissingError(RegardError, ImportError):
    """A package, an extra or a model is not installed; the message names the command that installs it."""
