"""Checkpoints of a model that several processes train, and the way back to the last one that is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
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

from regard.errors import InputError

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


Told = Mapping[str, int | float | None]
"""What decides the course of a training, by name."""


def keep(folder: Path, model: nn.Module, steps: torch.optim.Optimizer, losses: Sequence[float], told: Told) -> None:
    """A checkpoint of all ranks; only when it is whole does `latest` name it, and what the training was told."""
    name = f"step-{len(losses)}"
    weights, moments = get_state_dict(model, steps)
    save({"model": weights, "steps": moments}, checkpoint_id=folder / name)
    if dist.get_rank() == 0:
        (folder / LOSSES).write_text(json.dumps(losses) + "\n", encoding="utf-8")
        fresh = folder / f"{LATEST}.new"
        latest = {"checkpoint": name, "losses": list(losses), "told": dict(told)}
        fresh.write_text(json.dumps(latest) + "\n", encoding="utf-8")
        fresh.replace(folder / LATEST)
    dist.barrier()


def resumed(folder: Path, model: nn.Module, steps: torch.optim.Optimizer, told: Told) -> list[float]:
    """The losses up to the last whole checkpoint, whose numbers model and optimizer then have.

    Errors: InputError where the folder holds another training, or what no training has left.
    """
    latest = _latest(folder)
    if latest is None:
        return []
    other = [
        f"{name} {latest['told'].get(name)}, not {here}"
        for name, here in told.items()
        if latest["told"].get(name) != here
    ]
    if other:
        raise InputError(
            f"{folder} holds a training with {'; '.join(other)}: ask for the same, or name another directory"
        )
    weights, moments = get_state_dict(model, steps)
    state: dict[str, Any] = {"model": weights, "steps": moments}
    load(state, checkpoint_id=folder / latest["checkpoint"])
    set_state_dict(model, steps, model_state_dict=state["model"], optim_state_dict=state["steps"])
    if dist.get_rank() == 0:
        print(f"resumed after step {len(latest['losses'])}", flush=True)
    return list(latest["losses"])


def _latest(folder: Path) -> dict[str, Any] | None:
    path = folder / LATEST
    try:
        latest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        whole = isinstance(latest["losses"], list) and isinstance(latest["told"], dict)
        there = (folder / latest["checkpoint"]).is_dir()
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        whole = there = False
    if not (whole and there):
        raise InputError(f"{path} names no checkpoint of this program: remove it, or name another directory")
    return latest
