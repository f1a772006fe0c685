"""The explorer: a page where attention is seen, served on this machine or saved as one file."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import regard
from regard.data import Loaded
from regard.errors import InputError
from regard.explain.survey import Wish
from regard.explorer.desk import Desk
from regard.explorer.models import Models, installed
from regard.explorer.reading import Reading
from regard.explorer.server import Served
from regard.looking import Layers, Look, documents, page

__all__ = ["save", "serve"]


def serve(
    seen: Look | Layers,
    tokens: Sequence[str] | None = None,
    *,
    ids: Tensor | None = None,
    port: int = 0,
    browser: bool = True,
) -> None:
    """Serve the page of a look, or of a model that was watched, until Ctrl-C; its address is printed.

    Args:
        seen: a `Look` at one text, of any length; or `Layers`, watched with `keep="queries"`.
        tokens: the text of each token; else they go by number.
        ids: the token of each key, for duplicate and induction; None takes those that `watch` saw.
        port: 0 takes a free one.
        browser: whether it opens.

    Errors: InputError for what is of several texts, or kept no queries; MissingError without the extra `web`.
    """
    with torch.inference_mode():
        shown = page.shown_of(seen, tokens, ids)
    served = Served(Desk(installed()), port)
    served.desk.add(shown)
    served.desk.start = shown.id
    served.desk.warm(shown)
    print(served.url, flush=True)
    if browser:
        webbrowser.open(served.url)
    served.run()


def save(path: str | Path, loaded: Loaded, text: str, wish: Wish | None = None) -> None:
    """Write the page of a short text as one HTML file that needs neither a server nor the network.

    Args:
        path: of the file.
        loaded: the model that reads it.
        text: at most 64 tokens.
        wish: the layer, head or query to begin with.

    Errors: InputError for a text that is too long or a file that can't be written; MissingError where the page is not
        built.
    """
    named = replace(loaded, name=Path(loaded.name).name)  # a page tells nobody where models are kept here
    models = Models([], {})
    models.keep(named)
    reading = Reading(named.name, text, wish)
    with torch.inference_mode():
        reading.read(models, lambda: None)
        if reading.error is not None:
            raise InputError(reading.error)
        about = documents.about([model.document() for model in models.all], reading.id, regard.__version__)
        whole = page.whole(reading, about)
    try:
        Path(path).write_text(whole, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror}") from error
