"""Who may ask: only with the token, only by a name of this machine; and what the browser may do with the answer."""

from __future__ import annotations

import hmac
import secrets
from typing import Any

__all__ = ["POLICY", "Guard", "new_token"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
LONGEST = 512
LOCAL = ("127.0.0.1", "localhost", "[::1]")


def new_token() -> str:
    """A secret that nobody guesses."""
    return secrets.token_urlsafe(24)


class Guard:
    """In front of the application: refuses foreign hosts, foreign pages and wrong tokens, and takes the token away.

    Args:
        app: what is guarded.
        token: the first part of every path.
        hosts: names by which the server may be called besides those of this machine, without port.
    """

    def __init__(self, app: Any, token: str, hosts: tuple[str, ...] = ()) -> None:
        self._app, self._token, self._hosts = app, token.encode(), (*LOCAL, *hosts)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                extra = [(a.encode(), b.encode()) for a, b in HEADERS.items() if a.encode() not in there]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        if len(scope["path"]) > LONGEST:
            await _refuse(guarded, f"an address has at most {LONGEST} characters", 414)
            return
        why = self._refusal(scope)
        if why is not None:
            await _refuse(guarded, why)
            return
        token, _, rest = scope["path"].lstrip("/").partition("/")
        if not hmac.compare_digest(token.encode(), self._token):
            await _refuse(guarded, "this address lacks the token; open the one that `regard explore` printed")
            return
        # The page's own addresses are relative, so that of the page ends in a slash.
        path = f"/{rest}" if "/" in scope["path"].lstrip("/") else "/slash"
        inner = {**scope, "path": path, "raw_path": path.encode(), "root_path": "", "without": f"/{token}"}
        await self._app(inner, receive, guarded)

    def _refusal(self, scope: dict[str, Any]) -> str | None:
        said = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = said.get(b"host", "")
        if _name(host) not in self._hosts:
            return f"this server answers only as {', '.join(self._hosts)}, not as {host[:80] or 'nobody'}"
        origin = said.get(b"origin")
        if origin is not None and origin.partition("://")[2] != host:
            return f"only its own page may ask, not {origin[:80]}"
        return None


def _name(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.rpartition(":")
    return name.lower() if colon and port.isdigit() else host.lower()


async def _refuse(send: Any, why: str, status: int = 403) -> None:
    from starlette.responses import JSONResponse

    await JSONResponse({"error": why}, status)({"type": "http"}, None, send)
