"""Whether what regard makes of a case is right: AssertionError where it is not.

The error of an output is at most 2 ×, of a gradient 3 ×, the greater of two: that of PyTorch's plain operations in the
same type, and what changes when every input is moved by one of its roundings, by chance: the fewer outputs a case has,
the more often, since a few of them may all come out exact by luck. Beside it stand the floor of the FlashAttention
suite, 2·max|(ref + 0.3 − 0.3) − ref|, and a few roundings of the terms whose difference a gradient is.
"""

from __future__ import annotations

import torch
from building import arguments, poisoned, rule_of, tensors_of
from cases import Case
from torch import Tensor

import regard as rg

DRAWN = 64
"""Outputs that are drawn with moved inputs, at least."""


def check(case: Case) -> str:
    """What became of the case, in a word; it raises where something is wrong."""
    torch.set_num_threads(case["threads"])
    try:
        rule, tensors = rule_of(case), tensors_of(case)
        plan = rg.plan(*tensors[:3], _learned(rule, case), **arguments(case))
    except rg.InputError:
        return "refused"
    engine = "native" if plan.engine == "native" else None
    if engine is None:
        _must_refuse(tensors, _learned(rule, case), case)
    if case["call"] == "weights":
        return _check_weights(tensors, rule, case)
    if case["call"] == "plan":
        assert str(plan)
        return "plan"
    if case["call"] == "partial" and rule.normalize.whole_row is None:
        return _check_parts(tensors, rule, case)
    if case["special"] is not None:
        return _check_poison(tensors, rule, case)
    compare(tensors, rule, case, engine)
    return plan.engine


def _learned(rule: rg.Rule, case: Case) -> rg.Rule:
    wanted = bool(case["wanted"] & 8)
    leaves = [t.detach().requires_grad_(wanted) if t.is_floating_point() else t for t in rule.leaves()]
    return rule.with_leaves(leaves)


def _must_refuse(tensors: list[Tensor], rule: rg.Rule, case: Case) -> None:
    try:
        rg.attend(*tensors[:3], rule, engine="native", **arguments(case))
    except rg.EngineError:
        return
    raise AssertionError("the plan says that native can't, and yet it does")


def results(
    tensors: list[Tensor], rule: rg.Rule, case: Case, engine: str | None, dtype: torch.dtype, moved: int = 0
) -> list[Tensor]:
    """The output and the gradients that the case wants, all in float64.

    moved: a seed; every number moves by up to one rounding of its own type.
    """
    names = [n for n in range(4) if n == 3 or case["wanted"] >> n & 1]

    def leaf(tensor: Tensor, wanted: bool) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        made = tensor if dtype == tensor.dtype and not moved else tensor.to(dtype)
        if moved:
            step = torch.rand(made.shape, generator=torch.Generator().manual_seed(moved), dtype=dtype) * 2 - 1
            made = torch.where(made.isfinite(), made * (1 + torch.finfo(tensor.dtype).eps * step), made)
        return made.detach().requires_grad_(wanted)

    inputs = [leaf(t, n in names) for n, t in enumerate(tensors[:3])]
    leaves = [leaf(t, bool(case["wanted"] & 8)) for t in rule.leaves()]
    wanted = [t for t in (*inputs, *leaves) if t.requires_grad]
    out = rg.attend(*inputs, rule.with_leaves(leaves), engine=engine, **arguments(case))
    if not wanted:
        return [out.double()]
    grads = torch.autograd.grad(out, wanted, leaf(tensors[3], False), allow_unused=True)
    return [
        out.detach().double(),
        *((torch.zeros_like(t) if g is None else g).double() for t, g in zip(wanted, grads, strict=True)),
    ]


def moved_results(tensors: list[Tensor], rule: rg.Rule, case: Case) -> list[list[Tensor]]:
    """The results with moved inputs: three times, and oftener until `DRAWN` outputs are drawn."""
    outputs = tensors[0][..., 0].numel() * tensors[2].shape[-1]
    times = max(3, -(-DRAWN // outputs)) if outputs else 3
    return [results(tensors, rule, case, "reference", torch.float64, moved=1 + n) for n in range(times)]


def compare(tensors: list[Tensor], rule: rg.Rule, case: Case, engine: str | None) -> None:
    """All results of an engine against float64."""
    dtype = tensors[0].dtype
    found = results(tensors, rule, case, engine, dtype)
    exact = results(tensors, rule, case, "reference", torch.float64)
    plain = results(tensors, rule, case, "reference", dtype)
    others = moved_results(tensors, rule, case)
    if not rule.normalize.whole_row and dtype == torch.float64:
        others += [plain]
    for n, (got, theirs, want) in enumerate(zip(found, plain, exact, strict=True)):
        most = max(off(t, want) for t in (theirs, *(other[n] for other in others)))
        close(n, got, want, most, dtype, terms_of(n, tensors, case))


def terms_of(n: int, tensors: list[Tensor], case: Case) -> float:
    """How great the terms are that result `n` sums, before they cancel: v; or (do · v) times a query, a key or 1."""
    query, key, value, upstream = (t.abs().max().item() for t in tensors)
    kept = 1 - case["dropout"]
    if n == 0:
        return value / 2 / kept
    return upstream / kept * value * tensors[2].shape[-1] ** 0.5 * max(1.0, query, key)


def off(found: Tensor, want: Tensor) -> float:
    return (found - want).abs().max().item() if want.numel() else 0.0


def close(n: int, got: Tensor, want: Tensor, theirs: float, dtype: torch.dtype, terms: float = 0) -> None:
    """Result `n` within the bound; 0 is the output, all others are gradients."""
    assert got.shape == want.shape
    assert torch.equal(got.isfinite(), want.to(dtype).isfinite()), f"result {n}: finite elsewhere than it should be"
    at = want.to(dtype)
    floor = 2 * ((at + 0.3 - 0.3) - at).abs().nan_to_num().max().double().item() if want.numel() else 0.0
    finfo = torch.finfo(dtype)
    most = want.abs().max().item() if want.numel() else 0.0
    own = finfo.eps * (4 * terms + most + 100 * finfo.tiny)  # a denormal is rounded by a step of tiny · eps
    allowed = (2 if n == 0 else 3) * theirs + floor + own
    if dtype == torch.float64:
        allowed *= 4  # what it is compared with is rounded as often
    assert not off(got, want) > allowed, f"result {n} is off by {off(got, want):.3g}, allowed {allowed:.3g}"


def _check_weights(tensors: list[Tensor], rule: rg.Rule, case: Case) -> str:
    some = {name: value for name, value in arguments(case).items() if name != "dropout"}
    found = rg.weights(*tensors[:2], rule, **some)
    want = rg.steps(*tensors[:3], rule, **some).weights
    assert found.shape == want.shape
    assert torch.equal(found.isnan(), want.isnan())
    assert not (found - want).abs().gt(1e-3).any(), "weights differ from those of steps"
    return "weights"


def _check_parts(tensors: list[Tensor], rule: rg.Rule, case: Case) -> str:
    """Two parts of the keys, merged, are the whole."""
    query, key, value = tensors[:3]
    said, cut = arguments(case), case["keys"] // 2
    first = (
        said["query_start"] if said["query_start"] is not None else said["key_start"] + key.shape[-2] - query.shape[-2]
    )
    try:
        parts = [
            rg.partial(
                query,
                key[..., low:high, :],
                value[..., low:high, :],
                rule,
                **{**said, "query_start": first, "key_start": said["key_start"] + low},
            )
            for low, high in ((0, cut), (cut, case["keys"]))
        ]
    except rg.InputError:
        return "refused"
    merged = rg.merge(*parts).out.double()
    wide = rule.with_leaves([t.double() if t.is_floating_point() else t for t in rule.leaves()])
    outs = [
        rg.attend(*(t.to(dtype) for t in tensors[:3]), r, engine="reference", **said).double()
        for dtype, r in ((torch.float64, wide), (query.dtype, rule))
    ]
    alone = {**case, "wanted": 0}
    outs += [moved[0] for moved in moved_results(tensors, rule, alone)]
    close(1, merged, outs[0], max(off(out, outs[0]) for out in outs[1:]), query.dtype, terms_of(0, tensors, case))
    return "partial"


def _check_poison(tensors: list[Tensor], rule: rg.Rule, case: Case) -> str:
    """Rows that see no special value, and keys that no such row sees, come out as without it."""
    if not all(t.isfinite().all() for t in tensors):
        return "refused"
    bad, spots = poisoned(case, tensors)
    said = {name: value for name, value in arguments(case).items() if name != "dropout"}
    steps = rg.steps(*tensors[:3], rule, **said)
    lead, heads, group = tensors[0].shape[:-3], case["heads"], case["heads"] // case["kv_heads"]
    visible = torch.ones(1, dtype=torch.bool) if steps.visible is None else steps.visible
    visible = visible.expand(*lead, heads, case["queries"], case["keys"])
    if steps.bias is not None:
        visible = visible & (steps.bias != -torch.inf)
    at_query, at_key, at_value, at_upstream = (t.any(-1) for t in spots)
    at_keys = (at_key | at_value).repeat_interleave(group, -2)
    reached = (visible & at_keys[..., None, :]).any(-1) | (at_query & visible.any(-1))
    rows = reached | at_upstream
    keys = (visible & rows[..., None]).any(-2).unflatten(-2, (case["kv_heads"], group)).any(-2) | at_key | at_value
    dtype = tensors[0].dtype
    case = {**case, "wanted": 7}
    found = results(bad, rule, case, None, dtype)
    clean = [
        results(tensors, rule, case, engine, kind)
        for engine, kind in (("reference", torch.float64), ("reference", dtype))
    ]
    moved = moved_results(tensors, rule, case)
    for n, hidden in enumerate((reached, rows, keys, keys)):
        keep = ~hidden[..., None]
        got, want, *others = (torch.where(keep, t[n], 0) for t in (found, *clean, *moved))
        close(n, got, want, max(off(other, want) for other in others), dtype, terms_of(n, tensors, case))
    if case["special"][0] == "nan" and not case["dropout"] and rule.normalize.whole_row is None:
        rows_of_nan = torch.where(reached[..., None].expand(found[0].shape), found[0], torch.nan).isnan().any(-1)
        assert rows_of_nan.all(), "a row that sees NaN has none"
    return "special"
