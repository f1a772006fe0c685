"""The object that carries a mask through a model: a tensor without numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import masking_utils

from regard.errors import InputError
from regard.huggingface.masks import Mask, make
from regard.terms.pattern import Pattern, causal


def test_the_mask_is_a_tensor_to_a_model() -> None:
    mask = make(2, 5, 7, q_offset=torch.tensor(4), kv_offset=2)
    assert isinstance(mask, Tensor)
    assert mask.shape == (2, 1, 5, 7) and mask.ndim == 4 and mask.dim() == 4 and mask.size(-1) == 7
    assert mask.dtype == torch.bool and mask.device == torch.device("cpu")
    for same in (
        mask.contiguous(),
        mask.to("cpu"),
        mask.to(torch.bool),
        mask.clone(),
        mask.detach(),
        mask[:],
        mask[:, :],
    ):
        assert isinstance(same, Mask) and repr(same.pattern) == repr(mask.pattern) and same.grid == mask.grid
    assert repr(mask) == "Mask([2, 1, 5, 7], causal, query_start=4, key_start=2)"


def test_an_offset_that_changes_in_place() -> None:
    offset = torch.tensor(4)
    mask = make(1, 1, 8, q_offset=offset)
    offset += 3
    assert mask.grid.query_start == 4


def test_cuts() -> None:
    mask = make(2, 5, 7, q_offset=4, kv_offset=2)
    for cut in (lambda m: m[:, :, :, :3], lambda m: m[:, :, 1:4], lambda m: m[..., -2:, 1:], lambda m: m[:, :, :, :99]):
        found = cut(mask)
        assert isinstance(found, Mask)
        assert torch.equal(found.dense(), cut(mask.dense()))


def test_its_numbers_where_they_are_read() -> None:
    mask = make(2, 3, 3, attention_mask=torch.tensor([[True, True, True], [False, True, True]]))
    dense = mask.dense()
    assert torch.equal(~mask, ~dense) and torch.equal(mask & dense, dense) and torch.equal(mask[1], dense[1])
    assert torch.equal(torch.where(mask, 0.0, -1.0), torch.where(dense, 0.0, -1.0))
    assert torch.equal(torch.zeros(2, 1, 3, 3).masked_fill(~mask, 1.0), (~dense).float())
    assert torch.equal(mask.any(-1), dense.any(-1)) and bool(mask.any())
    query = torch.randn(2, 2, 3, 4)
    sdpa = torch.nn.functional.scaled_dot_product_attention
    dense[1, 0, 0] = True
    assert torch.equal(sdpa(query, query, query, mask)[0], sdpa(query, query, query, dense)[0])


@pytest.mark.parametrize(
    "mixed",
    [
        lambda mask: torch.randn(1, 2, 3, 3) + mask,
        lambda mask: mask * torch.randn(3),
        lambda mask: mask.float(),
        lambda mask: mask.to(torch.bfloat16),
    ],
)
def test_it_is_never_added_to_scores(mixed: Callable[[Tensor], Tensor]) -> None:
    """True would count as 1 and False as 0: a model that does this would lose its mask in silence."""
    with pytest.raises(InputError, match="does arithmetic with the mask"):
        mixed(make(1, 3, 3))


def test_patterns_are_never_squares() -> None:
    """65,536 tokens: the dense mask alone would take 4 GiB."""
    made: Pattern = make(1, 65536, 65536, mask_function=masking_utils.sliding_window_causal_mask_function(128)).pattern
    assert "window(128)" in repr(made)
    assert made.leaves() == []
    assert repr(make(1, 65536, 65536).pattern) == repr(causal())
