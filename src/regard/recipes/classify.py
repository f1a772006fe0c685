"""Classify: does self-attention tell a good review from a bad one, learned from these reviews alone, or pretrained?

The equation: words look at words, out_i = Σ_j softmax_j(q_i · k_j / √d) · v_j over the sentence, padding hidden; then
one learned query looks at all words, and what it has seen gives the verdict.

The data: sentences from reviews on Rotten Tomatoes, each once, split by the hash of the film, so that no film is on
both sides; a fifth of the films judges. Beside: TF-IDF with logistic regression; an LSTM. Pretrained: MiniLM with
regard in every layer, frozen under logistic regression, and fine-tuned on 2,000 of the sentences (transfer).

The result: not yet measured in full; `regard recipe classify --save recipes` adds it to recipes/RESULTS.md.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regard import data
from regard.attention import weights
from regard.recipes.readers import Attentive, Pretrained, Recurrent, encoded, trained, verdicts, vocabulary, words
from regard.recipes.recipe import ATTENTION, BASELINE, Family, Measure, Recipe, Work
from regard.recipes.splits import place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELD, QUICK, TUNED = 0.2, 120, 2000
ALONE, PRETRAINED = "from these reviews alone", "pretrained on other text"


def learn(work: Work, seed: int) -> None:
    """Every model from the same reviews, judged by the same."""
    all_ = data.reviews()
    held = split(all_)
    train, judged = ((held == side).nonzero()[:, 0][: QUICK if work.quick else None] for side in (False, True))
    label = all_.labels
    texts = [all_.texts[one] for one in train.tolist()]
    known = vocabulary(texts)
    rows = encoded(all_.texts, known)
    size = len(known) + 2
    epochs = 1 if work.quick else 3

    def say(table: str, name: str, family: Family, told: Tensor) -> None:
        work.add(table, name, family, seed, [100 * float((told == label[judged]).double().mean())])

    work.note("TF-IDF")
    counted = _counted(all_, train, judged)
    for table in (ALONE, PRETRAINED):
        say(table, "TF-IDF + logistic regression", BASELINE, counted)
    for name, family, model in (("LSTM", BASELINE, Recurrent(size)), ("self-attention", ATTENTION, Attentive(size))):
        trained(model, rows, label, train, epochs, 2e-3, partial(_note, work, name))
        say(ALONE, name, family, verdicts(model, rows, judged))
    encoder = Pretrained(all_.texts)
    if "frozen" not in work.kept:  # what is frozen knows no seed
        work.kept["frozen"] = _frozen(encoder, label, train, judged, work)
    say(PRETRAINED, "MiniLM, frozen", ATTENTION, work.kept["frozen"])
    numbers = torch.arange(len(label))
    some = train[torch.randperm(len(train))[:TUNED]]
    trained(encoder, numbers, label, some, 1, 1e-4, partial(_note, work, "MiniLM, fine-tuned"))
    say(PRETRAINED, f"MiniLM, fine-tuned on {len(some):,}", ATTENTION, verdicts(encoder, numbers, judged))
    work.show(model=model, rows=rows, judged=judged, texts=all_.texts, label=label)


def _note(work: Work, name: str, said: str) -> None:
    work.note(f"{name}, {said}")


def split(all_: data.Reviews) -> Tensor:
    """True for the reviews that judge: those of a fifth of the films."""
    return torch.tensor([place(film, "rotten tomatoes") < HELD for film in all_.films])


def _counted(all_: data.Reviews, train: Tensor, judged: Tensor) -> Tensor:
    text: Any = data.extra("sklearn.feature_extraction.text", "scikit-learn", "recipes")
    count = text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    known = count.fit_transform([all_.texts[one] for one in train.tolist()])
    return _fitted(known, all_.labels[train], count.transform([all_.texts[one] for one in judged.tolist()]))


def _frozen(encoder: Pretrained, label: Tensor, train: Tensor, judged: Tensor, work: Work) -> Tensor:
    encoder.eval()
    seen = []
    with torch.no_grad():
        for some in (train, judged):
            parts: list[Tensor] = []
            for part in some.split(64):
                work.note(f"MiniLM, frozen, {len(parts) * 64} of {len(some)}")
                parts.append(encoder.features(part))
            seen.append(torch.cat(parts).double().numpy())
    return _fitted(seen[0], label[train], seen[1])


def _fitted(known: Any, label: Tensor, new: Any) -> Tensor:
    """The verdicts of logistic regression."""
    linear: Any = data.extra("sklearn.linear_model", "scikit-learn", "recipes")
    return torch.as_tensor(linear.LogisticRegression(C=4.0, max_iter=2000).fit(known, label.numpy()).predict(new))


@torch.no_grad()
def draw(figure: Figure, shown: dict[str, Any]) -> None:
    """Short held-out reviews, their words by how much the learned query looks at them."""
    model, texts = shown["model"], shown["texts"]
    some = [one for one in shown["judged"].tolist() if len(words(texts[one])) == 9][:8]
    layer, map_ = model.pool, torch.zeros(len(some), 9)
    for row, one in enumerate(some):
        rows = shown["rows"][one : one + 1, :9]
        key = layer.key(model.read(rows))[0].unflatten(-1, (layer.heads, -1)).transpose(0, 1)
        query = layer.query(model.query[0]).unflatten(-1, (layer.heads, -1)).transpose(0, 1)
        map_[row] = weights(query, key, query_start=0).mean(0)[0]
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
    "Rotten Tomatoes: 12,752 sentences; a fifth of the 507 films judges.",
    (Measure("right, %", ".1f", "more"),),
    learn,
    draw,
    (11, 4),
    "Some ten thousand sentences teach which words count, and a linear model reads just that from them; what words "
    "mean together takes more text, and pretraining brings it.",
)
