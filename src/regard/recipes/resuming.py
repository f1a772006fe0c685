"""Checkpoints of a model that several processes train, and the way back to the last one that is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.rendezvous import rendezvous

__all__ = ["join", "keep", "resumed"]

LATEST, LOSSES = "latest", "losses.json"


def join(seconds: float) -> None:
    """The process group of this attempt, with a timeout.

    A process that torchrun starts anew finds in the agent's store what the lost ones left: their addresses, to which it
    would connect in vain. So each attempt has a part of the store to itself.
    """
    timeout = timedelta(seconds=seconds)
    store, rank, ranks = next(iter(rendezvous("env://", timeout=timeout)))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    own = PrefixStore(f"attempt {attempt}", store)
    dist.init_process_group("gloo", store=own, rank=rank, world_size=ranks, timeout=timeout)


def keep(folder: Path, model: nn.Module, steps: torch.optim.Optimizer, losses: Sequence[float]) -> None:
    """A checkpoint of all ranks; only when it is whole does `latest` name it."""
    name = f"step-{len(losses)}"
    weights, moments = get_state_dict(model, steps)
    save({"model": weights, "steps": moments}, checkpoint_id=folder / name)
    if dist.get_rank() == 0:
        (folder / LOSSES).write_text(json.dumps(losses) + "\n", encoding="utf-8")
        fresh = folder / f"{LATEST}.new"
        fresh.write_text(json.dumps({"checkpoint": name, "losses": list(losses)}) + "\n", encoding="utf-8")
        fresh.replace(folder / LATEST)
    dist.barrier()


def resumed(folder: Path, model: nn.Module, steps: torch.optim.Optimizer) -> list[float]:
    """The losses up to the last whole checkpoint, whose numbers model and optimizer then have."""
    try:
        latest: dict[str, Any] = json.loads((folder / LATEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    weights, moments = get_state_dict(model, steps)
    state: dict[str, Any] = {"model": weights, "steps": moments}
    load(state, checkpoint_id=folder / latest["checkpoint"])
    set_state_dict(model, steps, model_state_dict=state["model"], optim_state_dict=state["steps"])
    if dist.get_rank() == 0:
        print(f"resumed after step {len(latest['losses'])}", flush=True)
    return list(latest["losses"])
