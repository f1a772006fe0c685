"""The page: no line too wide, colour only where it is wanted, every number there, CJK columns kept."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from wcwidth import wcswidth

from explain import small
from regard import data
from regard.explain import Explanation, Terminal, Wish, explain, page, strip, table
from regard.explain.terminal import bar, clip, pad, width
from regard.explain.tokens import Token, Tokens, read

CHINESE = "我爱北京,我爱北京。 x unbelievable"
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def widest(text: str) -> int:
    return max(wcswidth(line) for line in ESCAPE.sub("", text).splitlines())


@pytest.mark.parametrize("columns", [68, 80, 100])
@pytest.mark.parametrize("colour", [False, True])
def test_no_line_is_too_wide(told: Explanation, columns: int, colour: bool) -> None:
    made = page(told, Terminal(columns, colour))
    assert widest(made) <= columns
    assert ("\x1b[" in made) == colour


@pytest.mark.parametrize("colour", [False, True])
def test_chinese(place: Path, colour: bool) -> None:
    made = page(explain(data.load(str(place)), CHINESE), Terminal(80, colour))
    assert widest(made) <= 80
    assert "北" in made


def test_the_numbers_are_there(told: Explanation) -> None:
    made = page(told, Terminal())
    numbers, key = told.numbers, told.choice.key
    assert f"{numbers.raw:+.3f}" in made
    assert f"= {float(numbers.weights[key]):.4f}" in made
    assert f"{float(numbers.weights[key]):.1%}" in made
    assert f"layer {told.choice.layer} head {told.choice.head}" in made
    assert told.rule in made
    assert "Weights are not explanations" in made
    for heading in ("1  q and k", "2  q · k", "3  score", "4  softmax", "5  out", "6  check"):
        assert f"\n{heading}" in made


def test_products_and_rest_sum_to_the_raw_score(told: Explanation) -> None:
    part = page(told, Terminal()).split("\n2  q · k")[1].split("\n3  score")[0]
    found = [float(number) for number in re.findall(r"= +([+-]\d+\.\d+)", part)]
    rest, total = (float(re.findall(r"([+-]\d+\.\d+)", line)[-1]) for line in part.strip().splitlines()[-2:])
    assert sum(found) + rest == pytest.approx(total, abs=0.005)


def test_the_picked_head_is_marked(told: Explanation) -> None:
    made = page(told, Terminal())
    value = told.table[told.choice.layer][told.choice.head]
    assert made.count("[") - made.count("[CLS]") - made.count("[SEP]") >= 1
    assert f"[{100 * value:.0f}]" in made


@pytest.mark.parametrize("heads", [1, 12, 17, 24, 40, 200])
def test_tables_of_any_width(heads: int) -> None:
    values = [[head / heads for head in range(heads)] for _ in range(3)]
    made = "\n".join(table.lines(values, (1, heads - 1), Terminal()))
    assert widest(made) <= 80
    assert "[" in made or "×" in made


def test_long_texts_show_what_matters() -> None:
    import torch

    count = 1000
    tokens = Tokens(torch.zeros(1, count), tuple(Token(n, f"w{n}", "word", n) for n in range(count)))
    weights = [0.0] * count
    weights[500], weights[900] = 0.7, 0.3
    made = "\n".join(strip.lines(tokens, weights, 100, Terminal()))
    assert widest(made) <= 80
    assert "w500" in made
    assert "w900" in made
    assert "‹w100›" in made
    assert "w300" not in made
    gaps = sum(int(number) for number in re.findall(r"⋯ (\d+) tokens", made))
    assert gaps + len(re.findall(r"w\d+", made)) == count


@pytest.mark.parametrize(
    ("environment", "is_terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colour(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], is_terminal: bool, wanted: bool) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    assert Terminal.of(stream).colour is wanted


@pytest.mark.parametrize("text", ["abc", "我们", "a我b", "é", "e\u0301", "", "·ing"])
def test_columns(text: str) -> None:
    assert width(text) == wcswidth(text)
    assert wcswidth(pad(text, 6)) == 6
    for columns in range(1, 6):
        assert wcswidth(clip(text, columns)) <= columns
    assert [wcswidth(bar(share, 8)) for share in (0, 1e-6, 0.5, 1, 2)] == [8] * 5
    assert bar(1e-6, 8).strip()


def test_words_and_pieces(place: Path) -> None:
    tokens = read(data.load(str(place)), "The unbelievable, street 我爱x zebra")
    said = [(token.label, token.kind, token.word) for token in tokens.each]
    assert said == [
        ("[CLS]", "special", -1),
        ("The", "word", 0),
        ("un", "word", 1),
        ("·believ", "word", 1),
        ("·able", "word", 1),
        (",", "mark", -1),
        ("street", "word", 2),
        ("我", "word", 3),
        ("爱", "word", 4),
        ("x", "word", 5),
        ("[UNK]", "unknown", -1),
        ("[SEP]", "special", -1),
    ]
    assert tokens.find("un") == [2]
    assert tokens.find("-1") == [len(tokens) - 1]


def test_nothing_that_a_terminal_would_obey(place: Path) -> None:
    made = page(explain(data.load(str(place)), "x \x1b[31m \u202e tired \x07 street", Wish()), Terminal())
    assert "\x1b" not in made
    assert "\x07" not in made
    assert "\u202e" not in made


def test_the_sentence_of_the_readme() -> None:
    """MiniLM: the measure finds the head that joins `it` to `animal`."""
    told = explain(data.load("minilm"), "The animal didn't cross the street because it was too tired.")
    tokens, choice = told.tokens, told.choice
    assert (tokens[choice.query].text, tokens[choice.key].text) == ("it", "animal")
    assert told.agreement.difference <= 1e-4
    assert widest(page(told, Terminal())) <= 80
    assert small.SENTENCE.split()[1] in page(told, Terminal())
