"""A server on this machine, found by one address, ended by Ctrl-C."""

from __future__ import annotations

import socket
import threading
from typing import Any

from regard.data import extra
from regard.errors import InputError
from regard.explorer.app import application
from regard.explorer.desk import Desk
from regard.explorer.security import Guard, new_token

__all__ = ["HOST", "Served"]

HOST = "127.0.0.1"
PATIENCE = 5


class Served:
    """An address, and what answers there.

    Args:
        desk: what is served; it ends with the server.
        port: 0 takes a free one.
    """

    def __init__(self, desk: Desk, port: int = 0) -> None:
        uvicorn = extra("uvicorn", "uvicorn", "web")
        self.desk, self.token = desk, new_token()
        self._socket = _bound(port)
        self.port: int = self._socket.getsockname()[1]
        guarded = Guard(application(desk), self.token)
        config = uvicorn.Config(
            guarded, log_level="warning", access_log=False, lifespan="off", server_header=False,
            timeout_graceful_shutdown=PATIENCE,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._leave = self._server.handle_exit
        self._server.handle_exit = self._interrupted

    @property
    def url(self) -> str:
        """The address of the page, its token in it."""
        return f"http://{HOST}:{self.port}/{self.token}/"

    def run(self) -> None:
        """Answer until `stop`, or Ctrl-C."""
        try:
            self._server.run(sockets=[self._socket])
        except KeyboardInterrupt:  # uvicorn raises it once more when all is closed
            pass
        finally:
            self.desk.stop()
            self._socket.close()

    def stop(self) -> None:
        """End: what runs ends at its next layer, who waits is told."""
        self._server.should_exit = True
        self.desk.stop()

    def _interrupted(self, signal: int, frame: Any) -> None:
        """Streams end before uvicorn waits for them. In a thread: the interrupted one may hold the worker's lock."""
        threading.Thread(target=self.desk.stop).start()
        self._leave(signal, frame)


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
        made.listen(128)  # from here on the address answers
    except (OSError, OverflowError) as error:
        made.close()
        raise InputError(f"--port {port} can't be had ({error}); --port 0 takes a free one") from error
    return made
