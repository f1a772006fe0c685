"""A published model with Luong's *general* attention: its decoder, rebuilt on `regard.nn.Luong`, says the same.

GRU encoder, GRU decoder, Arabic names to Latin letters; the package ships both as ONNX. Beam search on real names asks
the ONNX decoder and ours at every step.
"""

from __future__ import annotations

import sqlite3
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import regard as rg
from regard import data
from regard.recipes.romanizer import WIDTH, Romanizer

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("arabic_name_romanizer", "onnx", "onnxruntime")),
    reason="needs onnx, onnxruntime, and: pip install --no-deps arabic-name-romanizer==0.2.0",
)

TOLERANCE = 1e-4
BEAM = 3


def step(model: Romanizer, letters: Tensor, memory: Tensor, lengths: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """The last letter and the state → log-probabilities of the next letter, and the next state."""
    state, hidden = model.decoder(model.letters(letters[:, -1:]), hidden)
    return model.out(model.attention(state, memory, lengths=lengths)[:, 0]).log_softmax(-1), hidden


@pytest.fixture(scope="module")
def place() -> Path:
    spec = find_spec("arabic_name_romanizer")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "resources"


@pytest.fixture(scope="module")
def decoder() -> Romanizer:
    """Ours, with the weights of the ONNX files."""
    return Romanizer.shipped(data.romanizing())


class Beside:
    """The backend of the package's own beam search: ONNX decides, ours is asked the same."""

    def __init__(self, place: Path, ours: Romanizer) -> None:
        from arabic_name_romanizer.inference import OnnxBackend, load_meta

        self.onnx, self.ours = OnnxBackend(place, load_meta(place), 1), ours
        self.gaps: list[float] = []
        self.steps = 0

    def encode(self, source: Any, mask: Any) -> dict[str, Any]:
        return self.onnx.encode(source, mask)

    def step(self, prefix: Any, state: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        said, after = self.onnx.step(prefix, state)
        memory, mask, hidden = (torch.from_numpy(np.ascontiguousarray(state[name])) for name in state)
        lengths = (~mask).sum(-1)
        with torch.no_grad():
            ours, held = step(self.ours, torch.from_numpy(prefix), memory, lengths, hidden.transpose(0, 1).contiguous())
        self.gaps += [np.abs(ours.numpy() - said).max(), np.abs(held.transpose(0, 1).numpy() - after["hidden"]).max()]
        self.steps += 1
        return said, after


@pytest.fixture(scope="module")
def names(place: Path) -> list[str]:
    """The 23 most frequent names, of many lengths, so that most are padded."""
    with sqlite3.connect(f"file:{place / 'names.sqlite3'}?mode=ro", uri=True) as file:
        asked = "SELECT arabic_key FROM units GROUP BY arabic_key ORDER BY SUM(count) DESC, arabic_key LIMIT 23"
        return [name for (name,) in file.execute(asked)]


def searched(place: Path, ours: Romanizer, names: list[str]) -> tuple[Beside, list[str]]:
    from arabic_name_romanizer.inference import beam_search, encode_source_ids
    from arabic_name_romanizer.vocab import CharVocab

    vocab, beside = CharVocab.load(place / "vocab.json"), Beside(place, ours)
    sources = [encode_source_ids(vocab, name, None) for name in names]
    assert len({len(source) for source in sources}) > 2
    found = beam_search(beside, sources, vocab, BEAM, 32)
    return beside, [beams[0][0] for beams in found]


def test_log_probabilities(place: Path, decoder: Romanizer, names: list[str]) -> None:
    beside, found = searched(place, decoder, names)
    assert beside.steps >= 8 and max(beside.gaps) <= TOLERANCE
    assert found[:6] == ["Mohamed", "Ahmed", "Ali", "Hussein", "Hassan", "Abdullah"]


@pytest.mark.parametrize("without", ["lengths", "score", "order"])
def test_each_part_matters(place: Path, decoder: Romanizer, names: list[str], without: str) -> None:
    """A decoder that looks at padding, scores by plain products, or swaps context and state is far off."""
    other = Romanizer(len(data.romanizing().signs)).eval()
    other.load_state_dict(decoder.state_dict())
    if without == "lengths":
        forward = other.attention.forward
        other.attention.forward = lambda query, memory, lengths: forward(query, memory)  # type: ignore[method-assign]
    elif without == "score":
        other.attention.rule = rg.nn.Held(rg.Rule(rg.dot(1.0)))
    else:
        assert other.attention.combine is not None
        other.attention.combine.weight.data = other.attention.combine.weight.data.roll(WIDTH, 1)
    beside, _ = searched(place, other, names)
    assert max(beside.gaps) > 100 * TOLERANCE
