"""Generate: does self-attention say the next letter better than counting or an LSTM, and what does its cache save?

The equation: x_i ← x_i + Σ_{j ≤ i} softmax_j(q_i · k_j / √d) · v_j in three blocks, q and k turned by places. What is
kept of the letters before are their keys and values, so that a new letter costs one row, not all of them anew.

The data: 38 plays of Shakespeare, of which two judge, and 120 chapters of 三国演义, of which eight judge, split by the
hash of their names. Bits per letter are of 64 to 192 letters into a piece; an n-gram sees the same letters. Beside:
n-grams with absolute discounting; an LSTM. Networks are mixed with n-grams too, half and half, for what counting
knows takes a network very long. A network's input is the last letter, the last two and the last three, by hash; how
fast each learns was chosen by the last 100,000 letters of the plays that it may learn from.

The result (recipes/RESULTS.md): in Shakespeare not: 2.10 bits by the decoder, 2.00 by the LSTM, 2.04 by counting; with
counting 1.90 and 1.88. In 三国演义 it does: 6.70 by the decoder and 6.74 by the LSTM, 6.11 and 6.16 with counting. The
cache makes the decoder 2.4 and 2.6 times as fast.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regard import data
from regard.recipes.books import numbered
from regard.recipes.counted import Ngram
from regard.recipes.letters import Attentive, Recurrent, spoken, taught
from regard.recipes.recipe import ATTENTION, BASELINE, Measure, Recipe, Work

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST, LAST, SHARE, STEPS = 64, 192, 0.5, 1000
BOOKS = (("plays", data.plays, 6), ("Three Kingdoms", data.kingdoms, 3))


def learn(work: Work, seed: int) -> None:
    """Every model of both books."""
    for name, read, order in BOOKS:
        if name not in work.kept:
            work.note(f"{name}, n-grams")
            book = numbered(read(), name, 200_000 if work.quick else None)
            work.kept[name] = (book, Ngram(book.train, len(book.letters), order))
        book, counted = work.kept[name]
        pieces = _pieces(book.test, 8 if work.quick else 160)
        shares = torch.stack([counted.shares(piece)[FIRST + 1 :] for piece in pieces])
        speed = _speed(partial(_counted, counted, book.test[:FIRST], seed), 50)
        work.add(name, f"n-grams, {order} letters", BASELINE, seed, (_bits(shares), speed, speed))
        for said, family, kind, rate in (("LSTM", BASELINE, Recurrent, 1e-2), ("decoder", ATTENTION, Attentive, 5e-3)):
            model = kind(len(book.letters))
            taught(model, book.train, 20 if work.quick else STEPS, rate, partial(_note, work, f"{name}, {said}"))
            own = _said(model, pieces)
            speeds = [_speed(partial(_spoken, model, book.test[:FIRST], keep, seed), 192) for keep in (True, False)]
            work.add(name, said, family, seed, (_bits(own), *speeds))
            mixed = SHARE * own + (1 - SHARE) * shares
            both = [1 / (1 / one + 1 / speed) for one in speeds]
            work.add(name, f"{said} + n-grams", family, seed, (_bits(mixed), *both))
        if name not in work.shown:
            text = "".join(book.letters[sign] for sign in _spoken(model, book.test[:FIRST], True, seed, 240).tolist())
            work.show(**{name: (shares, own, mixed, text)})
            work.remark("\n".join(_lines(name, text[FIRST:])))


def _lines(name: str, text: str) -> list[str]:
    """A text that was generated, in lines that fit a terminal, where a Chinese letter takes two places."""
    flat = " ".join(text.split())
    return [f"{name}, as the decoder goes on:", *(flat[at : at + 38] for at in range(0, 152, 38))]


def _note(work: Work, name: str, said: str) -> None:
    work.note(f"{name}, {said}")


def _pieces(test: Tensor, most: int) -> Tensor:
    """So many pieces, spread evenly, `[pieces, 193]`."""
    begins = torch.linspace(0, len(test) - LAST - 1, most).long()
    return test[begins[:, None] + torch.arange(LAST + 1)]


@torch.no_grad()
def _said(model: Any, pieces: Tensor) -> Tensor:
    """The probability of every letter that judges, `[pieces, 128]`."""
    parts = [model(part[:, :-1])[0].log_softmax(-1).gather(-1, part[:, 1:, None]) for part in pieces.split(20)]
    return torch.cat(parts)[:, FIRST:, 0].double().exp()


def _bits(shares: Tensor) -> float:
    return -float(shares.log2().mean())


def _speed(go: Any, count: int) -> float:
    """Letters per second."""
    go(5)
    began = time.perf_counter()
    go(count)
    return float(count / (time.perf_counter() - began))


def _spoken(model: Any, begin: Tensor, keep: bool, seed: int, count: int) -> Tensor:
    return spoken(model, begin, count, keep=keep, seed=seed)


def _counted(model: Ngram, begin: Tensor, seed: int, count: int) -> None:
    generator, text = torch.Generator().manual_seed(seed), begin
    for _ in range(count):
        text = torch.cat((text, torch.multinomial(model.after(text), 1, generator=generator)))


def draw(figure: Figure, shown: dict[str, Any]) -> None:
    """Bits by how many letters stand before."""
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for panel, (name, (counted, own, mixed, _)) in zip(axes, shown.items(), strict=True):
        looks = (("n-grams", counted, "#D55E00", "--"), ("decoder", own, "#0072B2", "-"), ("both", mixed, "black", ":"))
        for label, shares, colour, style in looks:
            bits = -shares.log2().unflatten(1, (-1, 16)).mean((0, 2))
            panel.plot(range(FIRST + 8, LAST, 16), bits, color=colour, linestyle=style, label=label)
        panel.set(title=name, xlabel="letters that stand before", ylabel="bits per letter, held out")
        panel.legend(frameon=False)


RECIPE = Recipe(
    "generate",
    "Does self-attention say the next letter better than counting or an LSTM, and what does its cache save?",
    "Shakespeare: two of 38 plays judge; 三国演义: eight of 120 chapters.",
    (Measure("bits/letter", ".3f", "less"), Measure("letters/s", ".0f"), Measure("without cache", ".0f")),
    learn,
    draw,
    (11, 4),
    "An LSTM's state holds the last letters by its very form; attention must learn where to look, and a million "
    "letters are few for that. With far more of them deep decoders are ahead (Al-Rfou et al. 2019).",
)
