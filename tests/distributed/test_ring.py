"""Attention over 1, 2, 3, 4 and 8 processes on loopback, beside one process: exact, balanced, counted.

One process a number of ranks imports everything and forks the ranks, which run all programs in turn.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from programs import ALONE, MERGED, PAIRS
from ranks import run

import regard as rg
import regard.distributed
from regard.distributed.agreement import ruled
from regard.distributed.layers import Context
from regard.engines.ring import Sharding, contiguous, zigzag
from test_memory import MEGABYTE, linux

ASKED = {
    1: ["battery:alone", "shapes", "dropped"],
    2: ["battery:0/9", "battery:4/9:all-gather", "shapes", "looked"],
    3: ["poisoned", "battery:alone", "battery:1/9", "battery:2/9:ulysses", "shapes", "dropped", "looked",
        "alone_on_own_keys", "refusals",
        "halves:float32", "halves:bfloat16", "halves:float16"],
    4: ["battery:2/9", "battery:5/9:all-gather", "counts", "dropped", "trained"],
    8: ["battery:3/29", "shapes", "counts"],
}  # fmt: skip
TOLERANCE = 1e-12


@pytest.fixture(scope="session")
def found(tmp_path_factory) -> Callable[[int], list[dict[str, Any]]]:
    """What all programs of a number of ranks say, by rank; run once, by the first worker that asks."""
    own = tmp_path_factory.getbasetemp()
    folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    known: dict[int, list[dict[str, Any]]] = {}

    def ask(world: int) -> list[dict[str, Any]]:
        if world not in known:
            path = folder / f"ranks-{world}.json"
            with (folder / f"ranks-{world}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists():
                    path.write_text(json.dumps([line["found"] for line in run(world, "every", *ASKED[world])]))
            known[world] = json.loads(path.read_text())
        return known[world]

    return ask


def exact(world: int) -> list[str]:
    return [
        name for name in ASKED[world] if name.split(":")[0] in ("battery", "shapes", "dropped", "looked", "trained")
    ]


@pytest.mark.parametrize("world, name", [(w, n) for w in ASKED for n in exact(w)])
def test_equals_one_process(found, world, name):
    """Outputs, gradients and statistics in float64, on every rank."""
    for said in found(world):
        errors = said[name]["errors"]
        assert len(errors) > said[name].get("rules", 0) / 2
        assert not {rule: error for rule, error in errors.items() if not error <= TOLERANCE}


def test_the_measure_can_fail(found):
    """Ranks that attend to their own keys alone are far off."""
    assert found(3)[0]["alone_on_own_keys"]["errors"]["own keys"] > 0.1


def test_which_rules_merge_is_found():
    assert set(MERGED) == {"softmax", "sigmoid", "relu"}
    assert len(ALONE) > 25
    assert len(PAIRS) > 100


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_error_against_float64(found, dtype):
    """Of the output at most 2×, of gradients at most 3× that of the formula in the same dtype, plus the floor."""
    for name, (error, allowed) in found(3)[0][f"halves:{dtype}"]["errors"].items():
        assert error <= allowed, (name, error, allowed)


@pytest.mark.battery
@pytest.mark.parametrize("layout", ["ring", "all-gather"])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 8])
def test_every_pair_of_terms(world, layout):
    for line in run(world, "battery", "pairs", layout, seconds=300, limit=3000):
        assert not {rule: error for rule, error in line["errors"].items() if not error <= TOLERANCE}


def test_what_hidden_pairs_hold_reaches_nothing(found):
    said = found(3)[0]["poisoned"]
    assert said["same"] == [True] * 4
    assert all(0 < share < 0.4 for share in said["hurt"])


def test_a_step_of_training_moves_the_model(found):
    said = found(4)[0]["trained"]
    assert said["moved"] > 1e-2
    assert "give the one along which the sequence lies" in said["two axes"]


# ------------------------------------------------------------------------------------------------ what is counted


@pytest.mark.parametrize("world", [4, 8])
def test_zigzag_balances_causal_work(found, world):
    """One run a rank, in a line, leaves the first ranks idle: half of the work at most is shared."""
    said = found(world)[0]["counts"]
    assert said["balance"] >= 0.95
    assert said["in a line"] < 0.6


@pytest.mark.parametrize("world", [4, 8])
def test_a_window_sends_its_own_width(found, world):
    """A rank has two chunks; before each lie the 64 keys that its first query sees, whatever the length."""
    for said in (line["counts"] for line in found(world)):
        keys, sent = said["window"]
        assert max(keys) <= 2 * 64
        assert max(sent) <= 2 * 64 * (4 + 4) * 4
        assert set(said["dense"]) == {said["length"] * (world - 1) // world}


@pytest.mark.parametrize("world", [4, 8])
def test_messages_under_way_are_a_share_of_the_whole(found, world):
    """One step's keys and values leave while as many come, of which the whole has `world` times as many."""
    for said in (line["counts"] for line in found(world)):
        whole = said["length"] * (4 + 4) * 4
        peak, sent = said["held"]["dense"]
        assert peak == 2 * whole // world
        assert sent == whole // world * (world - 1)


@linux
def test_memory_of_a_rank_is_its_share():
    """Twice the ranks, half the bytes each; all queries, keys, values and gradients are 48 MiB, the square 2 GiB."""
    two, four = (max(line["bytes"] for line in run(world, "resident", "16384")) for world in (2, 4))
    assert four < 0.65 * two
    assert two < 90 * MEGABYTE


# ---------------------------------------------------------------------------------------------- what goes wrong

TOLD = {
    "rule": "all ranks need the same rule: rank 0 brought softmax( dot/√d | window(3) )",
    "numbers": "all ranks need the same rule",
    "shape": "all ranks need the same shapes of query, key and value",
    "dtype": "rank 0 brought torch.float64, rank 1 brought torch.float32",
    "seed": "all ranks need the same dropout and seed",
    "dropout": "all ranks need the same dropout and seed",
    "query_start": "query_start must be an int",
    "sets of keys": "all ranks need the same call",
    "unshard": "all ranks need the same dtype",
    "rows": "all ranks need the same shape but for positions",
    "gradients": "all ranks need the same wish for gradients",
    "one fails": "key and value need as many positions, got 6 and 1",
    "layout": "all ranks need the same setup",
    "lengths": "query has [5, 3, 4] positions by rank, zigzag of 12 has [4, 4, 4]",
    "mask": "mask's query axis holds positions 0…2",
    "sparsemax": "one threshold for the whole row",
    "entmax15": "one threshold for the whole row",
    "top_k": "can't be computed over several ranks",
    "hard": "can't be computed over several ranks",
}


@pytest.mark.parametrize("name", TOLD)
def test_every_rank_is_told(found, name):
    for said in found(3):
        assert TOLD[name] in said["refusals"]["said"][name]


def test_every_refusal_is_expected_and_leaves_the_ranks_together(found):
    for said in found(3):
        assert set(said["refusals"]["said"]) == set(TOLD)
        assert said["refusals"]["after"] == "returned Tensor"
        assert "unshard query and key" in said["looked"]["refused"]


@pytest.mark.parametrize("how, when", [("dies", "before"), ("dies", "middle"), ("stalls", "backward")])
def test_a_rank_is_lost(how, when):
    """The others have an error and no numbers, within the group's timeout, though they need none of its keys."""
    *others, last = run(3, "lost", how, when, seconds=5)
    assert last["died"] == -9
    for said in others:
        assert said["said"].startswith("GroupError: rank ")
        assert "another rank has died, or has stalled" in said["said"]
        assert said["seconds"] < 3 * 5


def test_a_rank_is_lost_at_the_end_of_ulysses():
    """Its messages have all come, and yet no other rank has gradients."""
    *others, last = run(3, "lost_by_heads", seconds=5)
    assert last["died"] == -9
    for said in others:
        assert "another rank has died" in said["said"]


def test_every_number_of_a_rule_is_compared():
    one = torch.zeros(400, 400, dtype=torch.bool)
    other = one.clone()
    other[0, 1] = True
    assert ruled(rg.Rule(pattern=rg.mask(one))) == ruled(rg.Rule(pattern=rg.mask(one.clone())))
    assert ruled(rg.Rule(pattern=rg.mask(one))) != ruled(rg.Rule(pattern=rg.mask(other)))


@pytest.mark.parametrize("said", [{"query_start": 3}, {"key_start": 2}, {"key_start": torch.tensor([1])}])
def test_a_layer_over_ranks_drops_no_position(said):
    layer = rg.nn.MultiHead(4, 2, rule=rg.causal())
    layer.across = Context(None, regard.distributed.Setup())
    with pytest.raises(rg.InputError, match=f"takes no {next(iter(said))}"):
        layer(torch.zeros(1, 3, 4), **said)


# ----------------------------------------------------------------------------------------------------- shardings


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [0, 1, 7, 41])
def test_zigzag_has_every_position_once(length, ranks):
    made = zigzag(length, ranks)
    places = sorted(p for runs in made.runs for a, b in runs for p in range(a, b))
    assert places == list(range(length))
    assert made.length == length
    assert max(made.lengths) - min(made.lengths) <= 2


def test_zigzag_by_hand():
    assert zigzag(12, 3).runs == (((0, 2), (10, 12)), ((2, 4), (8, 10)), ((4, 8),))
    assert [zigzag(12, 3).row(0, p) for p in (1, 10)] == [1, 2]
    assert contiguous((2, 0, 3)).runs == (((0, 2),), (), ((2, 5),))


def test_a_sharding_must_have_every_position_once():
    with pytest.raises(rg.InputError, match="exactly one rank"):
        Sharding((((0, 3),), ((2, 5),)))
    with pytest.raises(rg.InputError, match="does not stand on rank 0"):
        zigzag(12, 3).row(0, 5)


def test_without_a_group():
    with pytest.raises(rg.InputError, match="init_process_group"):
        regard.distributed.shard(torch.zeros(3, 2))
