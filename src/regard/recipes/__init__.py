"""`regard recipe`: attention applied, each on real data, beside what does without it."""

from regard.recipes.recipe import ATTENTION, BASELINE, BOUND, Measure, Recipe, Work

__all__ = ["ATTENTION", "BASELINE", "BOUND", "Measure", "Recipe", "Work"]
