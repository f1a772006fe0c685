"""How scores become weights: w_i = normalize_j(scores_ij), a hidden pair having the score −∞.

Three kinds, by what can be said from a part of the keys: softmax parts merge through their log-sum-exp, pointwise
parts (sigmoid, relu) add up, and row-wise ones (sparsemax, entmax, top-k, hard) need the whole row.
"""

from regard.terms.normalize.base import NOTHING, Normalize
from regard.terms.normalize.exponential import Softmax, softmax, visible_share
from regard.terms.normalize.pointwise import Relu, Sigmoid, relu, sigmoid
from regard.terms.normalize.rowwise import Entmax15, Hard, Sparsemax, TopK, entmax15, hard, sparsemax, top_k

__all__ = [
    "NOTHING",
    "Entmax15",
    "Hard",
    "Normalize",
    "Relu",
    "Sigmoid",
    "Softmax",
    "Sparsemax",
    "TopK",
    "entmax15",
    "hard",
    "relu",
    "sigmoid",
    "softmax",
    "sparsemax",
    "top_k",
    "visible_share",
]
