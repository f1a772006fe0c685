"""A client of the server, as the page is one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np

from regard.explorer.server import Served


@dataclass
class Page:
    client: httpx2.Client
    served: Served

    def get(self, path: str) -> Any:
        found = self.client.get(path)
        assert found.status_code == 200, found.text
        return found.json()

    def begin(self, text: str, model: str = "bert") -> str:
        """The id of a run."""
        made = self.client.post("api/runs", json={"text": text, "model": model})
        assert made.status_code == 202, made.text
        run: str = made.json()["run"]
        return run

    def read(self, text: str, model: str = "bert") -> str:
        """The id of a run that has ended."""
        run = self.begin(text, model)
        assert self.events(run)[-1]["state"] == "ready"
        return run

    def events(self, run: str) -> list[dict[str, Any]]:
        """All that is told of a run until it ends."""
        found = self.client.get(f"api/runs/{run}/events")
        assert found.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line[6:]) for line in found.text.splitlines() if line.startswith("data: ")]

    def tile(self, path: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        found = self.client.get(path)
        assert found.status_code == 200, found.text
        return np.frombuffer(found.content, "<f4").reshape(256, 256)

    def error(self, path: str, status: int, **how: Any) -> str:
        """The one sentence of an error."""
        found = self.client.request(how.pop("method", "GET"), path, **how)
        assert found.status_code == status, found.text
        document = found.json()
        assert list(document) == ["error"]
        said: str = document["error"]
        assert "\n" not in said
        assert "Traceback" not in said
        return said
