"""`regard explore`: a server until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import threading
import webbrowser

from regard import arguments, bundle
from regard.errors import InputError
from regard.explorer.desk import Desk
from regard.explorer.models import installed
from regard.explorer.server import Served
from regard.progress import Progress

__all__ = ["run"]

LAST_PORT = 65535


def run(asked: argparse.Namespace, progress: Progress) -> int:
    """Serve the page until Ctrl-C; its address is the first line that is printed."""
    if not 0 <= asked.port <= LAST_PORT:
        raise InputError(f"--port must be 0 to {LAST_PORT}, got {asked.port}")
    text = arguments.text(asked.text) if asked.text else None
    models = installed(asked.model)
    served = Served(Desk(models), asked.port)
    if text is not None:
        served.desk.start = served.desk.begin(text, models.all[0].name).id
    progress.print(served.url)
    for note in _notes(asked):
        print(f"regard: {note}", file=sys.stderr)
    if not asked.no_open:
        threading.Thread(target=webbrowser.open, args=(served.url,), daemon=True).start()
    served.run()
    return 0


def _notes(asked: argparse.Namespace) -> list[str]:
    notes = ["Ctrl-C ends it"]
    if not bundle.built():
        notes.append(bundle.UNBUILT)
    return notes
