"""What else moves the score: bias_ij, by distance, by key, by edge, or a tensor.

Reached as `regard.bias.keys`, `regard.bias.edges`, `regard.bias.tensor`; `alibi`, `relative` and `t5` are also at the
top. Biases add up with `+`, and every tensor in them gets its gradient.
"""

from regard.terms.bias.base import Bias, Sum
from regard.terms.bias.distance import Alibi, Bucketed, Relative, alibi, relative, t5
from regard.terms.bias.given import Edges, Given, Keys, edges, keys, tensor

__all__ = [
    "Alibi",
    "Bias",
    "Bucketed",
    "Edges",
    "Given",
    "Keys",
    "Relative",
    "Sum",
    "alibi",
    "edges",
    "keys",
    "relative",
    "t5",
    "tensor",
]
