"""What tells texts apart without attention: words counted, and logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regard import data

__all__ = ["counted", "fitted"]


def counted(texts: Sequence[str], label: Tensor, new: Sequence[str], *, signs: bool = False) -> Tensor:
    """The verdicts on new texts of TF-IDF with logistic regression.

    Args:
        texts: to learn from.
        label: theirs.
        new: to judge.
        signs: whether one to three signs in a row are counted, as in Chinese, not one or two words.
    """
    text: Any = data.extra("sklearn.feature_extraction.text", "scikit-learn", "recipes")
    kind = {"analyzer": "char", "ngram_range": (1, 3)} if signs else {"ngram_range": (1, 2)}
    count = text.TfidfVectorizer(sublinear_tf=True, **kind)
    return fitted(count.fit_transform(texts), label, count.transform(new))


def fitted(known: Any, label: Tensor, new: Any) -> Tensor:
    """The verdicts of logistic regression."""
    linear: Any = data.extra("sklearn.linear_model", "scikit-learn", "recipes")
    return torch.as_tensor(linear.LogisticRegression(C=4.0, max_iter=2000).fit(known, label.numpy()).predict(new))
