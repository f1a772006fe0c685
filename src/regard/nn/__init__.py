"""Layers and positions."""

from regard.nn.blocks import Block, Decoder, Encoder
from regard.nn.caches import Cache, Dynamic, Memory, Rolling, Static
from regard.nn.convolution import ConvolutionAsAttention, convolution_as_attention
from regard.nn.graph import GAT, GATv2, Graph
from regard.nn.grid import Axial, Neighborhood
from regard.nn.held import Held
from regard.nn.multihead import MultiHead
from regard.nn.positions import LearnedPositions, Rotary, rotary, sinusoidal
from regard.nn.pyramid import Pyramid
from regard.nn.recurrent import Additive, Luong
from regard.nn.regression import NadarayaWatson
from regard.nn.spatial import ChannelGate, NonLocal, Spatial, SpatialGate

__all__ = [
    "GAT",
    "Additive",
    "Axial",
    "Block",
    "Cache",
    "ChannelGate",
    "ConvolutionAsAttention",
    "Decoder",
    "Dynamic",
    "Encoder",
    "GATv2",
    "Graph",
    "Held",
    "LearnedPositions",
    "Luong",
    "Memory",
    "MultiHead",
    "NadarayaWatson",
    "Neighborhood",
    "NonLocal",
    "Pyramid",
    "Rolling",
    "Rotary",
    "Spatial",
    "SpatialGate",
    "Static",
    "convolution_as_attention",
    "rotary",
    "sinusoidal",
]
