"""`regard explore` as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

TEXT = "The animal didn't cross the street because it was too tired."


class Server:
    """`regard explore` as a process of its own; its first line is its address."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", "regard", "explore", *words, "--no-open"]
        surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=surroundings
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:")

    def stop(self) -> None:
        """End it, as a reader at the terminal would."""
        self.process.terminate()
        self.process.wait(timeout=30)
