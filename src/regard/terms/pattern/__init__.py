"""Patterns: which keys a query may look at."""

from regard.terms.pattern.algebra import Pattern
from regard.terms.pattern.blocked import blocks, random_blocks
from regard.terms.pattern.build import as_bits, as_ranges, compact
from regard.terms.pattern.given import mask, padding, per_batch, per_head, prefix
from regard.terms.pattern.graph import edges
from regard.terms.pattern.grid import axial, neighborhood
from regard.terms.pattern.line import causal, everything, global_tokens, strided, window
from regard.terms.pattern.lists import Lists
from regard.terms.pattern.packing import documents, packed
from regard.terms.pattern.ranges import Bits, Form, Ranges
from regard.terms.pattern.sets import complement, intersect, unite

__all__ = [
    "Bits",
    "Form",
    "Lists",
    "Pattern",
    "Ranges",
    "as_bits",
    "as_ranges",
    "axial",
    "blocks",
    "causal",
    "compact",
    "complement",
    "documents",
    "edges",
    "everything",
    "global_tokens",
    "intersect",
    "mask",
    "neighborhood",
    "packed",
    "padding",
    "per_batch",
    "per_head",
    "prefix",
    "random_blocks",
    "strided",
    "unite",
    "window",
]
