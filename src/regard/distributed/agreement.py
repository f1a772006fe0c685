"""What all ranks must bring alike, asked before the first number: rule, shapes, types, dropout, positions.

One small all-gather of a few hashes a rank; only where they differ, a second one says what each rank brought.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.distributed.peers import GroupError, Peers
from regard.errors import InputError, RegardError
from regard.rule import Rule

__all__ = ["Brought", "Seen", "agreed", "digest", "likewise", "ruled"]


@dataclass(frozen=True)
class Brought:
    """What one rank brings.

    Args:
        said: by name, what must be alike, in words.
        numbers: what may differ: lengths, and the seed that the first rank drew.
    """

    said: Mapping[str, str]
    numbers: tuple[int, ...]


Seen = list[list[int]]
"""The numbers of every rank."""


def agreed(peers: Peers, bring: Callable[[], Brought]) -> Seen:
    """The numbers of all ranks; one error on every rank where they don't bring the same.

    Args:
        peers: the ranks.
        bring: what this one brings; where it raises, the others raise as well.

    Errors: InputError where ranks differ; GroupError where another rank failed, died or stalled.
    """
    failure, brought = None, Brought({}, ())
    try:
        brought = bring()
    except RegardError as error:
        failure = error
    row = [int(failure is not None), *(_hash(text) for text in brought.said.values())]
    row += [0] * (FIELDS + 1 - len(row)) + list(brought.numbers)
    row += [0] * (WIDTH - len(row))
    rows = peers.gathered(torch.tensor(row), "what all ranks bring").tolist()
    likewise(peers, failure, [bool(other[0]) for other in rows])
    if any(other[: FIELDS + 1] != rows[0][: FIELDS + 1] for other in rows):
        raise InputError(_difference(peers.told(dict(brought.said), "what all ranks bring")))
    return [other[FIELDS + 1 :] for other in rows]


FIELDS, WIDTH = 10, 18


def likewise(peers: Peers, failure: Exception | None, failed: list[bool]) -> None:
    """One error on every rank where some rank failed."""
    if not any(failed):
        return
    told = peers.told(None if failure is None else str(failure), "what went wrong")
    if failure is not None:
        raise failure
    rank = next(n for n, text in enumerate(told) if text is not None)
    raise GroupError(f"rank {rank} could not begin, so no rank has a result: {told[rank]}")


def _difference(told: list[dict[str, str]]) -> str:
    for name in told[0]:
        texts = [said.get(name, "nothing") for said in told]
        other = next((n for n, text in enumerate(texts) if text != texts[0]), None)
        if other is not None:
            return (
                f"all ranks need the same {name}: rank 0 brought {texts[0]}, rank {other} brought {texts[other]}; no "
                "rank has a result"
            )
    return "all ranks need the same call; they brought different ones, and no rank has a result"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def ruled(rule: Rule) -> str:
    """A rule in words that differ where the rule does: as it prints, its fields, a digest of its tensors."""
    said, tensors = rule.outline
    fields = hashlib.blake2b(repr(said).encode(), digest_size=4).hexdigest()
    return f"{rule!r} (fields {fields}, tensors {digest(tensors)})"


def digest(tensors: Sequence[Tensor]) -> str:
    """A few letters that differ where a type, a shape or a number of the tensors does."""
    made = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        made.update(f"{tensor.dtype} {list(tensor.shape)} {_sum(tensor)}; ".encode())
    return made.hexdigest() if tensors else "none"


def _sum(tensor: Tensor) -> int:
    """Of every byte; a cyclic redundancy check is several times as fast as a cryptographic hash."""
    flat = tensor.detach().resolve_neg().reshape(-1).cpu().contiguous()
    return zlib.crc32(flat.view(torch.uint8).numpy().data) if flat.numel() else 0
