"""Transliterate: does attention to the letters write an Arabic name in Latin as people who bear it do?

The equation: before each Latin letter the writer looks at the Arabic ones, context_t = Σ_j w_tj · h_j, w_t =
softmax_j(score(s_t, h_j)), with Luong's score s · W h, or with query and key of a transformer, q · k / √d.

The data: 22,979 names of 22 Arab countries and the spellings that their bearers use, from Wikidata and Algerian
registers; a twentieth judges, split by the hash of the name without its article. Arabic leaves short vowels out and
usage differs by country, so that a name has many spellings: a guess is right if it is one of them; else it is off from
the nearest. Beside: a table of letters; the same GRU without attention. And as a bound, the published model rebuilt on
`rg.nn.Luong` from its ONNX weights: it learned from these very names, the judging ones too.

The result (recipes/RESULTS.md): yes. GRU + Luong writes 30.0 % right, the transformer 26.7, the GRU without attention
17.7, the table of letters 11.9; the published model, which knew the names, 46.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regard import data
from regard.recipes.recipe import ATTENTION, BASELINE, BOUND, Measure, Recipe, Work
from regard.recipes.romanizer import Romanizer
from regard.recipes.splits import place
from regard.recipes.teaching import RARE, Plan, begun, known, lengths, numbered, taught, written
from regard.recipes.translators import Recurrent, Transformer, luong
from regard.recipes.writer import Sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELD, LONGEST = 0.05, 20
ARTICLE = "ال"
ARABIC = "ابتثجحخدذرزسشصضطظعغفقكلمنهويىةءآأإؤئ "
LATIN = "a b t th j h kh d dh r z s sh s d t z a gh f q k l m n h ou i a a ' a a i ou i "
LETTERS = dict(zip(ARABIC, LATIN.split(" "), strict=True))
EPOCHS, RATE, BATCH = 2, 3e-3, 32


def learn(work: Work, seed: int) -> None:
    """Every model from the same names, judged by the same others."""
    names = data.spellings()
    held = split(names)
    train = [one for one, side in zip(names, held, strict=True) if not side][: 640 if work.quick else None]
    judged = [one for one, side in zip(names, held, strict=True) if side][: 64 if work.quick else None]
    arabic, latin = known(one.arabic for one in train), known(one.latin[0] for one in train)
    source = numbered([one.arabic for one in train], arabic)[..., None]
    target = numbered([one.latin[0] for one in train], latin, end=True)
    asked = numbered([one.arabic for one in judged], arabic)[..., None]
    sizes = Sizes((len(arabic) + RARE + 1,), len(latin) + RARE + 1, dim=96)

    by_letter = ["".join(LETTERS.get(letter, "") for letter in one.arabic).title() for one in judged]
    work.add("names", "a table of letters", BASELINE, seed, judge(by_letter, judged))
    if "shipped" not in work.kept:  # it knows no seed
        work.note("the published model")
        work.kept["shipped"] = judge(_shipped([one.arabic for one in judged]), judged)
    work.add("names", "published, + Luong", BOUND, seed, work.kept["shipped"])
    for name, family, model in (
        ("GRU", BASELINE, Recurrent(sizes, None)),
        ("GRU + Luong", ATTENTION, Recurrent(sizes, luong(sizes.dim))),
        ("transformer", ATTENTION, Transformer(sizes)),
    ):
        taught(model, source, target, Plan(1 if work.quick else EPOCHS, RATE, BATCH), partial(_note, work, name))
        said = _texts(written(model, asked, LONGEST), {number: sign for sign, number in latin.items()})
        work.add("names", name, family, seed, judge(said, judged))
        if name not in work.shown and family is ATTENTION:
            work.show(**{name: _looked(model, asked, [one.arabic for one in judged], said, latin)})


def _note(work: Work, name: str, said: str) -> None:
    work.note(f"{name}, {said}")


def split(names: Sequence[data.Spelled]) -> list[bool]:
    """True for the names that judge; with and without the article, in one word or two, a name is on the same side."""
    return [place(_bare(one.arabic), "names") < HELD for one in names]


def _bare(name: str) -> str:
    return name.removeprefix(ARTICLE).replace(" ", "")


def judge(said: Sequence[str], names: Sequence[data.Spelled]) -> list[float]:
    """How many are one of the spellings, in percent; and the letters to change to the nearest one, of its letters."""
    right = sum(one in name.latin for one, name in zip(said, names, strict=True))
    near = [min((apart(one, latin), len(latin)) for latin in name.latin) for one, name in zip(said, names, strict=True)]
    changed, letters = (sum(part) for part in zip(*near, strict=True))
    return [100 * right / len(names), 100 * changed / letters]


def apart(one: str, other: str) -> int:
    """How many letters to put in, leave out or change: Levenshtein's distance."""
    row = list(range(len(other) + 1))
    for place_, letter in enumerate(one, 1):
        before, row[0] = row[0], place_
        for column, against in enumerate(other, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (letter != against))
    return row[-1]


def _shipped(names: Sequence[str]) -> list[str]:
    model = data.romanizing()
    signs = {sign: number for number, sign in enumerate(model.signs)}
    rows = [["<UNK_COUNTRY>", "<ROLE_UNKNOWN>", *name] for name in names]  # neither country nor role is told
    source = numbered(rows, signs, end=True)[..., None]
    return _texts(written(Romanizer.shipped(model), source, LONGEST), dict(enumerate(model.signs)))


def _texts(rows: Tensor, signs: dict[int, str]) -> list[str]:
    return ["".join(signs[number] for number in row if number > RARE) for row in rows.tolist()]


@torch.no_grad()
def _looked(model: Any, asked: Tensor, names: list[str], said: list[str], latin: dict[str, int]) -> dict[str, Any]:
    """Who looks at whom in the first name of seven letters that became more than five, or what comes next to that."""
    one = max(range(len(names)), key=lambda number: (len(names[number]) == 7, len(said[number]) > 5))
    row = begun(numbered([said[one]], latin, end=True))
    seen = model.looks(model.read(asked[one : one + 1]), lengths(asked[one : one + 1]), row)[0]
    return {"arabic": names[one], "latin": said[one], "weight": seen[: len(said[one]), : len(names[one])]}


def draw(figure: Figure, shown: dict[str, Any]) -> None:
    """Which Arabic letters each Latin one was written by."""
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for panel, (name, one) in zip(axes, shown.items(), strict=True):
        image = panel.imshow(one["weight"], cmap="cividis_r", vmin=0, vmax=1, aspect="auto")
        panel.set_xticks(range(len(one["arabic"])), list(one["arabic"]), fontsize=14)
        panel.set_yticks(range(len(one["latin"])), one["latin"].replace(" ", "␣"), fontsize=11)
        panel.set(title=name, xlabel="Arabic, its first letter left", ylabel="written")
        panel.tick_params(length=0)
        figure.colorbar(image, ax=panel, label="weight", shrink=0.8)


RECIPE = Recipe(
    "transliterate",
    "Does attention to the letters write an Arabic name in Latin as people who bear it do?",
    "22,979 names of 22 Arab countries; a twentieth judges. The published model has learned from all of them.",
    (Measure("right, %", ".1f", "more"), Measure("letters off, %", ".1f", "less")),
    learn,
    draw,
    (11, 5),
    "",
)
