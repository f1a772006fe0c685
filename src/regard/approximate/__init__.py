"""Approximations: cheaper equations with another answer, each with its measured error against the exact one.

`regard.attend` never picks one. All take `(query, key, value, rule, …)` with the shapes and the grouped heads of
`regard.attend`; what a rule asks that they can't give is an error with the reason.
"""

from regard.approximate.features import directions
from regard.approximate.kernels import linear, performer
from regard.approximate.landmarks import nystrom
from regard.approximate.measured import Error, error
from regard.approximate.projected import linformer

__all__ = ["Error", "directions", "error", "linear", "linformer", "nystrom", "performer"]
