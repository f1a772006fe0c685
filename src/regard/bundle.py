"""The page that TypeScript makes, as it is installed: its files, and all of it in one that needs no server."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from regard.errors import MissingError

__all__ = ["FILES", "PLACE", "UNBUILT", "built", "file", "whole"]

PLACE = Path(__file__).with_name("explorer") / "static"
FILES = {
    "index.html": "text/html; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "licences.txt": "text/plain; charset=utf-8",
}
UNBUILT = "the page of the explorer is not built: run `make page`, which needs Node.js 20 or later"
HEAD, STYLE, SCRIPT = (
    "<!-- head -->",
    '<link rel="stylesheet" href="page.css">',
    '<script src="page.js"></script>',
)


def built() -> bool:
    """Whether the page is there."""
    return (PLACE / "index.html").is_file()


def file(name: str) -> bytes:
    """One of `FILES`.

    Errors: MissingError, with the command that makes it.
    """
    try:
        return (PLACE / name).read_bytes()
    except OSError:
        raise MissingError(UNBUILT) from None


def whole(saved: dict[str, Any]) -> str:
    """The page with its data in one HTML file, which runs its own script and asks nobody for anything.

    Args:
        saved: what the server would answer, as JSON.
    """
    page, script, style = (file(name).decode() for name in ("index.html", "page.js", "page.css"))
    data = json.dumps(saved, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src blob: data:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        HEAD: f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        STYLE: f"<style>{style}</style>",
        SCRIPT: f'<script type="application/json" id="saved">{data}</script>\n<script>{script}</script>',
    }
    for mark, part in parts.items():
        before, found, after = page.partition(mark)
        if not found:
            raise MissingError(f"the page of the explorer is of another version: it lacks {mark}; run `make page`")
        page = f"{before}{part}{after}"
    return page


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
