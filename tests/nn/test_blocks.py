"""Block, Encoder and Decoder: PyTorch's layers with the norm first on the same weights; generation step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard as rg

BATCH, POSITIONS, SOURCES, DIM, HEADS, HIDDEN = 2, 13, 17, 21, 3, 29
F64 = torch.float64


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def rows(positions: int = POSITIONS) -> Tensor:
    return torch.randn(BATCH, positions, DIM)


def stirred(layer: nn.Module) -> Any:
    """Norms and biases begin as ones and zeros, which would hide a mistake."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return layer.eval()


def theirs(kind: Any = nn.TransformerEncoderLayer, **options: Any) -> Any:
    return stirred(kind(DIM, HEADS, HIDDEN, batch_first=True, norm_first=True, **options))


def ours(layer: Any, activation: nn.Module | None = None, rule: Any = None) -> rg.nn.Block:
    """The same block with the weights of PyTorch's layer."""
    decodes = isinstance(layer, nn.TransformerDecoderLayer)
    attention = rg.nn.MultiHead.from_torch(layer.self_attn)
    attention.rule = rg.nn.Held(rg.Rule(pattern=rule))
    cross = rg.nn.MultiHead.from_torch(layer.multihead_attn) if decodes else None
    made = rg.nn.Block(attention, cross=cross, hidden=HIDDEN, activation=activation)
    norms = [made.attention_norm, made.cross_norm, made.feed_norm] if decodes else [made.attention_norm, made.feed_norm]
    for number, norm in enumerate(norms, 1):
        norm.load_state_dict(getattr(layer, f"norm{number}").state_dict())
    made.feed[0].load_state_dict(layer.linear1.state_dict())
    made.feed[3].load_state_dict(layer.linear2.state_dict())
    return made.eval()


@pytest.mark.parametrize(("name", "activation"), [("relu", nn.ReLU()), ("gelu", None)])
def test_block_is_pytorchs_encoder_layer(name: str, activation: nn.Module | None) -> None:
    layer, x = theirs(activation=name), rows()
    close(ours(layer, activation)(x), layer(x))
    padded = torch.arange(POSITIONS) >= torch.tensor([7, 13])[:, None]
    wanted = layer(x, src_key_padding_mask=padded)
    got = ours(layer, activation)(x, pattern=rg.padding(torch.tensor([7, 13])))
    close(got[~padded], wanted[~padded])


def test_block_is_pytorchs_decoder_layer() -> None:
    layer, x, memory = theirs(nn.TransformerDecoderLayer, activation="gelu"), rows(), rows(SOURCES)
    causal = nn.Transformer.generate_square_subsequent_mask(POSITIONS)
    padded = torch.arange(SOURCES) >= torch.tensor([11, 17])[:, None]
    wanted = layer(x, memory, tgt_mask=causal, memory_key_padding_mask=padded)
    close(ours(layer, rule=rg.causal())(x, memory, memory_pattern=rg.padding(~padded)), wanted)


def test_encoder_is_pytorchs() -> None:
    layers = [theirs(activation="gelu") for _ in range(2)]
    stack = nn.TransformerEncoder(layers[0], 2, norm=stirred(nn.LayerNorm(DIM)), enable_nested_tensor=False)
    stack.layers = nn.ModuleList(layers)
    made, x = rg.nn.Encoder(ours(layer) for layer in layers), rows()
    made.norm.load_state_dict(stack.norm.state_dict())
    close(made(x), stack.eval()(x))


def test_decoder_is_pytorchs() -> None:
    layers = [theirs(nn.TransformerDecoderLayer, activation="gelu") for _ in range(2)]
    stack = nn.TransformerDecoder(layers[0], 2, norm=stirred(nn.LayerNorm(DIM)))
    stack.layers = nn.ModuleList(layers)
    made, x, memory = rg.nn.Decoder(ours(layer, rule=rg.causal()) for layer in layers), rows(), rows(SOURCES)
    made.norm.load_state_dict(stack.norm.state_dict())
    close(made(x, memory), stack.eval()(x, memory, tgt_mask=nn.Transformer.generate_square_subsequent_mask(POSITIONS)))


# ---------------------------------------------------------------------------------------------- generation


def decoder(cross: bool, rule: Any = None) -> rg.nn.Decoder:
    def block() -> rg.nn.Block:
        own = rg.nn.MultiHead(24, 6, kv_heads=3, rule=rule or rg.causal() & rg.window(5), rotary=rg.rotary(4))
        return rg.nn.Block(own, cross=rg.nn.MultiHead(24, 6, source_dim=11) if cross else None)

    return stirred(rg.nn.Decoder(block() for _ in range(3)).to(F64))  # type: ignore[no-any-return]


CACHES: dict[str, Callable[[], rg.nn.Cache]] = {
    "dynamic": rg.nn.Dynamic,
    "rolling": lambda: rg.nn.Rolling(5),
    "static": lambda: rg.nn.Static(POSITIONS),
}


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("name", CACHES)
def test_step_by_step(name: str, cross: bool) -> None:
    made, x = decoder(cross), torch.randn(BATCH, POSITIONS, 24, dtype=F64)
    memory = torch.randn(BATCH, SOURCES, 11, dtype=F64) if cross else None
    caches = made.caches(CACHES[name])
    with torch.no_grad():
        whole = made(x, memory)
        steps = [made(part, memory, caches=caches) for part in x.split([5, 1, 1, 4, 2], 1)]
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-10, atol=1e-10)
    assert [own.length for own, _ in caches] == [POSITIONS] * 3
    assert [other.length for _, other in caches] == [SOURCES if cross else 0] * 3


def test_greedy_text_is_the_same_with_and_without_caches() -> None:
    made, letters, words = decoder(False), nn.Embedding(31, 24).to(F64), torch.randn(31, 24, dtype=F64)

    def text(cached: bool) -> list[int]:
        said, caches = [3, 5, 7], made.caches() if cached else None
        new = said
        while len(said) < 19:
            out = made(letters(torch.tensor(new if cached else said)), caches=caches)
            new = [int((words @ out[-1]).argmax())]
            said = said + new
        return said

    with torch.no_grad():
        found = text(True)
        assert found == text(False) and len(set(found)) > 5


def test_a_later_position_changes_nothing_earlier() -> None:
    made, x = decoder(False), torch.randn(BATCH, POSITIONS, 24, dtype=F64, requires_grad=True)
    (grad,) = torch.autograd.grad(made(x)[:, 6].sum(), x)
    # Three windows of 5 reach 12 positions back, so all up to 6 have a part in it.
    assert not grad[:, 7:].any() and (grad[:, :7].abs().amax(-1) > 0).all()


def test_any_module_with_a_dim_can_be_the_attention() -> None:
    class Mean(nn.Module):
        dim = DIM

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.mean(-2, keepdim=True).expand_as(inputs)

    made, x = rg.nn.Block(Mean()).eval(), rows()
    seen = x + made.attention_norm(x).mean(1, keepdim=True)
    close(made(x), seen + made.feed(made.feed_norm(seen)))


def test_dropout_in_training_alone() -> None:
    made, x = rg.nn.Block(rg.nn.MultiHead(DIM, HEADS), dropout=0.5), rows()
    assert (made(x) - made(x)).abs().max() > 1e-3
    assert torch.equal(made.eval()(x), made(x))


def head(**options: Any) -> rg.nn.MultiHead:
    return rg.nn.MultiHead(DIM, HEADS, **options)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: rg.nn.Block(nn.Linear(3, 5)), "a module with a dim, as MultiHead, got Linear"),
        (lambda: rg.nn.Block(head(), cross=rg.nn.MultiHead(15, 3)), "a MultiHead of dim 21"),
        (lambda: rg.nn.Block(head(), hidden=0), "(hidden) needs a whole number"),
        (lambda: rg.nn.Block(head(), dropout=1.5), "[0, 1)"),
        (lambda: rg.nn.Block(head())(rows(), rows()), "has no cross-attention; leave memory out"),
        (lambda: rg.nn.Encoder([]), "at least one Block, got []"),
        (lambda: rg.nn.Encoder([head()]), "at least one Block, got ['MultiHead']"),  # type: ignore[list-item]
        (lambda: rg.nn.Encoder([rg.nn.Block(head(), cross=head())]), "Decoder takes both"),
        (lambda: rg.nn.Decoder([rg.nn.Block(head()), rg.nn.Block(head(), cross=head())]), "in all of its blocks or in"),
        (lambda: rg.nn.Decoder([rg.nn.Block(head()), rg.nn.Block(rg.nn.MultiHead(15, 3))]), "one dim, got [21, 15]"),
        (lambda: rg.nn.Decoder([rg.nn.Block(head())])(rows(), caches=[]), "has 1 blocks, got caches for 0"),
        (lambda: decoder(False)(torch.randn(2, 3, 24, dtype=F64), caches=decoder(False).caches()[:2]), "caches for 2"),
    ],
)
def test_bad_input(make: Any, says: str) -> None:
    with pytest.raises(rg.InputError) as caught:
        make()
    assert says in str(caught.value), caught.value
