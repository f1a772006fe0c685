"""One head of a real model at one query, step by step, with its numbers: `regard explain`."""

from __future__ import annotations

from regard.explain.page import page
from regard.explain.picture import picture, save
from regard.explain.report import report
from regard.explain.story import Explanation, explain
from regard.explain.survey import Wish
from regard.explain.terminal import Terminal

__all__ = ["Explanation", "Terminal", "Wish", "explain", "page", "picture", "report", "save"]
