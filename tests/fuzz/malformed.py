"""Inputs that don't fit: each must end in InputError or EngineError, or be computed where it happens to fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from building import arguments, rule_of, tensors_of
from cases import Case
from torch import Tensor

import regard as rg

Call = dict[str, Any]


def _tensor(change: Callable[[Tensor], object]) -> Callable[[Call, int], None]:
    def fault(call: Call, seed: int) -> None:
        name = ("query", "key", "value")[seed % 3]
        call[name] = change(call[name])

    return fault


def _option(name: str, values: list[object]) -> Callable[[Call, int], None]:
    def fault(call: Call, seed: int) -> None:
        call[name] = values[seed % len(values)]

    return fault


def _rule(make: list[Callable[[], object]]) -> Callable[[Call, int], None]:
    def fault(call: Call, seed: int) -> None:
        call["rule"] = make[seed % len(make)]()

    return fault


_HUGE = 2**62
_OPTIONS: list[object] = [
    *(-1, -(2**70), _HUGE, 2**70, 0.5, "0", True, float("nan"), [0], (), object(), b""),
    *(torch.tensor(0.5), torch.tensor([0, 1, 2, 3, 4]), torch.tensor([[0]]), torch.tensor(-3)),
    *(torch.tensor([], dtype=torch.int64), torch.tensor([0.5, 1])),
    *(torch.tensor(True), torch.tensor(1j), torch.tensor(_HUGE), torch.empty(2, device="meta", dtype=torch.int64)),
]  # fmt: skip
_TERMS: list[Callable[[], object]] = [
    lambda: "causal",
    lambda: torch.ones(3, 3, dtype=torch.bool),
    lambda: rg.causal,
    lambda: rg.mask(torch.ones(3, 3, dtype=torch.bool)),
    lambda: rg.mask(torch.ones(3, 3)),
    lambda: rg.mask(torch.ones(0, 0, dtype=torch.bool)),
    lambda: rg.mask(torch.ones(7, 5, 3, 3, dtype=torch.bool)),
    lambda: rg.window(0),
    lambda: rg.window(-1),
    lambda: rg.window(before=2**70, after=1),
    lambda: rg.window(before=_HUGE, after=_HUGE),
    lambda: rg.documents([]),
    lambda: rg.documents([-1, 3]),
    lambda: rg.documents([_HUGE, _HUGE]),
    lambda: rg.packed([3], [4, 5]),
    lambda: rg.padding(torch.tensor([1.5])),
    lambda: rg.padding(torch.tensor([-1])),
    lambda: rg.padding(torch.ones(9, 9, 9, dtype=torch.bool)),
    lambda: rg.prefix(-1),
    lambda: rg.prefix([1, 2, 3, 4, 5, 6, 7]),
    lambda: rg.strided(0),
    lambda: rg.strided(_HUGE),
    lambda: rg.blocks(0),
    lambda: rg.blocks(_HUGE),
    lambda: rg.blocks(3, torch.ones(2, 2, dtype=torch.bool)),
    lambda: rg.random_blocks(3, -1, 10, seed=0),
    lambda: rg.neighborhood((2, 3), (2, 2)),
    lambda: rg.neighborhood((1, 1), (1, 1)),
    lambda: rg.axial((1, 1)),
    lambda: rg.axial((_HUGE, 2)),
    lambda: rg.edges(torch.zeros(3, 2, dtype=torch.int64)),
    lambda: rg.edges(torch.tensor([[0], [-1]])),
    lambda: rg.edges(torch.tensor([[_HUGE], [0]])),
    lambda: rg.edges(torch.tensor([[0], [_HUGE]])),
    lambda: rg.edges(torch.empty(2, 0, dtype=torch.int64)),
    lambda: rg.global_tokens([-1]),
    lambda: rg.global_tokens([_HUGE]),
    lambda: rg.per_head(rg.causal()),
    lambda: rg.per_head(*[rg.causal()] * 11),
    lambda: rg.per_batch(*[rg.causal()] * 11),
    lambda: rg.alibi(11),
    lambda: rg.alibi(torch.ones(11)),
    lambda: rg.alibi(torch.ones(2, dtype=torch.int64)),
    lambda: rg.relative(torch.ones(4)),
    lambda: rg.relative(torch.ones(11, 3)),
    lambda: rg.relative(torch.ones(0)),
    lambda: rg.t5(torch.ones(3)),
    lambda: rg.t5(torch.ones(8), max_distance=0),
    lambda: rg.bias.keys(torch.ones(())),
    lambda: rg.bias.keys(torch.ones(1)),
    lambda: rg.bias.keys(torch.ones(11, 7)),
    lambda: rg.bias.keys(torch.empty(0)),
    lambda: rg.bias.tensor(torch.ones(())),
    lambda: rg.bias.tensor(torch.ones(2, 2)),
    lambda: rg.bias.tensor(torch.ones(3, dtype=torch.int64)),
    lambda: rg.bias.tensor(torch.ones(2, 2, 2, 2, 2, 2)),
    lambda: rg.bias.tensor(torch.empty(2, 2, device="meta")),
    lambda: rg.bias.edges(torch.zeros(2, 1, dtype=torch.int64), torch.ones(2)),
    lambda: rg.bias.edges(torch.tensor([[0], [_HUGE]]), torch.ones(1)),
    lambda: rg.bias.edges(torch.tensor([[_HUGE], [1]]), torch.ones(1)),
    lambda: rg.bias.edges(torch.tensor([[1 << 40, 3], [1 << 40, 1]]), torch.ones(2)),
    lambda: rg.bias.edges(torch.empty(2, 0, dtype=torch.int64), torch.ones(0)),
    lambda: rg.dot(torch.ones(11)),
    lambda: rg.dot(float("nan")),
    lambda: rg.dot(float("inf")),
    lambda: rg.dot(1e300),
    lambda: rg.general(torch.ones(3, 4)),
    lambda: rg.general(torch.ones(3)),
    lambda: rg.additive(torch.ones(2, 3), torch.ones(2, 4), torch.ones(5)),
    lambda: rg.cosine(torch.ones(2, 2)),
    lambda: rg.gaussian(0.0),
    lambda: rg.gaussian(-1.0),
    lambda: rg.gaussian(1e-300),
    lambda: rg.softcap(rg.dot(), 0.0),
    lambda: rg.softcap(rg.dot(), float("nan")),
    lambda: rg.softcap(rg.dot(), 1e-300),
    lambda: rg.softmax(torch.ones(11)),
    lambda: rg.softmax(float("nan")),
    lambda: rg.softmax(float("inf")),
    lambda: rg.softmax(float("-inf")),
    lambda: rg.softmax("1"),
    lambda: rg.sigmoid(torch.ones(11)),
    lambda: rg.top_k(0),
    lambda: rg.relu(-1),
    lambda: rg.hard(0.0),
    lambda: rg.Rule(rg.causal()),
    lambda: rg.Rule(bias=rg.causal()),
]
FAULTS: dict[str, Callable[[Call, int], None]] = {
    "no tensor": _tensor(lambda t: [None, 3, [[1.0]], "q", t.detach().float().numpy()][t.numel() % 5]),
    "type": _tensor(
        lambda t: t.to([torch.int64, torch.bool, torch.complex64, torch.float64, torch.float16][t.numel() % 5])
    ),
    "no axes": _tensor(lambda t: t[..., 0, 0].flatten()[:1].squeeze()),
    "one axis": _tensor(lambda t: t.flatten()),
    "six axes": _tensor(lambda t: t[(None,) * (6 - t.ndim)]),
    "an axis less": _tensor(lambda t: t[0]),
    "no positions": _tensor(lambda t: t[..., :0, :]),
    "no dim": _tensor(lambda t: t[..., :0]),
    "no heads": _tensor(lambda t: t[..., :0, :, :]),
    "no batch": _tensor(lambda t: t[None][:0]),
    "other dim": _tensor(lambda t: torch.cat((t, t[..., :1]), -1)),
    "wide": _tensor(lambda t: t.repeat(*[1] * (t.ndim - 1), 1 + 600 // t.shape[-1])),
    "other length": _tensor(lambda t: torch.cat((t, t[..., :1, :]), -2)),
    "other heads": _tensor(lambda t: torch.cat((t, t[..., :1, :, :]), -3)),
    "other batch": _tensor(lambda t: t.expand(5, 7, *t.shape[-3:])),
    "meta": _tensor(lambda t: t.to("meta")),
    "sparse": _tensor(lambda t: t.to_sparse()),
    "quantized": _tensor(lambda t: torch.quantize_per_tensor(t.detach().float(), 0.1, 0, torch.quint8)),
    "nested": _tensor(lambda t: torch.nested.nested_tensor([t.detach().float()[..., 0, :]])),
    "mkldnn": _tensor(lambda t: t.detach().float().to_mkldnn()),
    "negative view": _tensor(lambda t: torch.complex(t.detach().float(), t.detach().float()).conj().imag),
    "overlapping": _tensor(lambda t: t.contiguous().as_strided(t.shape, (0,) * (t.ndim - 1) + (1,))),
    "query_start": _option("query_start", _OPTIONS),
    "key_start": _option("key_start", _OPTIONS),
    "dropout": _option(
        "dropout", [-0.1, 1.0, 1.5, float("nan"), "0.1", None, 1 - 2**-53, 2**-60, torch.tensor(0.5), True]
    ),
    "seed": _option("seed", [-1, 2**64, 2**200, 0.5, "1", torch.tensor(3), torch.tensor(0.5), True]),
    "engine": _option(
        "engine", ["", "NATIVE", "cuda", 3, b"native", "sdpa", "flex", "tiled", "reference", "native", ()]
    ),
    "rule": _rule(_TERMS),
}


def check_refusal(case: Case) -> str:
    """InputError, EngineError or a result of the right shape; any other exception goes on."""
    try:
        tensors = tensors_of(case)
        call: Call = {**dict(zip(("query", "key", "value"), tensors[:3], strict=True)), **arguments(case)}
        call |= {"rule": rule_of(case), "engine": None}
        for name, seed in case["faults"]:
            try:
                FAULTS[name](call, seed)
            except (AttributeError, IndexError, RuntimeError, TypeError) as error:
                if isinstance(error, rg.EngineError) or name == "rule":
                    raise
                return "unbreakable"  # a second fault on top of the first, or one that the tensor can't have
        _call(case, call)
    except (rg.InputError, rg.EngineError):
        return "refused"
    return "taken"


def _call(case: Case, call: Call) -> None:
    if case["call"] == "weights":
        some = {name: value for name, value in call.items() if name not in ("value", "dropout", "engine")}
        rg.weights(**some)
        return
    if case["call"] == "partial":
        rg.partial(**call)
        return
    if case["call"] == "plan":
        str(rg.plan(**call))
        return
    wanted = [name for n, name in enumerate(("query", "key", "value")) if case["wanted"] >> n & 1]
    for name in wanted:
        if isinstance(call[name], Tensor) and call[name].is_floating_point():
            call[name] = call[name].detach().requires_grad_()
    out = rg.attend(**call)
    assert out.shape[-1] == call["value"].shape[-1]
    if out.requires_grad:
        out.sum().backward()
