"""Pictures: Fashion-MNIST, from Debian's package."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.data.installed import checked, debian
from regard.errors import InputError

__all__ = ["Images", "fashion"]

PACKAGE, FOLDER = "dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"
NAMES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
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
        train: from 0 to 1, float32 `[60000, 1, 28, 28]`.
        train_labels: `[60000]`.
        test: float32 `[10000, 1, 28, 28]`.
        test_labels: `[10000]`.
        names: of the labels.
    """

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
    return Images(train[:, None] / 255, train_labels.long(), test[:, None] / 255, test_labels.long(), NAMES)


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
