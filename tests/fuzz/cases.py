"""What a search draws: an attention as plain data, so that it can be written down before it runs, and read again."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Case = dict[str, Any]

LENGTHS = st.one_of(st.sampled_from([1, 2, 17, 63, 64, 65, 128, 129]), st.integers(1, 150))
DIMS = st.one_of(st.sampled_from([1, 8, 16, 64]), st.integers(1, 70))
SEEDS = st.integers(0, 999)
LAYOUTS = ["plain", "transposed", "sliced", "stepped", "shifted", "expanded"]
SPECIALS = ["nan", "inf", "-inf", "max", "min"]

PRODUCTS = ["dot", "dot by head", "dot negative", "general", "cosine", "gaussian"]
SCORES = [*PRODUCTS, *(f"softcap {name}" for name in PRODUCTS), "additive"]
PATTERNS = [
    *("everything", "causal", "window", "documents", "packed", "padding", "prefix", "global_tokens", "strided"),
    *("blocks", "random_blocks", "neighborhood", "axial", "edges", "mask", "sparse mask", "nothing"),
    *("per_head", "per_batch"),
]  # fmt: skip
BIASES = ["alibi", "relative", "t5", "keys", "edges", "tensor", "tensor by key", "tensor by row", "hiding tensor"]
NORMALIZERS = [
    *("softmax", "softmax", "softmax", "softmax", "softmax with a sink", "softmax with sinks"),
    *("sigmoid", "sigmoid by head", "relu", "sparsemax", "entmax15", "top_k"),
]  # fmt: skip


def _patterns(names: list[str]) -> st.SearchStrategy[list[Any]]:
    """`[name, seed]`, or `["&" | "|", left, right]`, or `["~", one]`."""
    single = st.tuples(st.sampled_from(names), SEEDS).map(list)
    return st.recursive(
        single,
        lambda inner: st.one_of(
            st.tuples(st.sampled_from(["&", "|"]), inner, inner).map(list), st.tuples(st.just("~"), inner).map(list)
        ),
        max_leaves=3,
    )


STARTS = st.one_of(st.none(), st.integers(0, 40), st.lists(st.integers(0, 40), min_size=8, max_size=8))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A well-formed attention."""
    kv_heads = draw(st.integers(1, 3))
    score = [draw(st.sampled_from([*["dot"] * 6, *SCORES])), draw(SEEDS)]
    scales, specials = [3.0, 3.0, 3.0, 0.0, 300.0, 1e-40], SPECIALS
    if "cosine" in score[0]:
        scales = [3.0, 0.0, 300.0]  # squares of smaller numbers are 0
    if "gaussian" in score[0]:
        scales, specials = [3.0, 0.0], ["nan", "inf", "-inf"]  # great numbers, hidden ones too, hide small distances
    special = draw(st.one_of(st.none(), st.none(), st.tuples(st.sampled_from(specials), st.integers(0, 3), SEEDS)))
    return {
        "batch": draw(st.sampled_from([[], [1], [2], [3], [2, 2]])),
        "kv_heads": kv_heads,
        "heads": kv_heads * draw(st.integers(1, 3)),
        "queries": draw(LENGTHS),
        "keys": draw(LENGTHS),
        "dim": draw(DIMS),
        "value_dim": draw(DIMS),
        "dtype": draw(st.sampled_from(["float32", "float32", "float64", "bfloat16", "float16"])),
        "layouts": draw(st.lists(st.sampled_from(LAYOUTS), min_size=4, max_size=4)),
        "score": score,
        "pattern": draw(st.one_of(st.none(), _patterns(PATTERNS))),
        "bias": draw(st.lists(st.tuples(st.sampled_from(BIASES), SEEDS).map(list), max_size=2)),
        "normalize": [draw(st.sampled_from(NORMALIZERS)), draw(SEEDS)],
        "query_start": draw(STARTS),
        "key_start": draw(st.one_of(st.just(0), STARTS.filter(lambda start: start is not None))),
        "dropout": draw(st.sampled_from([0.0, 0.0, 0.1, 0.9])),
        "seed": draw(st.integers(0, 2**64 - 1)),
        "scale": draw(st.sampled_from(scales)),
        "values": draw(st.sampled_from([1.0, 1.0, 1.0, 1e-40, 100.0])),
        "wanted": draw(st.integers(0, 15)),
        "numbers": draw(SEEDS),
        "threads": draw(st.integers(1, 3)),
        "special": special,
        "call": draw(st.sampled_from(["attend", "attend", "attend", "partial", "weights", "plan"])),
    }


@st.composite
def broken_cases(draw: st.DrawFn, faults: list[str]) -> Case:
    """A well-formed attention and what is to be broken in it."""
    case = draw(cases())
    case["faults"] = draw(st.lists(st.tuples(st.sampled_from(faults), SEEDS).map(list), min_size=1, max_size=2))
    case["special"] = None
    return case
