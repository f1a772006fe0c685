"""Layers and positions."""

from regard.nn.blocks import Block, Decoder, Encoder
from regard.nn.caches import Cache, Dynamic, Memory, Rolling, Static
from regard.nn.held import Held
from regard.nn.multihead import MultiHead
from regard.nn.positions import LearnedPositions, Rotary, rotary, sinusoidal
from regard.nn.recurrent import Additive, Luong

__all__ = [
    "Additive",
    "Block",
    "Cache",
    "Decoder",
    "Dynamic",
    "Encoder",
    "Held",
    "LearnedPositions",
    "Luong",
    "Memory",
    "MultiHead",
    "Rolling",
    "Rotary",
    "Static",
    "rotary",
    "sinusoidal",
]
