"""What is kept of one call, whether or not the forward pass has left its lse."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

import regard as rg
from regard.engines import native
from regard.looking.measured import ByRow, Posed, Summed, measure
from regard.problem import pose

QUERIES, KEYS, HEADS = 67, 131, 6
RULES = {
    "causal": rg.Rule(pattern=rg.causal()),
    "window": rg.Rule(pattern=rg.window(before=11, after=3), bias=rg.alibi()),
    "cap": rg.Rule(rg.softcap(rg.dot(), 2.0), rg.prefix(29)),
    "nothing seen": rg.Rule(pattern=~rg.prefix(64) & rg.causal()),
    "sink": rg.Rule(pattern=rg.causal(), normalize=rg.softmax(torch.linspace(-1, 3, HEADS))),
}


def call_of(rule: rg.Rule, dtype: torch.dtype = torch.float32, start: int = KEYS - QUERIES) -> Posed:
    torch.manual_seed(3)
    query, key = 3 * torch.randn(2, HEADS, QUERIES, 17), torch.randn(2, 3, KEYS, 17)
    return Posed(query.to(dtype), key.to(dtype), rule, start, 0, torch.arange(KEYS).remainder(7).expand(2, -1), True)


def known(call: Posed) -> Posed:
    """The same with what a forward pass over other values leaves."""
    part = rg.partial(call.query, call.key, call.key, call.rule, query_start=call.query_start)
    return replace(call, lse=part.lse)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", RULES)
def test_a_known_lse_changes_nothing_but_rounding(name, dtype):
    call = call_of(RULES[name], dtype, start=0 if name == "nothing seen" else KEYS - QUERIES)
    apart, at_once = measure(call), measure(known(call))
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    for kind, ones, others in ((ByRow, apart.parts[0], at_once.parts[0]), (Summed, apart.sums, at_once.sums)):
        for field in fields(kind):
            one, other = getattr(ones, field.name), getattr(others, field.name)
            if isinstance(one, torch.Tensor):
                torch.testing.assert_close(
                    other, one, msg=lambda said, field=field: f"{field.name}: {said}", **tolerance
                )
            else:
                assert one == other


def test_it_is_used_where_there_is_no_sink():
    """With lse too great by ln 2, every weight is half of what it is; rows of a sink are measured anew."""
    for name, share in (("causal", 0.5), ("sink", 1.0)):
        call = known(call_of(RULES[name]))
        problem = pose(call.query, call.key, call.key, call.rule, query_start=call.query_start)
        expected = share if native.refusal(problem) is None else 1.0
        wrong = measure(replace(call, lse=call.lse + torch.tensor(2.0).log()))
        torch.testing.assert_close(wrong.sums.received, expected * measure(call).sums.received)
