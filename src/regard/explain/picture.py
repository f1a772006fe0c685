"""The explanation as a picture: what the query looks at, all heads by the one measure, all weights of the head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard import plot
from regard.errors import InputError
from regard.explain.story import Explanation
from regard.explain.terminal import clip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["picture", "save"]

_NAMED = 6
_LONGEST = 16


def save(told: Explanation, path: Path) -> list[str]:
    """Write the picture; the suffix of the path says how. Returns what the picture could not show.

    Errors: InputError for a file that can't be written.
    """
    made, notes = picture(told)
    try:
        made.savefig(path, dpi=200)
    except OSError as error:
        raise InputError(f"--save {path}: it can't be written ({error.strerror})") from error
    return notes


def picture(told: Explanation) -> tuple[Figure, list[str]]:
    """The figure, and what it could not show."""
    made = plot.figure(10, 8 if told.heat is not None else 7)
    labels, families, notes = plot.labelled([clip(token.label, _LONGEST) for token in told.tokens.each])
    choice, query = told.choice, told.choice.query
    ratios = (1, 1.5) if told.heat is not None else (1.1, 1)
    halves: Any = made.subfigures(2, 1, height_ratios=ratios)
    above, below = halves
    axes = above.subplots()
    if told.heat is not None:
        plot.links(axes, labels, told.numbers.weights, query, families)
    else:
        named = told.numbers.weights.argsort(descending=True)[:_NAMED].tolist()
        plot.curve(axes, {place: labels[place] for place in named}, told.numbers.weights, query, families)
    left, right = _two(below) if told.heat is not None else (below.subplots(), None)
    plot.table(left, told.table, (choice.layer, choice.head), "reach")
    left.set_title("reach of every head; framed: the one shown", fontsize=9)
    if right is not None and told.heat is not None:
        hidden = "; grey: hidden" * bool((told.heat == 0).any())
        plot.weights(right, labels, told.heat, query, families)
        right.set_title(f"all weights of layer {choice.layer} head {choice.head}{hidden}", fontsize=9)
    made.suptitle(_title(told, labels), fontsize=11, family=families)
    made.supxlabel(_caption(told, notes), fontsize=7.5, color="#555555", family=families)
    return made, notes


def _two(below: Figure) -> tuple[Axes, Axes]:
    left, right = below.subplots(1, 2)
    return left, right


def _title(told: Explanation, labels: list[str]) -> str:
    choice, weights = told.choice, told.numbers.weights
    return (
        f"{told.loaded.name}, layer {choice.layer} head {choice.head}: what “{labels[choice.query]}” "
        f"({choice.query}) looks at; {float(weights[choice.key]):.0%} on “{labels[choice.key]}”"
    )


def _caption(told: Explanation, notes: list[str]) -> str:
    """What the picture is, what it hides, and what weights are not."""
    near, weights = told.agreement, told.numbers.weights
    if told.heat is not None:
        thin = sum(float(weight) for weight in weights if weight < 1e-4)
        small = f" and weights under 0.01 % ({thin:.2%} in all)" * (thin > 0)
        own = float(weights[told.choice.query])
        hidden = f"Arcs leave out the query itself ({own:.1%}){small}."
    else:
        hidden = f"Weights under 0.001 % ({float(weights[weights < 1e-5].sum()):.2%} in all) lie on the axis."
    numbers = "" if not notes else " Tokens that no font here shows stand as #number."
    return (
        f"Exact: {told.rule}; final hidden states differ from the model's own attention by {near.difference:.1e}.\n"
        f"{told.reach.formula}.\n{hidden}{numbers} Weights are not explanations."
    )
