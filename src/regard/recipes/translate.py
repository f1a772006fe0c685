"""Translate: does attention find out, from verses alone, which Greek word an English one translates?

The equation: before each English word the writer looks at the Greek ones, context_t = Σ_j w_tj · h_j, w_t =
softmax_j(score(s_t, h_j)): Bahdanau's score v · tanh(W s + U h), Luong's s · W h, a transformer's q · k / √d.

The data: verses of the New Testament of at most 16 Greek and 20 English words, a tenth judges, split by the hash of
the Greek; Gospels tell some things in nearly the same words, which may be on both sides. A Greek word enters as its
lemma and its form; words that are seen less than four times are one. Links between words were made by hand and none is
learned from: every English word is linked to the Greek one that it looks at most, while the true words stand before it.
Where the word is known, how likely it is by that Greek one counts too: w_tj · p(y_t | s_t, h_j). Alignment error is
1 − 2·|A ∩ S|/(|A| + |S|), A found, S by hand. Beside: a GRU without attention; for links, IBM model 1, which counts
what stands together and knows the word, the diagonal, and chance.

The result (recipes/RESULTS.md): yes. Bahdanau's loss is 3.05 (chrF 27.4), Luong's 3.26, the transformer's 3.37, without
attention 3.48 (17.1). Links are 36.8 % off by Bahdanau's attention where the word is known, 45.3 by IBM model 1, 68.5
by the diagonal; before the word is known 58.0 by Luong's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regard import data
from regard.recipes.links import diagonal, drawn, english, error, likeliest, likely, most
from regard.recipes.recipe import ATTENTION, BASELINE, Measure, Recipe, Work
from regard.recipes.splits import place
from regard.recipes.teaching import RARE, Plan, known, numbered, surprise, taught, written
from regard.recipes.translators import Recurrent, Transformer, bahdanau, looked, luong
from regard.recipes.writer import Sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELD, GREEK, ENGLISH, LEAST, EPOCHS = 0.1, 16, 20, 4, 8


def learn(work: Work, seed: int) -> None:
    """Every model from the same verses, judged by the same others."""
    if "verses" not in work.kept:
        work.note("reads the verses")
        work.kept["verses"] = short(data.verses())
    all_ = work.kept["verses"]
    held = split(all_)
    train, judged = ([one for one, side in zip(all_, held, strict=True) if side is which] for which in (False, True))
    train, judged = (train[:320], judged[:32]) if work.quick else (train, judged)
    sides, signs = _signs(train)
    source, target = _rows(train, sides, signs)
    asked, answer = _rows(judged, sides, signs)
    sizes = Sizes(tuple(len(side) + RARE + 1 for side in sides), len(signs) + RARE + 1)
    draws, seen_by = random.Random(seed), {}
    work.add("links", "diagonal", BASELINE, seed, (None, None, error([diagonal(one) for one in judged], judged)))
    work.add("links", "at random", BASELINE, seed, (None, None, error([drawn(one, draws) for one in judged], judged)))
    table = likely(train)
    counted = error([likeliest(table, one) for one in judged], judged)
    work.add("links", "counted (IBM model 1)", BASELINE, seed, (None, None, counted))
    for name, model, rate in (
        ("GRU", Recurrent(sizes, None), 4e-3),
        ("GRU + Bahdanau", Recurrent(sizes, bahdanau(sizes.dim)), 4e-3),
        ("GRU + Luong", Recurrent(sizes, luong(sizes.dim)), 2e-3),
        ("transformer", Transformer(sizes), 2e-3),
    ):
        taught(model, source, target, Plan(1 if work.quick else EPOCHS, rate), partial(_note, work, name))
        said = _texts(written(model, asked, ENGLISH + 4), signs)
        family = BASELINE if name == "GRU" else ATTENTION
        values = surprise(model, asked, answer), _likeness(said, [" ".join(english(one)) for one in judged]), None
        work.add("verses", name, family, seed, values)
        if family is ATTENTION:
            for how, seen in looked(model, asked, answer).items():
                work.add("links", name + how, family, seed, (None, None, error(most(seen, judged), judged)))
                seen_by[name + how] = seen
    work.show(verses=judged, **seen_by)
    work.remark(f"The first judging verse, by the transformer: {said[0]} — and truly: {' '.join(english(judged[0]))}.")


def _note(work: Work, name: str, said: str) -> None:
    work.note(f"{name}, {said}")


def short(all_: Sequence[data.Verse]) -> list[data.Verse]:
    """Those of at most 16 Greek and 20 English words."""
    return [one for one in all_ if len(one.greek) <= GREEK and len(one.english) <= ENGLISH]


def split(all_: Sequence[data.Verse]) -> list[bool]:
    """True for the verses that judge; verses of the same Greek words are on one side."""
    return [place(" ".join(one.lemmas), "verses") < HELD for one in all_]


def _signs(train: Sequence[data.Verse]) -> tuple[list[dict[str, int]], dict[str, int]]:
    """The lemmas, forms and English words that stand often enough."""
    sides = [known((one.lemmas for one in train), 2), known((one.forms for one in train), 2)]
    return sides, known((english(one) for one in train), LEAST)


def _rows(some: Sequence[data.Verse], sides: list[dict[str, int]], signs: dict[str, int]) -> tuple[Tensor, Tensor]:
    lemmas, forms = ([one.lemmas for one in some], [one.forms for one in some])
    parts = [numbered(rows, side) for rows, side in zip((lemmas, forms), sides, strict=True)]
    return torch.stack(parts, -1), numbered([english(one) for one in some], signs, end=True)


def _texts(rows: Tensor, signs: dict[str, int]) -> list[str]:
    names = {number: word for word, number in signs.items()}
    return [" ".join(names.get(one, "?") for one in row if one >= RARE) for row in rows.tolist()]


def _likeness(said: list[str], true: list[str]) -> float:
    """chrF: how many pieces of one to six letters both have, 0 to 100."""
    sacrebleu: Any = data.extra("sacrebleu", "sacrebleu", "recipes")
    return float(sacrebleu.corpus_chrf(said, [true]).score)


def draw(figure: Figure, shown: dict[str, Any]) -> None:
    """A verse, who looks at whom in it, and the links made by hand."""
    verses, seen_by = shown["verses"], {name: seen for name, seen in shown.items() if name != "verses"}
    number = next(at for at, one in enumerate(verses) if len(one.greek) >= 8 and len(one.english) <= 12)
    verse = verses[number]
    axes = figure.subplots(1, len(seen_by), sharey=True)
    for panel, (name, seen) in zip(axes, seen_by.items(), strict=True):
        weight = seen[number][: len(verse.english), : len(verse.greek)]
        image = panel.imshow(weight, cmap="cividis_r", vmin=0, vmax=1, aspect="auto")
        rows, columns = [word for _, word in verse.links], [key for key, _ in verse.links]
        panel.scatter(columns, rows, s=160, marker="s", facecolors="none", edgecolors="#D55E00", linewidths=2)
        panel.set_xticks(range(len(verse.greek)), verse.greek, rotation=60, ha="right")
        panel.set_yticks(range(len(verse.english)), verse.english)
        panel.set(title=name)
    figure.colorbar(image, ax=axes, label="weight; squares are links made by hand", shrink=0.8)


RECIPE = Recipe(
    "translate",
    "Does attention find out, from verses alone, which Greek word an English one translates?",
    "The New Testament: 3,292 short verses, of which a tenth judges; words are linked by hand, for judging alone.",
    (Measure("loss", ".3f", "less"), Measure("chrF", ".1f", "more"), Measure("alignment error, %", ".1f", "less")),
    learn,
    draw,
    (18, 5),
    "",
)
