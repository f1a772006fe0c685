"""Layers and positions."""

from regard.nn.positions import LearnedPositions, Rotary, rotary, sinusoidal

__all__ = ["LearnedPositions", "Rotary", "rotary", "sinusoidal"]
