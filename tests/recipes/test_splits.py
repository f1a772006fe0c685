"""What models learn from and what judges them never meet; the models beside attention, by hand."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import pytest
import torch
from torch import nn

from regard import data
from regard.data import graphs, installed
from regard.errors import InputError, MissingError
from regard.recipes import classify, convolve, forecast, image, long, plays
from regard.recipes.graph_models import propagated
from regard.recipes.mixture import CLASSES, drawn, truth_of
from regard.recipes.regress import FOLDS
from regard.recipes.smoothers import nearest
from regard.recipes.splits import chosen, folds, place


def there(read):
    """Data, or a skip that says what is missing."""
    try:
        return read()
    except MissingError as error:
        pytest.skip(str(error))


def test_places_are_the_same_everywhere() -> None:
    assert place("1", "a") == pytest.approx(PLACE, abs=1e-12)
    many = torch.tensor([place(str(item), "b") for item in range(997)])
    assert many.min() >= 0 and many.max() < 1 and (many.mean() - 0.5).abs() < 0.03


PLACE = 0.6972597455578795


def test_equal_keys_are_in_one_fold() -> None:
    keys = ["2.4", "2.6", "2.4", "3.2", "2.6"]
    fold = folds(keys, 10, "mcycle/0")
    assert fold[0] == fold[2] and fold[1] == fold[4]
    assert not torch.equal(folds(list(map(str, range(101))), 10, "0"), folds(list(map(str, range(101))), 10, "1"))


def test_so_many_of_every_side() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 2, 1, 1])
    picked = chosen(labels, 2, "x")
    assert torch.bincount(labels[picked]).tolist() == [2, 2, 2]
    assert torch.equal(picked, chosen(labels, 2, "x"))


@pytest.mark.parametrize("read", [data.mcycle, data.faithful])
def test_no_moment_is_on_both_sides(read) -> None:
    known = there(read)
    assert len(known.x) == {"mcycle": 133, "faithful": 272}[known.name]
    for seed in range(3):
        fold = folds([f"{x:g}" for x in known.x.tolist()], FOLDS, f"{known.name}/{seed}")
        assert fold.unique().tolist() == list(range(FOLDS))
        for part in range(FOLDS):
            assert not set(known.x[fold == part].tolist()) & set(known.x[fold != part].tolist())


def test_no_half_hour_is_on_both_sides() -> None:
    year = there(data.elecdemand)
    assert len(year.demand) == 17520
    train, judged = forecast.windows(len(year.demand), quick=False)
    spans = torch.arange(-forecast.WEEK, forecast.DAY)
    touched = [set((first[:, None] + spans).flatten().tolist()) for first in (train, judged)]
    assert not touched[0] & touched[1]
    assert min(touched[0]) == 0 and max(touched[1]) < 17520
    early = forecast.Series(year)
    year.demand[forecast.LAST :] += 100
    assert torch.equal(forecast.Series(year).demand[: forecast.LAST], early.demand[: forecast.LAST])


def test_no_film_and_no_sentence_is_on_both_sides() -> None:
    all_ = there(data.reviews)
    assert (len(all_.texts), len(set(all_.texts)), len(set(all_.about))) == (12752, 12752, 507)
    held = classify.split(all_).tolist()
    assert 0.15 < sum(held) / len(held) < 0.25
    films = [{film for film, judged in zip(all_.about, held, strict=True) if judged is side} for side in (False, True)]
    assert films[0] and films[1] and not films[0] & films[1]


def test_no_chinese_review_is_on_both_sides() -> None:
    """The files hold half of the reviews twice or more: each counts once, those of two verdicts not at all."""
    all_ = there(data.chinese)
    assert len(all_.texts) == len(set(all_.texts)) == 17363
    assert torch.bincount(all_.labels).tolist() == [9031, 8332]
    train, judged = classify.sides(all_, 1009)
    assert (len(train), len(judged)) == (1009, 504)
    assert not set(train.tolist()) & set(judged.tolist())
    held = classify.split(all_)
    assert held[judged].all() and not held[train].any()
    assert 0.3 < all_.labels[train].double().mean() < 0.7  # the order is by hash, not that of the files


def test_no_headline_is_on_both_sides() -> None:
    news = there(data.news)
    assert len(news.texts) == len(set(news.texts)) == 2125
    assert torch.bincount(news.labels).tolist() == [503, 369, 403, 503, 347]
    held = long.split(news).tolist()
    assert 0.15 < sum(held) / len(held) < 0.25
    titles = [
        {title for title, judged in zip(news.titles, held, strict=True) if judged is side} for side in (False, True)
    ]
    assert titles[0] and titles[1] and not titles[0] & titles[1]


def test_hamlet_is_no_play_that_is_counted() -> None:
    """What judges is one play, what is counted four others; the stretches of three seeds don't overlap."""
    hamlet = there(lambda: data.play("hamlet"))
    assert len(hamlet) == 189481
    assert "hamlet" not in plays.OTHERS
    assert all(hamlet[:997] not in data.play(name) for name in plays.OTHERS)
    spans = [plays.stretch(61105, 1024, seed) for seed in range(3)]
    assert all(span.start >= 0 and span.stop <= 61105 and span.stop - span.start == 1024 for span in spans)
    assert spans[0].stop <= spans[1].start and spans[1].stop <= spans[2].start


def test_what_judges_was_never_drawn_to_learn_from() -> None:
    truth = truth_of(torch.Generator().manual_seed(0))
    x, _ = drawn(truth, 300, torch.Generator().manual_seed(0))
    new, _ = drawn(truth, 5000, torch.Generator().manual_seed(1 << 32))
    assert torch.cdist(x, new).min() > 0


def test_attention_over_the_parts_is_bayes() -> None:
    truth = truth_of(torch.Generator().manual_seed(5))
    x, _ = drawn(truth, 101, torch.Generator().manual_seed(7))
    with torch.no_grad():
        parts = torch.distributions.Normal(truth.means, truth.log_width.exp())
        joint = (parts.log_prob(x[:, None]).sum(-1) + truth.log_shares).exp()
        classes = joint @ nn.functional.one_hot(truth.classes.argmax(-1), CLASSES).float()
        torch.testing.assert_close(truth(x).exp(), classes / classes.sum(-1, keepdim=True), rtol=1e-4, atol=1e-6)


def test_a_network_of_convolutions_becomes_attention() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 5, 3), nn.Flatten())
    maps, ours = torch.randn(2, 1, 7, 11), convolve.replaced(network)
    assert not any(isinstance(layer, nn.Conv2d) for layer in ours)
    torch.testing.assert_close(ours(maps), network(maps), rtol=1e-5, atol=1e-5)


def test_the_nearest_point() -> None:
    """Pairs of equal answers far apart: one neighbour tells all, two are wrong at each."""
    x = torch.tensor([0.0, 0.1, 5.0, 5.1, 9.0, 9.1], dtype=torch.float64).repeat_interleave(6)
    x = x + torch.arange(36) * 1e-4
    y = torch.tensor([1.0, 1.0, 2.0, 2.0, 7.0, 7.0], dtype=torch.float64).repeat_interleave(6)
    said = nearest(x, y, torch.tensor([0.05, 5.05, 9.05], dtype=torch.float64))
    assert said.guess.tolist() == [1, 2, 7] and said.left_out.abs().max() == 0


def test_labels_spread_to_the_nearer_side() -> None:
    """A path of 5: its ends are known."""
    path = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
    graph = data.Network("path", torch.cat((path, path.flip(0)), 1), torch.tensor([0, 0, 0, 1, 1]), ("a", "b"))
    assert propagated(graph, torch.tensor([True, False, False, False, True]), 0, 0).tolist()[:2] == [0, 0]
    assert propagated(graph, torch.tensor([True, False, False, False, True]), 0, 0).tolist()[3:] == [1, 1]


def test_graphs() -> None:
    """Sizes as published: the club, and the largest part of the blogs, whose links are counted once each way."""
    club = there(data.karate)
    assert (len(club.labels), club.edges.shape[1], club.labels.unique().tolist()) == (34, 156, [0, 1, 2, 3])
    blogs = there(data.polblogs)
    assert (len(blogs.labels), blogs.edges.shape[1]) == (1222, 2 * 16714)
    assert torch.bincount(blogs.labels).tolist() == [586, 636]


def test_pictures() -> None:
    images = there(data.fashion)
    assert list(images.train.shape) == [60000, 1, 28, 28] and list(images.test.shape) == [10000, 1, 28, 28]
    assert torch.bincount(images.train_labels).tolist() == [6000] * 10 and images.train.max() == 1


def test_digits() -> None:
    """Every fifth digit judges: as many of each kind."""
    images = there(data.digits)
    assert images.name == "MNIST" and torch.bincount(images.train_labels).tolist() == [400] * 10
    assert torch.bincount(images.test_labels).tolist() == [100] * 10
    assert images.train.shape[1:] == images.test.shape[1:] == (1, 28, 28) and images.train.max() == 1
    assert torch.cdist(images.test.flatten(1), images.train.flatten(1)).min() > 0


def test_pictures_are_moved_and_mirrored() -> None:
    """One bright place, moved by two at most; what is written is not mirrored."""
    spot = torch.zeros(97, 1, 28, 28)
    spot[:, 0, 14, 5] = 1
    generator = torch.Generator().manual_seed(0)
    places = image.moved(spot, True, generator).flatten(1).argmax(1)
    assert {int(place) % 28 for place in places} <= {*range(3, 8), *range(20, 25)} and len(places.unique()) == 2
    assert len(image.moved(spot, False, generator).flatten(1).argmax(1).unique()) == 1


def packed(properties: bytes) -> bytes:
    """Three nodes, edges 0 → 1, 0 → 2, 2 → 1, and properties."""
    text = struct.pack("<Q", 2) + b"hi"
    lists = struct.pack("<QBBQQB", 2, 1, 2, 0, 1, 1)
    return b"\xe2\x9b\xbe gt\x01\x00" + text + b"\1" + struct.pack("<Q", 3) + lists + properties


def test_the_format_of_graph_tool() -> None:
    words = b"".join(struct.pack("<Q", len(word)) + word for word in (b"a", b"", b"ccc"))
    label = b"\1" + struct.pack("<Q", 5) + b"label" + b"\6" + words
    value = b"\1" + struct.pack("<Q", 5) + b"value" + b"\2" + struct.pack("<3i", 7, 8, 9)
    edges, values = graphs._read_gt(packed(struct.pack("<Q", 2) + label + value), "value")
    assert edges.tolist() == [[0, 0, 2], [1, 2, 1]] and values.tolist() == [7, 8, 9]
    with pytest.raises(InputError, match="has no such property"):
        graphs._read_gt(packed(struct.pack("<Q", 1) + label), "value")
    with pytest.raises(InputError, match="must be in graph-tool's format"):
        graphs._read_gt(b"nothing", "value")


def test_damaged_data_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "ROOTS", (tmp_path,))
    file = tmp_path / graphs.FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(gzip.compress(b"other"))
    with pytest.raises(
        InputError, match=r"damaged or of another version: its SHA-256 must begin with .*install it anew"
    ):
        data.polblogs()


def test_a_folder_of_data_is_whole_or_not_read(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.txt", "b.txt")]
    for file in files:
        file.write_bytes(file.name.encode())
    digest = hashlib.sha256(b"a.txtb.txt").hexdigest()
    assert installed.together(tmp_path, files, digest, "pip") == [b"a.txt", b"b.txt"]
    with pytest.raises(InputError, match=r"the 1 files in .* are damaged, missing or .* install them anew: pip"):
        installed.together(tmp_path, files[:1], digest, "pip")
    with pytest.raises(InputError, match=r"c.txt can't be read \(No such file"):
        installed.together(tmp_path, [tmp_path / "c.txt"], digest, "pip")
