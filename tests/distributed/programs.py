"""What ranks do in the tests: each function runs on every rank and returns what can be said in JSON."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from covering import all_pairs
from members import BIASES, NORMALIZERS, PATTERNS, SCORES, numbers, tensors
from test_battery import SINGLES, first_query, rule_of
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

import regard as rg
import regard.distributed as rd
from regard.bench.scaling import grown
from regard.distributed.asked import Asked
from regard.distributed.attending import ringed
from regard.distributed.calls import begin
from regard.distributed.peers import Peers
from regard.engines import ring
from regard.terms.pattern import Pattern

MERGED = [name for name, make in NORMALIZERS.items() if make().whole_row is None]
"""By discovery: what says itself that its parts merge."""
PAIRS = all_pairs((["", *SCORES], ["", *PATTERNS], ["", *BIASES], ["", *MERGED]))
ALONE = [row for row in SINGLES if not row[3] or row[3] in MERGED]

Grads = list[Tensor]


def results(attend: Callable[..., Tensor], rule: rg.Rule, inputs: Sequence[Tensor], **said: Any) -> list[Tensor]:
    """Output and gradients of query, key, value and every floating tensor of the rule, of one process."""
    leaves = [leaf.clone().requires_grad_(leaf.is_floating_point()) for leaf in rule.leaves()]
    own = [t.detach().clone().requires_grad_() for t in inputs]
    out = attend(*own, rule.with_leaves(leaves), **said)
    return [out.detach(), *pulled(out, weights(out), [*own, *leaves])]


def weights(out: Tensor) -> Tensor:
    return torch.linspace(-1, 2, out.numel(), dtype=torch.float64).reshape(out.shape).to(out.dtype)


def pulled(out: Tensor, upstream: Tensor, tensors: Sequence[Tensor]) -> Grads:
    wanted = [t for t in tensors if t.requires_grad]
    found = torch.autograd.grad(out, wanted, upstream, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(wanted, found, strict=True)]


def together(rule: rg.Rule, inputs: Sequence[Tensor], sharding: rd.Sharding | None = None, **said: Any) -> list[Tensor]:
    """The same of all ranks: every rank cuts, attends, and puts together."""
    leaves = [leaf.clone().requires_grad_(leaf.is_floating_point()) for leaf in rule.leaves()]
    own = [t.detach().clone().requires_grad_() for t in inputs]
    out = rd.attend(*(rd.shard(t, sharding=sharding) for t in own), rule.with_leaves(leaves), **said)
    whole = rd.unshard(out, sharding=sharding)
    grads = pulled(out, rd.shard(weights(whole), sharding=sharding), [*own, *leaves])
    wide = [grad.double() for grad in grads]
    for grad in wide:
        dist.all_reduce(grad)
    return [whole.detach(), *(w.to(g.dtype) for w, g in zip(wide, grads, strict=True))]


def shared(number: int, compute: Callable[[], list[Tensor]]) -> list[Tensor]:
    """What one rank computes alone, one after the other taking their turns, on every rank."""
    turn = number % dist.get_world_size()
    said = [compute() if dist.get_rank() == turn else None]
    dist.broadcast_object_list(said, src=turn)
    assert said[0] is not None
    return said[0]


def off(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The greatest error, relative to the greatest number where that is more than 1."""
    assert len(found) == len(expected)
    errors = [
        float((a - b).abs().max()) / max(1.0, float(b.abs().max())) if b.numel() else 0.0
        for a, b in zip(found, expected, strict=True)
    ]
    return max(errors)


# ------------------------------------------------------------------------------------------------------ exactness


def battery(some: str, layout: str = "ring") -> dict[str, Any]:
    """The errors of rules: "alone", each term; "pairs", every pair of terms; "3/7": each seventh of the pairs."""
    rows = ALONE if some == "alone" else PAIRS
    if "/" in some:
        first, step = map(int, some.split("/"))
        rows = PAIRS[first::step]
    made = {"-".join(row): agreement(n, row, layout) for n, row in enumerate(rows)}
    return {"errors": {rule: error for rule, error in made.items() if error is not None}, "rules": len(rows)}


def agreement(number: int, row: tuple[str, ...], layout: str) -> float | None:
    """The error; None where heads can't be shared out."""
    rule, start = rule_of(*row), first_query(row[1])
    expected = shared(number, lambda: results(rg.attend, rule, tensors(), query_start=start))
    try:
        made = together(rule, tensors(), query_start=start, setup=rd.Setup(layout=layout))
    except rg.InputError as error:
        if layout == "ulysses" and "layout='ulysses' can't be: the pattern " in str(error):
            return None
        raise
    return off(made, expected)


def alone_on_own_keys() -> dict[str, Any]:
    """What the battery would say of ranks that exchange nothing."""
    rule = rg.Rule()
    expected = results(rg.attend, rule, tensors())
    own = [rd.shard(t) for t in tensors()]
    return {"errors": {"own keys": off([rd.unshard(rg.attend(*own, rule))], expected[:1])}}


def shapes() -> dict[str, Any]:
    """Lengths that don't divide, fewer positions than ranks, ranks without any, cross-attention, 2 to 5 axes."""
    world, found = dist.get_world_size(), {}
    rule = rg.Rule(pattern=rg.causal(), bias=rg.alibi(), normalize=rg.softmax(0.3))
    for n, length in enumerate((0, 1, 3, 11, 41)):
        inputs = [numbers(2, heads, length, 7, seed=n + heads) for heads in (4, 2, 2)]
        expected = results(rg.attend, rule, inputs)
        found[f"length {length}"] = off(together(rule, inputs), expected)
    inputs = [3 * numbers(2, heads, 29, 7, seed=heads) for heads in (4, 2, 2)]
    lengths = tuple(29 - 3 * (world - 2) if n == 1 else 3 * (n > 1) for n in range(world)) if world > 1 else (29,)
    uneven = rd.contiguous(lengths)
    made = together(rule, inputs, uneven, setup=rd.Setup(sharding=uneven))
    found[f"lengths {lengths}"] = off(made, results(rg.attend, rule, inputs))
    inputs = [numbers(0, heads, 29, 7) for heads in (4, 2, 2)]
    found["no batch entry"] = off(
        together(rule, inputs, setup=rd.Setup(layout="ring")), results(rg.attend, rule, inputs)
    )
    for axes in (2, 4, 5):
        lead = (1,) * (axes > 4) + (2,) * (axes > 3)
        heads = ((4,), (2,), (2,)) if axes > 2 else ((), (), ())
        inputs = [3 * numbers(*lead, *h, n, 7, seed=n) for h, n in zip(heads, (13, 37, 37), strict=True)]
        found[f"{axes} axes, cross"] = off(together(rule, inputs), results(rg.attend, rule, inputs))
    return {"errors": found}


def dropped() -> dict[str, Any]:
    """Dropout by absolute position, a seed of the caller's and one that is drawn."""
    rule, inputs = rg.Rule(pattern=rg.window(11), normalize=rg.softmax(0.5)), tensors()
    expected = results(rg.attend, rule, inputs, dropout=0.3, seed=5)
    found = {"seed 5": off(together(rule, inputs, dropout=0.3, seed=5), expected)}
    torch.manual_seed(dist.get_rank())
    out = rd.unshard(rd.attend(*(rd.shard(t) for t in inputs), rule, dropout=0.3))
    torch.manual_seed(0)
    found["drawn"] = off([out], [rg.attend(*inputs, rule, dropout=0.3)])
    return {"errors": found}


def poisoned() -> dict[str, Any]:
    """NaN and ∞ in a key, a value and an upstream gradient reach the rows and keys that they reach in one process."""
    query, key, value = (3 * numbers(2, heads, 41, 7, seed=heads + n) for n, heads in enumerate((4, 2, 2)))
    rule, setup = rg.Rule(pattern=rg.causal() & rg.window(13)), rd.Setup(layout="ring")
    key[0, 0, 29, 3], value[0, 1, 5, 2] = float("nan"), float("inf")
    upstream = numbers(2, 4, 41, 7, seed=9)
    upstream[1, 2, 17, 4] = float("nan")
    alone = [t.clone().requires_grad_() for t in (query, key, value)]
    out = rg.attend(*alone, rule)
    expected = [out.detach(), *torch.autograd.grad(out, alone, upstream)]
    own = [rd.shard(t).requires_grad_() for t in (query, key, value)]
    made = rd.attend(*own, rule, setup=setup)
    grads = torch.autograd.grad(made, own, rd.shard(upstream))
    found = [rd.unshard(t.detach()) for t in (made, *grads)]
    same = [torch.allclose(a, b, rtol=1e-12, atol=1e-12, equal_nan=True) for a, b in zip(found, expected, strict=True)]
    return {"same": same, "hurt": [float(t.isfinite().logical_not().float().mean()) for t in expected]}


def halves(dtype: str) -> dict[str, Any]:
    """DESIGN's measure: errors against float64, and what is allowed, of the output and of each gradient."""
    kind, found = getattr(torch, dtype), {}
    rules = {"causal": rg.Rule(pattern=rg.causal()), "alibi": rg.Rule(bias=rg.alibi(), normalize=rg.softmax(0.2))}
    for name, rule in rules.items():
        inputs = [numbers(1, 4, 61, 16, seed=n, scale=s).to(kind) for n, s in enumerate((3.0, 1.0, 1.0))]
        exact = results(rg.attend, rule, [t.double() for t in inputs])
        plain = results(plainly, rule, inputs)
        made = together(rule, inputs, setup=rd.Setup(layout="ring"))
        for n, (got, eager, want) in enumerate(zip(made, plain, exact, strict=True)):
            floor = 2 * ((want.to(kind) + 0.3 - 0.3) - want.to(kind)).abs().max().double()
            allowed = (3 if n else 2) * (eager.double() - want).abs().max() + floor
            found[f"{name}, {n}"] = [float((got.double() - want).abs().max()), float(allowed)]
    return {"errors": found}


def plainly(query: Tensor, key: Tensor, value: Tensor, rule: rg.Rule) -> Tensor:
    """The formula, every intermediate rounded to the dtype of the inputs."""
    scores = query @ key.mT / query.shape[-1] ** 0.5
    place = torch.arange(query.shape[-2])
    if rule.bias is not None:
        slopes = 2.0 ** (-8 / query.shape[1] * torch.arange(1, query.shape[1] + 1))
        scores = scores - (slopes[:, None, None] * (place[:, None] - place).abs()).to(scores)
    if rule.pattern is not None:
        scores = scores.masked_fill(place[:, None] < place, float("-inf"))
    sink = rule.normalize.sink
    if sink is not None:
        scores = torch.cat((scores, torch.full_like(scores[..., :1], sink)), -1)
    return scores.softmax(-1)[..., : key.shape[-2]] @ value


def looked() -> dict[str, Any]:
    """The statistics of all ranks beside those of one."""
    found = {}
    for name, rule in {
        "dense": rg.Rule(),
        "causal, sink": rg.Rule(pattern=rg.causal(), bias=rg.alibi(), normalize=rg.softmax(numbers(6, seed=3))),
        "window": rg.Rule(pattern=rg.window(5)),
    }.items():
        query, key = (3 * numbers(2, heads, 47, 7, seed=heads) for heads in (6, 3))
        seen, own = rg.look(query, key, rule), rd.look(rd.shard(query), rd.shard(key), rule, shares=[[0, 3, 46]])
        rows = {"lse": (own.lse, seen.lse), "share": (own.share(), seen.share([0, 3, 46]))}
        for method in ("mass", "entropy", "effective_keys", "maximum", "received"):
            rows[method] = (getattr(own, method)(), getattr(seen, method)())
        rows["mean distance"] = (own.distance().mean, seen.distance().mean)
        made = [off([rd.unshard(a, dim=-1)], [b]) for a, b in rows.values()]
        ours, theirs = own.head_scores(), seen.head_scores()
        made += [off([a], [b]) for a, b in zip(ours, theirs, strict=True) if a is not None]
        bins = seen.distance().before.shape[-1]
        made.append(off([own.distance().before[..., :bins]], [seen.distance().before]))
        found[name] = max(made)
    return {"errors": found, "refused": caught(lambda: own.top(3))}


# ------------------------------------------------------------------------------------------------------- a model


def decoder() -> nn.Module:
    """Two blocks with all that a layer has: grouped heads, rotary positions, a learned sink, learned slopes."""
    torch.manual_seed(0)
    rule = rg.Rule(pattern=rg.causal(), bias=rg.alibi(torch.full((4,), 0.1)), normalize=rg.softmax(torch.zeros(4)))
    layers = [rg.nn.MultiHead(12, 4, kv_heads=2, head_dim=6, rule=rule, rotary=rg.rotary(6)) for _ in range(2)]
    return rg.nn.Decoder(rg.nn.Block(layer, hidden=24) for layer in layers).double()


def stepped(model: nn.Module, inputs: Tensor, upstream: Tensor, ranks: int = 1) -> list[Tensor]:
    """The parameters after one step; gradients are means over the ranks, so that the loss is taken times as many."""
    steps = torch.optim.SGD(model.parameters(), lr=0.3)
    (ranks * (model(inputs) * upstream).sum()).backward()
    steps.step()
    return [p.full_tensor() if isinstance(p, DTensor) else p.detach() for p in model.parameters()]


def trained() -> dict[str, Any]:
    """Two batch entries and a sequence in two: 2 × 2 ranks, by DDP and by FSDP2, beside one process."""
    world = dist.get_world_size()
    mesh = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("data", "context"))
    inputs, upstream = numbers(2, 23, 12, seed=5), numbers(2, 23, 12, seed=6)
    before = [p.detach().clone() for p in decoder().parameters()]
    expected = stepped(decoder(), inputs, upstream)
    own = [rd.shard(t[mesh["data"].get_local_rank()][None], mesh["context"]) for t in (inputs, upstream)]
    models = {
        "DDP": DistributedDataParallel(rd.context_parallel(decoder(), mesh["context"])),
        "FSDP2": rd.context_parallel(decoder(), mesh["context"]),
    }
    whole = init_device_mesh("cpu", (world,))
    for block in models["FSDP2"].blocks:
        fully_shard(block, mesh=whole)
    fully_shard(models["FSDP2"], mesh=whole)
    found = {name: off(stepped(model, *own, ranks=world), expected) for name, model in models.items()}
    return {"errors": found, "moved": off(before, expected), "two axes": caught(lambda: rd.shard(inputs, mesh))}


# ------------------------------------------------------------------------------------------------ what is counted


def counts() -> dict[str, Any]:
    """Pairs, keys and bytes by rank; bytes of messages at once, and what a ring would hold of everything."""
    length = 64 * dist.get_world_size() * 8
    query, key, value = (torch.zeros(1, 1, length, 4) for _ in range(3))
    own = [rd.shard(t) for t in (query, key, value)]
    setup = rd.Setup(layout="ring")
    causal, window = (rd.plan(*own, p, setup=setup) for p in (rg.causal(), rg.window(65)))
    line = rd.plan(*(rd.shard(t, sharding=s) for t, s in [(t, even(length)) for t in (query, key, value)]),
                   rg.causal(), setup=rd.Setup(layout="ring", sharding=even(length)))  # fmt: skip
    return {
        "length": length,
        "balance": causal.balance,
        "in a line": line.balance,
        "window": [list(window.keys), list(window.bytes)],
        "dense": list(rd.plan(*own, setup=setup).keys),
        "held": {name: peak(own, pattern) for name, pattern in (("dense", None), ("window", rg.window(65)))},
        "printed": str(causal),
    }


def even(length: int) -> rd.Sharding:
    world = dist.get_world_size()
    return rd.contiguous((length // world,) * world)


def peak(own: Sequence[Tensor], pattern: Pattern | None) -> list[int]:
    """Bytes of messages that a forward pass holds at once, and that it sends in all."""
    asked = Asked("attend", tuple(own), pattern, None, 0.0, None, rd.Setup(layout="ring"))
    call = begin(Peers(), asked)
    messages = call.messages()
    ring.forward(ringed(call, messages))
    return [messages.peak, messages.sent]


def resident(length: str) -> dict[str, int | None]:
    """Bytes that this rank's resident memory grew by, at its highest, from its share of a sequence to its gradients."""
    share = int(length) // dist.get_world_size()

    def work() -> None:
        own = [torch.randn(1, 2, share, 64, requires_grad=True) for _ in range(3)]
        rd.attend(*own, rg.causal()).sum().backward()

    return {"bytes": grown(work)}


# ---------------------------------------------------------------------------------------------- what goes wrong


def caught(call: Callable[[], Any]) -> str:
    try:
        found = call()
    except rg.RegardError as error:
        return f"{type(error).__name__}: {error}"
    return f"returned {type(found).__name__}"


def refusals() -> dict[str, Any]:
    """What ranks bring that doesn't fit, and what each then says."""
    rank = dist.get_rank()
    own = [rd.shard(t) for t in tensors()]
    other = rank == 1
    said = {
        "rule": lambda: rd.attend(*own, rg.window(3 + other)),
        "numbers": lambda: rd.attend(*own, rg.softmax(torch.full((6,), float(other)))),
        "shape": lambda: rd.attend(own[0], own[1], own[2][..., : 5 - other]),
        "dtype": lambda: rd.attend(*(t.float() if other else t for t in own)),
        "seed": lambda: rd.attend(*own, dropout=0.1, seed=int(other)),
        "dropout": lambda: rd.attend(*own, dropout=0.1 + 1e-9 * other, seed=1),
        "query_start": lambda: rd.attend(*own, query_start=0.5 if other else 0),
        "sets of keys": lambda: rd.look(*own[:2], shares=[[0, 1 + other]]),
        "unshard": lambda: rd.unshard(own[0].float() if other else own[0]),
        "rows": lambda: rd.unshard(own[0][:1] if other else own[0]),
        "gradients": lambda: rd.attend(own[0].clone().requires_grad_(other), *own[1:]),
        "one fails": lambda: rd.attend(own[0], own[1], own[2][..., :1, :] if other else own[2]),
        "layout": lambda: rd.attend(*own, setup=rd.Setup(layout="all-gather" if other else "ring")),
        "lengths": lambda: rd.attend(*(t[..., : t.shape[-2] - other, :] for t in own)),
        "mask": lambda: rd.attend(*own, rg.mask(torch.ones(3, 3, dtype=torch.bool))),
        **{name: lambda n=name: rd.attend(*own, NORMALIZERS[n]()) for name in NORMALIZERS if name not in MERGED},
    }
    return {"said": {name: caught(call) for name, call in said.items()}, "after": caught(lambda: rd.attend(*own))}


def lost(how: str, when: str) -> dict[str, Any]:
    """The last rank dies or stalls; what the others get, and when. No other rank needs its keys in the window."""
    dist.barrier()  # or it may be gone before the others have met it
    own = [rd.shard(3 * t).requires_grad_() for t in tensors()]
    rule, setup = rg.window(2) & rg.causal(), rd.Setup(layout="ring")
    last = dist.get_rank() == dist.get_world_size() - 1
    backward = lambda: torch.autograd.grad(out.sum(), own)  # noqa: E731
    work = lambda: rd.attend(*own, rule, setup=setup)  # noqa: E731
    if when == "backward":
        out, work = work(), backward
    if last and when == "middle":
        work = lambda: ringed_until_the_end(own, rule, how)  # noqa: E731
    elif last:
        end(how)
    began = time.monotonic()
    said = caught(work)
    return {"said": said, "seconds": time.monotonic() - began}


def lost_by_heads() -> dict[str, Any]:
    """The last rank dies where it would meet the others after the backward pass; what they get."""
    own = [rd.shard(t).requires_grad_() for t in (numbers(2, 3, 12, 5, seed=n) for n in range(3))]
    out = rd.attend(*own, setup=rd.Setup(layout="ulysses"))
    if dist.get_rank() == dist.get_world_size() - 1:
        Peers.finished = lambda peers, what: end("dies")  # type: ignore[method-assign]
    return {"said": caught(lambda: torch.autograd.grad(out.sum(), own))}


def ringed_until_the_end(own: list[Tensor], rule: Pattern, how: str) -> None:
    """All that `attend` does before its last word to the others."""
    call = begin(Peers(), Asked("attend", tuple(own), rule, None, 0.0, None, rd.Setup(layout="ring")))
    ring.forward(ringed(call, call.messages()))
    end(how)


def end(how: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL if how == "dies" else signal.SIGSTOP)


def every(*asked: str) -> dict[str, Any]:
    """Several programs one after the other, as "battery:alone:ring"."""
    found = {}
    for text in asked:
        name, *words = text.split(":")
        found[text] = globals()[name](*words)
    return {"found": found}
