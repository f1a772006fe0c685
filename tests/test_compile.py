"""`torch.compile` and `torch.export`: one graph, compiled once, with the results and the errors of eager calls."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard as rg
from regard.terms.spelling import spell

HEADS, KV_HEADS, DIM = 6, 2, 7


@pytest.fixture(autouse=True)
def nothing_compiled() -> None:
    torch._dynamo.reset()


class Graphs(list[torch.fx.GraphModule]):
    """A backend that runs graphs as they are and keeps them: as many as were compiled."""

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        self.append(graph)
        return graph

    def compile(self, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        return torch.compile(function, backend=self, fullgraph=True, **options)


def inputs(queries: int = 11, keys: int = 13, grad: bool = False) -> list[Tensor]:
    shapes = (2, HEADS, queries, DIM), (2, KV_HEADS, keys, DIM), (2, KV_HEADS, keys, 5)
    return [(torch.randn(shape) * (3 if n == 0 else 1)).requires_grad_(grad) for n, shape in enumerate(shapes)]


def gradients(out: Tensor, wanted: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(out.sin().sum(), wanted)


def close(got: Any, want: Any) -> None:
    torch.testing.assert_close(got, want)


# ------------------------------------------------------------------------------------------- compiled once


def test_one_graph_with_one_operator() -> None:
    graphs = Graphs()
    graphs.compile(lambda *x: rg.attend(*x, rg.causal() & rg.window(5)))(*inputs())
    assert [str(node.target) for node in graphs[0].graph.nodes].count("regard.attend") == 1


def test_new_offsets_compile_nothing() -> None:
    graphs, x = Graphs(), inputs()
    rule = rg.causal() & rg.window(5)

    def run(query: Tensor, key: Tensor, value: Tensor, first: Any, begin: Any) -> Tensor:
        return rg.attend(query, key, value, rule, query_start=first, key_start=begin)

    numbers, tensors = graphs.compile(run, dynamic=True), graphs.compile(run)
    for first, begin in ((4, 2), (5, 3), (17, 9), (40, 30)):
        close(numbers(*x, first, begin), run(*x, first, begin))
    assert len(graphs) == 1
    for first, begin in ((0, 0), (1, 0), (17, 9), (40, 30)):
        close(tensors(*x, torch.tensor(first), torch.tensor(begin)), run(*x, first, begin))
    assert len(graphs) == 2
    numbers(*(t.double() for t in x), 4, 2)
    assert len(graphs) == 3, "a backend that counts sees what must be compiled anew"


def test_new_lengths_compile_nothing() -> None:
    graphs = Graphs()
    rule = rg.Rule(pattern=rg.causal() & rg.window(3), bias=rg.alibi(), normalize=rg.softmax(0.5))
    run = graphs.compile(lambda *x: rg.attend(*x, rule))
    for queries, keys in ((8, 9), (3, 11), (14, 14), (23, 29)):
        x = inputs(queries, keys, grad=True)
        for tensor in x:
            torch._dynamo.mark_dynamic(tensor, 2)
        got, want = run(*x), rg.attend(*x, rule)
        close(got, want)
        close(gradients(got, x), gradients(want, x))
    assert len(graphs) == 1


def test_new_numbers_tensors_and_seeds_of_a_rule_compile_nothing() -> None:
    graphs, x = Graphs(), inputs()

    def run(query: Tensor, key: Tensor, value: Tensor, size: int, table: Tensor, lengths: Tensor) -> Tensor:
        rule = rg.Rule(pattern=rg.window(size) | rg.prefix(size + 1) | rg.padding(lengths), bias=rg.relative(table))
        return rg.attend(query, key, value, rule, dropout=0.25, seed=size + 2)

    compiled = graphs.compile(run, dynamic=True)
    for size in (3, 4, 9):
        given = size, torch.randn(HEADS, 9), torch.tensor([size, 2])
        close(compiled(*x, *given), run(*x, *given))
    assert len(graphs) == 1


def test_new_documents_compile_nothing() -> None:
    graphs = Graphs()
    run = graphs.compile(lambda q, k, v, offsets: rg.varlen(q, k, v, offsets, rule=rg.causal()), dynamic=True)
    x = [t[0] for t in inputs(13)]
    for offsets in ([0, 5, 13], [0, 2, 11], [0, 13, 13]):
        marks = torch.tensor([*offsets[:2], 13])
        close(run(*x, marks), rg.varlen(*x, marks, rule=rg.causal()))
    assert len(graphs) == 1


# --------------------------------------------------------------------------------------------- like eager


def test_inductor_forward_and_backward() -> None:
    sink = torch.randn(HEADS, requires_grad=True)
    rule = rg.Rule(pattern=rg.causal(), normalize=rg.softmax(sink))

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return rg.attend(query * 2, key, value, rule).cos()

    x = inputs(grad=True)
    got, want = torch.compile(run, fullgraph=True)(*x), run(*x)
    close(got, want)
    close(gradients(got, [*x, sink]), gradients(want, [*x, sink]))


@pytest.mark.parametrize("engine", ["native", "tiled", "sdpa", "reference"])
def test_the_gradient_is_the_engines_own(engine: str) -> None:
    """Bit for bit, also where the upstream gradient holds NaN and the fallback takes over."""
    x = inputs(13, grad=True)
    run = torch.compile(lambda *x: rg.attend(*x, rg.causal(), engine=engine), backend="aot_eager", fullgraph=True)
    got, want = run(*x), rg.attend(*x, rg.causal(), engine=engine)
    assert torch.equal(got, want)
    upstream = torch.randn_like(want)
    for poison in (1.0, float("nan")):
        upstream[0, 0, 3] = poison
        found, wanted = (torch.autograd.grad(out, x, upstream, retain_graph=True) for out in (got, want))
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_dropout_draws_its_seed_as_eagerly() -> None:
    x = inputs(grad=True)

    def run(*x: Tensor) -> Tensor:
        return rg.attend(*x, rg.causal(), dropout=0.3)

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    found = []
    for function in (compiled, run):
        torch.manual_seed(5)
        out = function(*x)
        found.append((out, *gradients(out, x)))
    close(*found)
    assert not torch.equal(compiled(*x), compiled(*x)), "a new seed for every call"


def test_parts_and_their_merger() -> None:
    sink = torch.randn(HEADS, requires_grad=True)
    x = inputs(grad=True)

    def run(query: Tensor, key: Tensor, value: Tensor) -> tuple[rg.Partial, Tensor]:
        rule = rg.Rule(pattern=rg.causal(), normalize=rg.softmax(sink))
        left = rg.partial(query, key[..., :5, :], value[..., :5, :], rule, query_start=2)
        right = rg.partial(query, key[..., 5:, :], value[..., 5:, :], rule, query_start=2, key_start=5)
        return left, rg.merge(left, right).out

    (left, out), (same, want) = torch.compile(run, backend="aot_eager", fullgraph=True)(*x), run(*x)
    assert repr(left) == repr(same)
    close((left.out, left.lse, out), (same.out, same.lse, want))
    close(gradients(out, [*x, sink]), gradients(want, [*x, sink]))
    close(out, rg.attend(*x, rg.Rule(pattern=rg.causal(), normalize=rg.softmax(sink))))


@pytest.mark.parametrize("axes", [2, 3, 4, 5])
def test_any_number_of_axes(axes: int) -> None:
    query, key, value = inputs()
    cut = {2: lambda t: t[0, 0], 3: lambda t: t[0], 4: lambda t: t, 5: lambda t: t[None]}[axes]
    x = [cut(query), cut(key) if axes < 5 else key, cut(value)]
    rule = rg.Rule(pattern=rg.causal(), normalize=rg.softmax(torch.tensor(0.5)))
    close(torch.compile(lambda *x: rg.attend(*x, rule), backend="aot_eager", fullgraph=True)(*x), rg.attend(*x, rule))


def test_autocast_inside_and_around() -> None:
    x = inputs()

    def inside(*x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return rg.attend(*x, rg.causal())

    want = inside(*x)
    assert want.dtype == torch.bfloat16
    for backend in ("eager", "aot_eager"):
        close(torch.compile(inside, backend=backend, fullgraph=True)(*x), want)
    around = torch.compile(lambda *x: rg.attend(*x, rg.causal()), backend="aot_eager", fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16):
        close(around(*x), want)
    assert around(*x).dtype == torch.float32


def test_the_drop_in() -> None:
    x, seen = inputs(), torch.rand(11, 13) > 0.3
    for options in ({"attn_mask": seen}, {"attn_mask": seen.float()}, {"is_causal": True}, {"dropout_p": 1.0}):
        run = lambda *x, options=options: rg.scaled_dot_product_attention(*x, enable_gqa=True, **options)  # noqa: E731
        close(torch.compile(run, backend="eager", fullgraph=True)(*x), run(*x))


# ------------------------------------------------------------------------------------------------- export


class Layer(nn.Module):
    """Learned tensors, and a rule that is written from them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(HEADS, 9))
        self.sink = nn.Parameter(torch.randn(HEADS))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        rule = rg.Rule(pattern=rg.causal(), bias=rg.relative(self.table), normalize=rg.softmax(self.sink))
        return rg.attend(query, key, value, rule)


def test_a_layer_learns_when_compiled() -> None:
    layer, x = Layer(), inputs(grad=True)
    wanted = [*x, *layer.parameters()]
    got, want = torch.compile(layer, backend="aot_eager", fullgraph=True)(*x), layer(*x)
    close(gradients(got, wanted), gradients(want, wanted))


@pytest.mark.parametrize("strict", [True, False])
def test_export_saved_and_loaded(strict: bool) -> None:
    layer, length = Layer(), torch.export.Dim("keys", min=2, max=1000)
    exported = torch.export.export(layer, tuple(inputs()), dynamic_shapes=({}, {2: length}, {2: length}), strict=strict)
    assert set(exported.state_dict) == {"table", "sink"}
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    again = torch.export.load(file).module()
    for keys in (13, 17):
        x = inputs(keys=keys, grad=True)
        close(again(*x), layer(*x))
        close(gradients(again(*x), x), gradients(layer(*x), x))


def test_an_exported_graph_has_second_derivatives() -> None:
    layer, x = Layer().double(), [t.detach().double().requires_grad_() for t in inputs(grad=True)]
    exported = torch.export.export(layer, tuple(t.detach() for t in x)).module()

    def second(run: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(run(*x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), x)

    close(second(exported), second(layer))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_operators_keep_pytorchs_rules(dtype: torch.dtype) -> None:
    rule = rg.Rule(pattern=rg.causal() & rg.window(4), bias=rg.relative(torch.randn(HEADS, 9)))
    text, leaves, integers = spell(rule)
    x = [t.to(dtype).requires_grad_() for t in inputs()]
    learned = [t.requires_grad_() for t in leaves]
    rest = (integers, text, torch.tensor(4), torch.tensor(0), 0.0, None, None, True)
    torch.library.opcheck(torch.ops.regard.attend.default, (*x, learned, *rest))
    with torch.no_grad():
        results = torch.ops.regard.attend(*x, learned, *rest)
    given = (torch.randn_like(results[0]), None, *results, [True, False, True, True])
    plain = [t.detach() for t in x]
    torch.library.opcheck(
        torch.ops.regard.attend_backward.default, (*given, *plain, [t.detach() for t in learned], *rest)
    )


# ------------------------------------------------------------------------------------------------- errors


def test_inputs_that_do_not_fit_are_told_apart_where_the_graph_runs() -> None:
    query, key, value = inputs()
    bad = {
        "key and value need as many positions, got 13 and 12": (query, key, value[..., 1:, :]),
        "query is torch.int32|query must be float64.*got torch.int32": (query.int(), key, value),
        "value is torch.float64, query torch.float32": (query, key, value.double()),
        r"leading dimensions.*\[3\], \[2\], \[2\]": (query[:1].expand(3, -1, -1, -1), key, value),
        "one dim, got 7 and 6": (query, key[..., 1:], value),
    }
    for says, given in bad.items():
        with pytest.raises(rg.InputError, match=says):
            torch.compile(rg.attend, backend="aot_eager", fullgraph=True)(*given)
    run = torch.compile(lambda q, k, v, n: rg.attend(q, k, v, rg.prefix(n)), backend="eager", fullgraph=True)
    with pytest.raises(rg.InputError, match="prefix must be at least 0; it got -2"):
        run(query, key, value, torch.tensor([1, -2]))
    with pytest.raises(rg.EngineError, match="can't compute"):
        torch.compile(lambda *x: rg.attend(*x, rg.sparsemax(), engine="sdpa"), fullgraph=True, backend="eager")(
            query, key, value
        )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda *x: rg.attend(*x, rg.window(0)), "window's size must be a whole number of at least 1; it got 0"),
        (lambda *x: rg.attend(*x[:2], 3), "value must be a torch.Tensor, got int"),
        (lambda *x: rg.attend(*x, query_start="a"), "query_start must be an int or an integer tensor"),
        (lambda *x: rg.attend(*x, dropout=2.0), "dropout must be a probability in"),
        (lambda *x: rg.attend(*x, torch.ones(3)), "rule must be a regard.Rule or one of its terms"),
    ],
)
def test_errors_while_tracing_keep_their_words(call: Callable[..., Tensor], says: str) -> None:
    """PyTorch turns an error of traced code into its own, ours inside, where no graph break is allowed."""
    with pytest.raises(torch._dynamo.exc.Unsupported, match=says):
        torch.compile(call, backend="eager", fullgraph=True)(*inputs())
    torch._dynamo.reset()
    with pytest.raises(rg.InputError, match=says):
        torch.compile(call, backend="eager")(*inputs())


def test_a_term_that_is_not_there() -> None:
    text, leaves, integers = spell(rg.Rule(pattern=rg.causal()))
    start = torch.tensor(0)
    with pytest.raises(rg.InputError, match=r"no term regard.terms.pattern.line.Acausal; import the module"):
        torch.ops.regard.attend(
            *inputs(), leaves, integers, text.replace("Causal", "Acausal"), None, start, 0.0, None, None, False
        )
