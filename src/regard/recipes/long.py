"""Long: what is lost, and what saved, when places of a long text look at a window, or at it and a few places more?

The equation: out_i = Σ_{j ∈ pattern(i)} w_ij · v_j; the pattern is all places, `window(…)`, or
`window(…) | global_tokens(…)`: a few places that all see, and that see all.

The data: news of the BBC, five kinds, up to 1,024 words, judged by a fifth of the headlines, chosen by hash. Each model
learns from nothing for 30 seconds of processor time and says the kind from a place in front of the words, which alone
is global. Then Hamlet, as SmolLM2 reads it: 1,024 tokens a stretch, the next token said from the 129th on; global are
the first four, to which it has learned to give what it needs nowhere else (Xiao et al. 2024). SmolLM2 learned from
the web and may know the play; patterns are compared with one another. Beside: TF-IDF with logistic regression, which
learns from all articles at once, so that most of its memory is the solver's history of past steps; the token that
mostly follows in four other tragedies.

The result (recipes/RESULTS.md): a window alone loses much, in news and in Hamlet; one global place, or the first four
tokens, give nearly all of it back. To count single words is ahead of them all for news.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from regard import data
from regard.attention import weights
from regard.bench.scaling import grown
from regard.recipes import plays
from regard.recipes.counting import counted
from regard.recipes.long_models import BATCH, Reader, learned, verdicts
from regard.recipes.readers import encoded, vocabulary, words
from regard.recipes.recipe import ATTENTION, BASELINE, Measure, Recipe, Work
from regard.recipes.splits import place
from regard.terms.pattern import Pattern, everything, global_tokens, window

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELD, LONGEST, SECONDS, NEAR, WIDE = 0.2, 1024, 30.0, 64, 120


def learn(work: Work, seed: int) -> None:
    """The articles, then the play."""
    _articles(work, seed)
    plays.told(work, seed)


def split(news: data.News) -> Tensor:
    """True for the articles that judge; those of one headline are on one side."""
    return torch.tensor([place(title, "bbc") < HELD for title in news.titles])


def _articles(work: Work, seed: int) -> None:
    """Every pattern for the same time."""
    news = data.news()
    held, longest, label = split(news), 128 if work.quick else LONGEST, news.labels
    train, judged = ((held == side).nonzero()[:, 0][:: 20 if work.quick else 1] for side in (False, True))
    texts, new = ([news.texts[one] for one in some.tolist()] for some in (train, judged))
    work.note("TF-IDF")
    began = time.process_time()
    told = counted(texts, label[train], new)
    speed = (len(texts) + len(new)) / (time.process_time() - began)
    room = grown(lambda: counted(texts, label[train], new)) or 0
    share = 100 * float((told == label[judged]).double().mean())
    work.add("BBC news", "TF-IDF + logistic regression", BASELINE, seed, [share, speed, room / 1e6])
    known = vocabulary(texts, longest)
    rows, near = encoded(news.texts, known, longest), window(before=NEAR, after=NEAR)
    patterns: dict[str, Pattern] = {
        "full": everything(), f"window of {NEAR} + {NEAR}": near, "window + one global": near | global_tokens(0),
    }  # fmt: skip
    for name, pattern in patterns.items():
        torch.manual_seed(seed)
        model, seconds = Reader(len(known) + 2, len(news.names), pattern), 0.5 if work.quick else SECONDS
        read = learned(model, rows, label, train, seconds, work.about(name))
        work.note(f"{name}, judged")
        share = 100 * float((verdicts(model, rows, judged) == label[judged]).double().mean())
        some = train[rows[train].count_nonzero(1).argsort(descending=True)[:BATCH]]
        room = grown(lambda model=model, some=some: cross_entropy(model(rows[some]), label[some]).backward()) or 0  # type: ignore[misc]
        work.add("BBC news", name, ATTENTION, seed, [share, read / seconds, room / 1e6])
    lengths = rows[judged].count_nonzero(1)
    work.show(model=model, rows=rows, one=int(judged[(lengths - 400).abs().argmin()]), news=news, longest=longest)


@torch.no_grad()
def draw(figure: Figure, shown: dict[str, Any]) -> None:
    """A held-out article of some 400 words: each as dark as the place of the verdict looks at it."""
    model, news, one = shown["model"], shown["news"], shown["one"]
    row = shown["rows"][one : one + 1]
    layer, inside = model.blocks.blocks[0].attention, model.blocks.blocks[0].attention_norm(model.read(row))
    query, key = (
        part.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for part in (layer.query(inside), layer.key(inside))
    )
    seen = weights(query, key, layer.rule(), rows=torch.tensor([0]), query_start=0)[0].mean(0)[0, 1:]
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    shades = ScalarMappable(Normalize(0, float(seen.max())), "cividis")
    panel = figure.subplots()
    text = words(news.texts[one], shown["longest"])
    across, line = 0, 0
    for word, weight in zip(text, seen.tolist(), strict=False):
        if across + len(word) > WIDE:
            across, line = 0, line + 1
        box = {"facecolor": shades.to_rgba(weight), "edgecolor": "none", "pad": 1.5}
        ink = "black" if weight > float(seen.max()) / 2 else "white"
        panel.text(across, -line, word, family="monospace", fontsize=7.5, color=ink, bbox=box)
        across += len(word) + 1
    panel.set(xlim=(0, WIDE), ylim=(-line - 1, 1), xticks=[], yticks=[])
    panel.set_title(f"where the place of the verdict looks in an article on {news.names[news.labels[one]]}")
    for side in panel.spines.values():
        side.set_visible(False)
    figure.colorbar(shades, ax=panel, label="weight in the first block, mean of heads")


RECIPE = Recipe(
    "long",
    "What is lost, and what saved, when places of a long text look at a window, or at it and a few places more?",
    "BBC news, each model after the same time; Hamlet as SmolLM2 reads it. Right answers, texts or tokens of one "
    "second of processor time, and the most memory above the rest: a network's to learn eight articles, without "
    "itself; TF-IDF's to learn all at once, with itself; SmolLM2's to read the tokens. It may know the play.",
    (Measure("right, %", ".1f", "more"), Measure("a second", ",.0f"), Measure("MB", ".0f")),
    learn,
    draw,
    (11, 6),
    "What an article is about shows in single words, which TF-IDF counts, and in so short a time a network that begins "
    "with nothing sees each article a few times at most.",
)
