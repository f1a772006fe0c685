"""How well does key j fit query i: score(q_i, k_j), its scale inside.

A score is written once, for any set of pairs: an engine hands it the queries and keys of a tile and the two ways in
which a pair of vectors can meet (`Pairs`), so that hidden pairs never mix into visible ones.
"""

from regard.terms.score.base import Pairs, Score
from regard.terms.score.capped import Softcap, softcap
from regard.terms.score.metric import Cosine, Gaussian, cosine, gaussian
from regard.terms.score.network import Additive, additive
from regard.terms.score.product import Dot, General, dot, general

__all__ = [
    "Additive",
    "Cosine",
    "Dot",
    "Gaussian",
    "General",
    "Pairs",
    "Score",
    "Softcap",
    "additive",
    "cosine",
    "dot",
    "gaussian",
    "general",
    "softcap",
]
