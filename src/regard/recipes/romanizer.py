"""A published model that writes Arabic names in Latin letters, rebuilt on `regard.nn.Luong` from its ONNX files."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from regard import data
from regard.nn import Luong
from regard.recipes.teaching import lengths

__all__ = ["Romanizer"]

WIDTH = 256


class Romanizer(nn.Module):
    """A GRU in both directions reads, a GRU writes, Luong's *general* attention in between.

    Args:
        signs: how many there are, of input and output together.
    """

    def __init__(self, signs: int) -> None:
        super().__init__()
        self.letters = nn.Embedding(signs, WIDTH)
        self.encoder = nn.GRU(WIDTH, WIDTH // 2, num_layers=2, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(WIDTH, WIDTH)
        self.decoder = nn.GRU(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.attention = Luong(WIDTH, WIDTH, out_dim=WIDTH)
        self.out = nn.Linear(WIDTH, signs)

    @classmethod
    def shipped(cls, model: data.Romanizing) -> Romanizer:
        """With the package's weights. PyTorch's exporter has left names to most of them.

        Errors: MissingError without onnx.
        """
        encoder, decoder = (_Graph(file) for file in (model.encoder, model.decoder))
        made = cls(len(model.signs))
        made.letters.weight.data = encoder["m.emb.weight"]
        made.encoder.load_state_dict(encoder.recurrent())
        made.bridge.load_state_dict(encoder.below("m.bridge."))
        made.decoder.load_state_dict(decoder.below("m.decoder."))
        made.attention.rule.score.weight.data = decoder.product("/attn_q/MatMul_output_0")  # type: ignore[union-attr]
        # Theirs multiplies [state; context], Luong's paper and ours [context; state].
        state, context = decoder.product("/combine/MatMul_output_0").split(WIDTH)
        assert made.attention.combine is not None
        made.attention.combine.load_state_dict(
            {"weight": torch.cat((context, state)).T, "bias": decoder["m.combine.bias"]}
        )
        made.out.load_state_dict(decoder.below("m.out."))
        return made.eval()

    def read(self, source: Tensor) -> Tensor:
        """`[rows, keys, 1]` → `[rows, keys, 256]`."""
        inputs, real = self.letters(source[..., 0]), lengths(source)
        packed = nn.utils.rnn.pack_padded_sequence(inputs, real, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.encoder(packed)[0], batch_first=True, total_length=len(inputs[0]))[
            0
        ]

    def begin(self, memory: Tensor, real: Tensor) -> Tensor:
        """The first state of both layers, `[2, rows, 256]`; memory is 0 where nothing is."""
        return self.bridge(memory.sum(1) / real[:, None]).tanh().expand(2, -1, -1).contiguous()  # type: ignore[no-any-return]

    def states(self, memory: Tensor, real: Tensor, target: Tensor) -> Tensor:
        """`[rows, signs]` → `[rows, signs, 256]`."""
        states, _ = self.decoder(self.letters(target), self.begin(memory, real))
        return self.attention(states, memory, lengths=real)  # type: ignore[no-any-return]

    def logits(self, states: Tensor) -> Tensor:
        """`[..., 256]` → `[..., signs]`."""
        return self.out(states)  # type: ignore[no-any-return]


class _Graph:
    """The tensors of an ONNX file."""

    def __init__(self, file: bytes) -> None:
        onnx: Any = data.extra("onnx", "onnx", "recipes")
        graph = onnx.load_from_string(file).graph
        self._held = {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.initializer}
        self._inputs = {node.output[0]: list(node.input) for node in graph.node}

    def __getitem__(self, name: str) -> Tensor:
        return self._held[name]

    def below(self, prefix: str) -> dict[str, Tensor]:
        """What is named so, without the prefix."""
        return {name.removeprefix(prefix): held for name, held in self._held.items() if name.startswith(prefix)}

    def product(self, output: str) -> Tensor:
        """The matrix of a product."""
        return self._held[self._inputs[output][1]]

    def recurrent(self) -> dict[str, Tensor]:
        """Two layers of a GRU in both directions; ONNX has its gates as update, reset, new, PyTorch as r, z, n."""
        made = {}
        for layer, node in enumerate(("/encoder/GRU_output_0", "/encoder/GRU_1_output_0")):
            inside, hidden, both = (self._held[name] for name in self._inputs[node][1:4])
            halves = both.split(both.shape[1] // 2, 1)
            for name, tensor in zip(
                ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), (inside, hidden, *halves), strict=True
            ):
                for way, suffix in enumerate(("", "_reverse")):
                    update, reset, new = tensor[way].chunk(3)
                    made[f"{name}_l{layer}{suffix}"] = torch.cat((reset, update, new))
        return made
