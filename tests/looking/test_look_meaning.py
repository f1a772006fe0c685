"""What `Look` says of weights that a reader can work out, in which shapes, in how many passes, and when it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import regard as rg

ENGINES = [None, "tiled"]
both = pytest.mark.parametrize("engine", ENGINES, ids=["best", "tiled"])


def flat(queries: int, keys: int) -> tuple[Tensor, Tensor]:
    """Queries and keys whose scores are all 0: every weight of a row is the same."""
    return torch.zeros(1, queries, 3), torch.ones(1, keys, 3)


def pointing(targets: list[int], keys: int) -> tuple[Tensor, Tensor]:
    """Query i is sure of key targets[i]."""
    return 100 * torch.eye(keys)[None, targets], torch.eye(keys)[None]


@both
def test_equal_weights(engine):
    """Four equal keys: entropy ln 4, four effective keys, each receives a quarter of every row."""
    seen = rg.look(*flat(3, 4), engine=engine, query_start=0)
    torch.testing.assert_close(seen.lse, torch.full((1, 3), math.log(4)))
    torch.testing.assert_close(seen.entropy(), torch.full((1, 3), math.log(4)))
    torch.testing.assert_close(seen.effective_keys(), torch.full((1, 3), 4.0))
    torch.testing.assert_close(seen.received(), torch.full((1, 4), 0.75))
    torch.testing.assert_close(seen.received(per_query=True), torch.full((1, 4), 0.25))
    top = seen.top(3)
    assert top.keys.tolist() == [[[0, 1, 2]] * 3]
    torch.testing.assert_close(top.uncovered, torch.full((1, 3), 0.25))
    distance = seen.distance()
    torch.testing.assert_close(distance.mean, torch.tensor([[1.5, 1.0, 1.0]]))
    torch.testing.assert_close(distance.before, torch.tensor([[0.75, 0.5, 0.25]]))  # at 0, at 1, at 2 and 3
    torch.testing.assert_close(distance.after, torch.tensor([[0.0, 0.75, 0.75]]))


@both
def test_a_sink_of_the_weight_of_a_key_takes_a_third_from_two(engine):
    seen = rg.look(*flat(1, 2), rg.softmax(sink=0.0), engine=engine)
    torch.testing.assert_close(seen.lse, torch.full((1, 1), math.log(3)))
    torch.testing.assert_close(seen.mass(), torch.full((1, 1), 2 / 3))
    torch.testing.assert_close(seen.entropy(), torch.full((1, 1), 2 / 3 * math.log(3)))
    torch.testing.assert_close(seen.effective_keys(), torch.full((1, 1), 2.0))
    torch.testing.assert_close(seen.top(1).uncovered, torch.full((1, 1), 1 / 3))


@both
def test_a_sink_that_takes_nearly_all_leaves_two_effective_keys(engine):
    seen = rg.look(*flat(1, 2), rg.softmax(sink=30.0), engine=engine)
    torch.testing.assert_close(seen.mass(), torch.full((1, 1), 2 * math.exp(-30.0)))
    torch.testing.assert_close(seen.effective_keys(), torch.full((1, 1), 2.0))


@both
def test_a_row_that_sees_no_key(engine):
    seen = rg.look(*flat(3, 2), rg.causal(), engine=engine, query_start=-1)
    assert seen.lse[0, 0] == -math.inf
    for one in (seen.mass(), seen.entropy(), seen.effective_keys(), seen.maximum(), seen.distance().mean):
        assert one[0, 0] == 0
    assert seen.top(2).keys.tolist() == [[[-1, -1], [0, -1], [0, 1]]]
    assert seen.head_scores().same.tolist() == [0.75]  # rows 1 and 2 count: 1 and ½


@both
def test_heads_with_one_habit(engine):
    ids = [4, 7, 8, 4, 7, 9, 4]  # 4 comes back at 3 and 6, 7 at 4

    def scores(targets: list[int]) -> dict[str, float]:
        seen = rg.look(*pointing(targets, 7), engine=engine)
        return {name: round(one.item(), 3) for name, one in seen.head_scores(ids)._asdict().items()}

    assert scores([0, 0, 1, 2, 3, 4, 5])["previous"] == 1
    assert scores([1, 2, 3, 4, 5, 6, 6])["next"] == 1
    assert scores([0, 1, 2, 3, 4, 5, 6])["same"] == 1
    assert scores([0, 0, 0, 0, 0, 0, 0]) | {"sink": 1.0, "local": 1.0} == scores([0] * 7)
    assert scores([6, 6, 6, 0, 1, 6, 3])["duplicate"] == 1
    assert scores([6, 6, 6, 1, 2, 6, 4])["induction"] == 1
    assert scores([6, 6, 6, 1, 2, 6, 0])["induction"] == 0.667


def test_only_tokens_tell_duplicates():
    scores = rg.look(*flat(2, 2)).head_scores()
    assert scores.duplicate is None
    assert scores.induction is None


@both
def test_a_needle_that_is_found_and_one_that_is_not(engine):
    seen = rg.look(*pointing([2, 4, 4], 5), engine=engine)
    mass, rank = seen.needle([0, 1, 2], [4, 3])
    torch.testing.assert_close(mass, torch.tensor([[0.0, 1.0, 1.0]]))
    assert rank.tolist() == [[1, 0, 0]]


@both
def test_segments_take_the_queries_from_their_positions(engine):
    cells = rg.look(*flat(2, 4), engine=engine).segments([0, 0, 1, 1])
    torch.testing.assert_close(cells.sum, torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]))
    assert cells.pairs.tolist() == [[[0, 0], [4, 4]]]
    torch.testing.assert_close(cells.mean, torch.tensor([[[0.0, 0.0], [0.25, 0.25]]]))


@both
def test_cells_of_one_pair_are_the_weights(engine):
    query, key = torch.randn(2, 7, 3), torch.randn(2, 11, 3)
    seen, weights = rg.look(query, key, rg.causal(), engine=engine), rg.weights(query, key, rg.causal())
    torch.testing.assert_close(seen.tile(size=11), weights)
    torch.testing.assert_close(seen.tile((2, 5), range(3, 9), size=256, pool="max"), weights[:, 2:5, 3:9])
    torch.testing.assert_close(seen.pyramid(4)[-1], weights.mean((1, 2), keepdim=True))
    torch.testing.assert_close(seen.pyramid(4, "max")[-1], weights.amax((1, 2), keepdim=True))


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (5, 2, 3)], ids=repr)
@both
def test_shapes_are_those_of_the_inputs(lead, engine):
    seen = rg.look(torch.randn(*lead, 7, 2), torch.randn(*lead, 11, 2), engine=engine)
    assert seen.lse.shape == seen.mass().shape == seen.share([1]).shape == (*lead, 7)
    assert seen.top(2).keys.shape == (*lead, 7, 2)
    assert seen.received().shape == (*lead, 11)
    assert seen.tile(size=5).shape == (*lead, 5, 5)
    assert seen.rows([3, 1]).shape == (*lead, 2, 11)
    assert seen.head_scores().previous.shape == lead
    assert seen.needle(0, 1).mass.shape == (*lead, 1)


@both
def test_a_mask_of_keys_for_each_batch_entry(engine):
    query, key = torch.randn(2, 3, 7, 2), torch.randn(2, 1, 11, 2)
    mask = torch.arange(11) < torch.tensor([[4], [9]])
    share = rg.look(query, key, engine=engine).share(mask)
    torch.testing.assert_close(share, (rg.weights(query, key) * mask[:, None, None]).sum(-1))
    by_index = rg.look(query, key, engine=engine).share(range(4))
    torch.testing.assert_close(by_index[0], share[0])


@pytest.mark.parametrize("queries, keys", [(0, 5), (5, 0)])
def test_nothing_to_see(queries, keys):
    seen = rg.look(torch.zeros(2, queries, 3), torch.zeros(2, keys, 3))
    assert seen.entropy().shape == (2, queries)
    assert seen.received().tolist() == [[0.0] * keys] * 2


@both
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_poison_in_hidden_keys_stays_there(poison, engine):
    query, key = torch.randn(1, 7, 3), torch.randn(1, 7, 3)
    clean = rg.look(query, key, rg.causal(), engine=engine)
    broken = key.clone()
    broken[:, 5] = poison
    seen = rg.look(query, broken, rg.causal(), engine=engine)
    for one, other in ((seen.entropy(), clean.entropy()), (seen.lse, clean.lse), (seen.share(0), clean.share(0))):
        torch.testing.assert_close(one[:, :5], other[:, :5])
    assert seen.lse[:, 6].isnan().all() or seen.lse[:, 6].abs().isinf().all()


# ------------------------------------------------------------------------------------------------------- passes


def products(ask) -> int:
    """Multiplications in matrix products."""
    with FlopCounterMode(display=False) as counter:
        ask()
    return counter.get_total_flops()


def test_one_pass_for_rows_and_one_for_columns():
    query, key = torch.randn(3, 67, 5), torch.randn(3, 71, 5)
    seen = rg.look(query, key, rg.causal(), engine="tiled")
    one = 2 * 3 * 67 * 71 * 5
    assert products(seen.entropy) == one
    for ask in (seen.effective_keys, seen.maximum, seen.mass, lambda: seen.lse, lambda: seen.top(8), seen.top):
        assert products(ask) == 0
    assert products(lambda: seen.top(9)) == one
    assert products(seen.received) == one
    assert products(seen.distance) == products(lambda: seen.received(per_query=True)) == 0
    assert products(lambda: seen.collect(shares=[[0], [1]], segments=[torch.arange(71) // 9], pyramid=8)) == one
    for ask in (lambda: seen.share(1), lambda: seen.segments(torch.arange(71) // 9), lambda: seen.pyramid(8)):
        assert products(ask) == 0
    assert products(lambda: seen.tile(size=8)) == products(lambda: seen.pyramid(8, "max")) == 0
    assert products(lambda: seen.share(2)) == one


def test_nothing_is_computed_before_it_is_asked_for():
    query, key = torch.randn(3, 67, 5), torch.randn(3, 71, 5)
    assert products(lambda: rg.look(query, key, rg.causal(), engine="tiled")) == 0


# ---------------------------------------------------------------------------------------------------- gradients

MEASURES = {
    "lse": lambda seen: seen.lse,
    "mass": lambda seen: seen.mass(),
    "entropy": lambda seen: seen.entropy(),
    "effective_keys": lambda seen: seen.effective_keys(),
    "maximum": lambda seen: seen.maximum(),
    "top": lambda seen: seen.top(2).uncovered,
    "received": lambda seen: seen.received(),
    "distance": lambda seen: torch.cat(seen.distance(), -1),
    "share": lambda seen: seen.share([1, 2]),
    "segments": lambda seen: seen.segments([0, 0, 1, 1, 2], [0, 0, 1]).mean,
    "tile": lambda seen: seen.tile(size=2),
    "pyramid": lambda seen: seen.pyramid(2)[-1],
    "rows": lambda seen: seen.rows([2, 0]),
    "head_scores": lambda seen: torch.stack(seen.head_scores([0, 1, 0, 1, 0])),
    "needle": lambda seen: seen.needle([1], [2]).mass,
}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("normalize", [rg.softmax(sink=0.5), rg.sigmoid(), rg.sparsemax()], ids=repr)
def test_gradients_on_request(measure, normalize):
    if measure == "lse" and normalize != rg.softmax(sink=0.5):
        return  # they have none, which `test_one_sentence` holds
    rule = rg.Rule(pattern=rg.causal(), normalize=normalize)

    def ask(query: Tensor, key: Tensor) -> Tensor:
        return MEASURES[measure](rg.look(query, key, rule, differentiable=True))

    query, key = (torch.randn(2, n, 3, dtype=torch.float64, requires_grad=True) for n in (3, 5))
    assert torch.autograd.gradcheck(ask, (query, key))


def test_no_gradients_unless_asked_for():
    query, key = torch.randn(2, 7, 3, requires_grad=True), torch.randn(2, 11, 3, requires_grad=True)
    for engine in ENGINES:
        seen = rg.look(query, key, engine=engine)
        assert not any(one.requires_grad for one in (seen.lse, seen.received(), seen.rows([1]), seen.tile(size=2)))


# ------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "ask, said",
    [
        (lambda s: s.top(0), "k must be an integer from 1 to 5, got 0"),
        (lambda s: s.top(6), "k must be an integer from 1 to 5, got 6"),
        (lambda s: s.rows([3]), "rows must be integers from 0 to 2, got 3"),
        (lambda s: s.rows([1.5]), "rows must be integers, got torch.float32"),
        (lambda s: s.rows("first"), "rows must be integers, in a list or a tensor, got str"),
        (lambda s: s.share([5]), "keys must be integers from 0 to 4, got 5"),
        (lambda s: s.share(torch.ones(4, dtype=torch.bool)), r"a mask of keys must be \[5\] or \[5\], got \[4\]"),
        (lambda s: s.segments([0, 1]), r"segments of keys must be \[5\]"),
        (lambda s: s.segments([0, 1, 2, 3, 4], [0]), r"segments of queries must be \[3\]"),
        (lambda s: s.segments([0, 1, 2, 3, -2]), "segments of keys must be integers from 0, or −1 for none, got -2"),
        (
            lambda s: s.segments([0, 1, 2, 3, 5]),
            "segments of keys must be numbered from 0 without gaps, so below 5, got 5",
        ),
        (lambda s: s.segments([0] * 5, [10**12, 0, 0]), "segments of queries must be numbered .* return_inverse"),
        (lambda s: s.tile((2, 4)), r"rows must be \(first, end\) with 0 ≤ first < end ≤ 3, got \(2, 4\)"),
        (lambda s: s.tile(columns=(4, 4)), "columns must be"),
        (lambda s: s.tile(columns=range(0, 4, 2)), "got a range of step 2"),
        (lambda s: s.tile(size=0), "size must be an integer from 1"),
        (lambda s: s.tile(pool="sum"), 'pool must be "mean" or "max", got \'sum\''),
        (lambda s: s.head_scores([1, 2]), r"tokens must be \[5\]"),
        (lambda s: s.head_scores(sink=5), "sink must be integers from 0 to 4, got 5"),
        (lambda s: s.needle([0], [9]), "key must be integers from 0 to 4, got 9"),
    ],
)
@both
def test_one_sentence(ask, said, engine):
    with pytest.raises(rg.InputError, match=said):
        ask(rg.look(*flat(3, 5), engine=engine))


@pytest.mark.parametrize("normalize", [rg.sigmoid(), rg.relu(), rg.sparsemax(), rg.top_k(2)], ids=repr)
def test_no_lse_but_of_softmax(normalize):
    with pytest.raises(rg.InputError, match="has no log-sum-exp: only softmax"):
        rg.look(*flat(3, 5), normalize).lse  # noqa: B018


@pytest.mark.parametrize(
    "options, error, said",
    [
        ({"engine": "sdpa"}, rg.InputError, 'engine must be "native", "tiled" or None'),
        ({"engine": "native", "rule": rg.sigmoid()}, rg.EngineError, "by their lse, which sigmoid has not"),
        ({"engine": "native", "rule": rg.relu()}, rg.EngineError, "normalizers are softmax and sigmoid"),
        ({"engine": "native", "differentiable": True}, rg.EngineError, "have no gradients"),
        ({"top": 0}, rg.InputError, "top must be an integer ≥ 1"),
        ({"within": -1}, rg.InputError, "within must be an integer ≥ 0"),
        ({"key_start": -3}, rg.InputError, "key_start must be ≥ 0"),
    ],
)
def test_what_look_refuses(options, error, said):
    with pytest.raises(error, match=said):
        rg.look(*flat(3, 5), **options)


def test_positions_without_keys_have_no_segment():
    with pytest.raises(rg.InputError, match=r"give segments\(keys, queries\)"):
        rg.look(*flat(3, 5), query_start=4).segments([0, 1, 2, 3, 4])


def test_the_greatest_of_a_cell_has_no_gradient():
    with pytest.raises(rg.InputError, match='pool="max" has no gradient'):
        rg.look(*flat(3, 5), differentiable=True).tile(pool="max")


def test_transforms_are_for_weights():
    with pytest.raises(rg.InputError, match="the rows you need"):
        torch.func.grad(lambda query: rg.look(query, flat(3, 5)[1]).entropy().sum())(flat(3, 5)[0])
