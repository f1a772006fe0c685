"""Who competes, in the order of the table."""

from __future__ import annotations

from regard.bench.competitors import eager, flex, jax, local_attention, natten, onnxruntime, ours, sdpa, x_transformers
from regard.bench.task import Competitor

__all__ = ["BASE", "COMPETITORS", "OURS", "PLAINER"]

BASE = Competitor("torch SDPA", sdpa.prepare)
"""All ratios are to it."""

OURS = Competitor("regard native", ours.native)

PLAINER = Competitor("regard, plainer", ours.plainer)
"""`OURS` without the term that a case is about; it runs in such cases alone."""

COMPETITORS = (
    OURS,
    Competitor("regard tiled", ours.tiled),
    BASE,
    Competitor("flex, compiled", flex.prepare),
    Competitor("torch eager", eager.prepare),
    Competitor("x-transformers", x_transformers.prepare),
    Competitor("local-attention", local_attention.prepare),
    Competitor("natten", natten.prepare),
    Competitor("ONNX Runtime", onnxruntime.prepare),
    Competitor("JAX", jax.prepare),
)
