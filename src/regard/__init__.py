"""regard: attention, described, built, sped up and made visible.

Every kind of attention is one equation,
`out_i = Σ_{j ∈ pattern(i)} normalize_j(score(q_i, k_j) + bias_ij) · v_j`.
Say which terms you want; it is computed exactly, at any length.
"""

from regard import approximate, nn
from regard.attention import attend, partial, steps, weights
from regard.compat import scaled_dot_product_attention, varlen
from regard.engines.reference import Steps
from regard.errors import EngineError, InputError, MissingError, RegardError
from regard.looking import Layers, Look, Totals, load, look
from regard.nn.positions import rotary, sinusoidal
from regard.parts import Partial, merge
from regard.planning import Plan, plan
from regard.rule import Rule
from regard.terms import bias
from regard.terms.bias import alibi, relative, t5
from regard.terms.normalize import entmax15, hard, relu, sigmoid, softmax, sparsemax, top_k
from regard.terms.pattern import (
    axial,
    blocks,
    causal,
    documents,
    edges,
    everything,
    global_tokens,
    mask,
    neighborhood,
    packed,
    padding,
    per_batch,
    per_head,
    prefix,
    random_blocks,
    strided,
    window,
)
from regard.terms.score import additive, cosine, dot, gaussian, general, softcap

__version__ = "0.1.0"

__all__ = [
    "EngineError",
    "InputError",
    "Layers",
    "Look",
    "MissingError",
    "Partial",
    "Plan",
    "RegardError",
    "Rule",
    "Steps",
    "Totals",
    "__version__",
    "additive",
    "alibi",
    "approximate",
    "attend",
    "axial",
    "bias",
    "blocks",
    "causal",
    "cosine",
    "documents",
    "dot",
    "edges",
    "entmax15",
    "everything",
    "gaussian",
    "general",
    "global_tokens",
    "hard",
    "load",
    "look",
    "mask",
    "merge",
    "neighborhood",
    "nn",
    "packed",
    "padding",
    "partial",
    "per_batch",
    "per_head",
    "plan",
    "prefix",
    "random_blocks",
    "relative",
    "relu",
    "rotary",
    "scaled_dot_product_attention",
    "sigmoid",
    "sinusoidal",
    "softcap",
    "softmax",
    "sparsemax",
    "steps",
    "strided",
    "t5",
    "top_k",
    "varlen",
    "weights",
    "window",
]
