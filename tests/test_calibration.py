"""The time that a plan predicts: by arithmetic, from rates of this machine or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import regard as rg
from regard.bench.calibrate import solved
from regard.calibration import Calibration, Rate, Work, counted, load, processor, save, tile_counts
from regard.problem import pose
from regard.terms.pattern import Bits

RATE = Rate("tiled", "float32", torch.get_num_threads(), 1.0, 2.0, 3.0, 5.0, 7.0, 0.5, 11.0, 13.0, 17.0)
WORK = Work(pairs=2, partial=1, bits=1, moved=2, dims=4, numbers=3, listed=2, bytes=34, few=False)
HERE = Calibration(processor(), (RATE,))


def test_the_model_by_hand() -> None:
    """1 + 2·2 + 2·4·3 + 1·5 + 1·7 + 2·0.5 + 3·11 + 2·13 = 101; with few queries 1 + 34/17 = 3."""
    assert RATE.seconds(WORK) == 101
    assert RATE.seconds(replace(WORK, few=True)) == 3


def tensors(queries: int, keys: int | None = None, heads: int = 2) -> tuple[torch.Tensor, ...]:
    keys = queries if keys is None else keys
    return torch.zeros(3, heads, queries, 5), torch.zeros(3, 1, keys, 5), torch.zeros(3, 1, keys, 7)


def counts(rule: object, *inputs: torch.Tensor) -> tuple[int, int, int]:
    problem = pose(*inputs, rule, query_start=0)  # type: ignore[arg-type]
    assert problem.ranges is not None
    return tile_counts(problem.ranges, problem.batch, problem.heads, problem.queries, problem.keys)


def test_tiles_by_hand() -> None:
    tile = 64 * 64
    assert counts(rg.causal(), *tensors(128)) == (6 * 3 * tile, 6 * 2 * tile, 0)
    assert counts(rg.window(64), *tensors(192)) == (6 * 5 * tile, 6 * 5 * tile, 0)
    assert counts(rg.documents([64, 128]), *tensors(192)) == (6 * 5 * tile, 0, 0)
    assert counts(rg.per_head([rg.causal(), rg.everything()]), *tensors(128)) == (3 * 7 * tile, 3 * 2 * tile, 0)
    assert counts(rg.everything(), *tensors(65, 67)) == (6 * 65 * 67, 0, 0)
    assert counts(~rg.everything(), *tensors(65, 67)) == (0, 0, 0)


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("block", [1, 61])
def test_tiles_of_any_pattern(share: float, block: int) -> None:
    """Against the dense mask; blocks of 61 become ranges, single pairs become bits."""
    shown = (torch.rand(199 // block + 1, 211 // block + 1) <= share).repeat_interleave(block, 0)
    shown = shown.repeat_interleave(block, 1)[:199, :211]
    found = counts(rg.mask(shown), *tensors(199, 211))
    lists = pose(*tensors(199, 211), rg.mask(shown), query_start=0).ranges
    is_bits = isinstance(lists.forms[0], Bits)
    tiles = [part for rows in shown.split(64) for part in rows.split(64, 1)]
    pairs = 6 * sum(tile.numel() for tile in tiles if tile.any())
    partial = 6 * sum(tile.numel() for tile in tiles if tile.any() and not tile.all())
    assert found == (pairs, partial, partial * is_bits)


def test_what_is_counted() -> None:
    made = counted(pose(*tensors(65, 67), None), "native")
    numbers = 3 * (2 * 65 * 5 + 67 * 5 + 67 * 7 + 2 * 65 * 7)
    assert made == Work(6 * 65 * 67, 0, 0, 0, 12, numbers, 0, 4 * numbers, False)
    assert counted(pose(*tensors(7, 67), None), "native").few, "7 queries of 2 heads a key head are 14 rows"
    assert not counted(pose(*tensors(8, 67), None), "native").few
    problem = pose(*tensors(130), rg.causal())
    tiled = counted(problem, "tiled")
    assert tiled.pairs == tiled.partial == 6 * (128 * 128 + 2 * 130), "128 rows see 128 keys, the other two see 130"
    assert tiled.listed == problem.ranges.nbytes


@pytest.mark.parametrize("rule", [rg.alibi(), rg.softcap(rg.dot(), 2.0), rg.sigmoid()], ids=repr)
def test_what_moves_scores_is_counted(rule: object) -> None:
    """Half a second for each of the 3 · 2 · 65 · 67 pairs."""
    inputs = tensors(65, 67)
    made, plain = (rg.plan(*inputs, each, engine="tiled", calibration=HERE).seconds for each in (rule, None))
    assert made == plain + 3 * 2 * 65 * 67 * 0.5


def test_a_plan_predicts() -> None:
    inputs = tensors(65, 67)
    made = rg.plan(*inputs, rg.causal(), engine="tiled", calibration=HERE)
    assert made.seconds == RATE.seconds(counted(pose(*inputs, rg.causal()), "tiled"))
    assert f"time     {1000 * made.seconds:.3g} ms forward, by the calibration" in str(made)
    plain = rg.plan(*inputs, rg.causal(), engine="tiled")
    assert plain.seconds is None and plain.untimed == "" and "time " not in str(plain)


@pytest.mark.parametrize(
    ("rule", "engine", "dtype", "why"),
    [
        (None, "sdpa", torch.float32, "the calibration has no sdpa in float32 with"),
        (None, "tiled", torch.float64, "the calibration has no tiled in float64 with"),
        (rg.sparsemax(), "tiled", torch.float32, "of softmax and sigmoid over dot products"),
        (rg.cosine(), "tiled", torch.float32, "of softmax and sigmoid over dot products"),
        (rg.softcap(rg.cosine(), 2.0), "tiled", torch.float32, "of softmax and sigmoid over dot products"),
    ],
)
def test_what_a_calibration_can_not_tell(rule: object, engine: str, dtype: torch.dtype, why: str) -> None:
    inputs = [tensor.to(dtype) for tensor in tensors(8)]
    made = rg.plan(*inputs, rule, engine=engine, calibration=HERE)  # type: ignore[arg-type]
    assert made.seconds is None and why in made.untimed
    assert why in " ".join(str(made).split())


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save(HERE, tmp_path / "rates.json")
    assert load(tmp_path / "rates.json") == HERE
    made = rg.plan(*tensors(65), engine="tiled", calibration=tmp_path / "rates.json")
    assert made.seconds == rg.plan(*tensors(65), engine="tiled", calibration=HERE).seconds is not None


def test_another_machine(tmp_path: Path) -> None:
    save(replace(HERE, processor="Abacus 5"), tmp_path / "rates.json")
    with pytest.raises(rg.InputError, match=r"another machine \(Abacus 5\), this one is .*; measure here with: regard"):
        rg.plan(*tensors(8), calibration=tmp_path / "rates.json")


GOOD = {"format": 2, "processor": "Abacus 5", "rates": [vars(RATE)]}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "is malformed"),
        ("{}", r"is malformed \(KeyError\('format'\)\)"),
        (json.dumps({**GOOD, "format": 99}), "has format 99, this regard reads 2"),
        (json.dumps({**GOOD, "rates": [{"engine": "tiled"}]}), r"is malformed \(KeyError\('dtype'\)\)"),
        (json.dumps({**GOOD, "rates": [{**vars(RATE), "pair": "fast"}]}), "is malformed"),
        (json.dumps({**GOOD, "rates": [{**vars(RATE), "pair": -1}]}), "not a finite number of at least 0"),
        (json.dumps({**GOOD, "rates": [{**vars(RATE), "read": 0}]}), "is malformed"),
        (json.dumps({**GOOD, "rates": [{**vars(RATE), "pair": float("nan")}]}), "is malformed"),
    ],
)
def test_a_file_that_is_none(document: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    path.write_text(json.dumps(GOOD))
    assert load(path).rates == (RATE,)
    path.write_text(document)
    with pytest.raises(rg.InputError, match=said):
        load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(rg.InputError, match="can't be read: No such file"):
        rg.plan(*tensors(8), calibration=tmp_path / "none.json")


AMOUNTS = (10**6, 10**6, 10**6, 10**6, 16, 10**5, 10**4)


def test_rates_are_found_again() -> None:
    """Times made up from known rates, which differ as much as real ones do, give these rates back."""
    known = Rate("native", "float32", 2, 1e-4, 3e-10, 1.5e-11, 1e-9, 4e-9, 5e-10, 8e-10, 2e-9, 3e9)
    drawn = np.random.default_rng(0)
    works = {name: Work(*(int(n) for n in drawn.integers(1, 9, 7) * AMOUNTS), 10**8, False) for name in "abcdefghi"}
    works |= {"nothing": Work(0, 0, 0, 0, 1, 0, 0, 0, False), "read": Work(1, 0, 0, 0, 1, 1, 0, 3 * 10**8, True)}
    times = {name: known.seconds(work) for name, work in works.items()}
    found = solved("native", "float32", 2, works, times)
    for name, value in vars(known).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-3) if isinstance(value, float) else True, name
    assert times["read"] == pytest.approx(1e-4 + 0.1)


def test_no_rate_is_negative() -> None:
    works = {"a": WORK, "b": replace(WORK, numbers=9), "nothing": WORK, "read": WORK}
    found = solved("native", "float32", 1, works, {"a": 3.0, "b": 2.0, "nothing": 1.0, "read": 2.0})
    assert min(value for value in vars(found).values() if isinstance(value, float)) >= 0
