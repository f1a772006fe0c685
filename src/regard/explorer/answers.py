"""Requests read within their bounds, and every error as one sentence."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from regard.data import extra
from regard.errors import InputError, MissingError, RegardError
from regard.explorer.jobs import Busy, Stopping, Withdrawn
from regard.looking.documents import CHARACTERS
from regard.looking.shown import STEPS, Shown

__all__ = [
    "MOST_BYTES",
    "Refusal",
    "body_of",
    "broken",
    "not_yet",
    "nothing",
    "numbers_of",
    "short",
    "there",
    "told",
    "until_gone",
]

MOST_BYTES = 4 * CHARACTERS + 4096
"""Of a request: a character is at most four bytes."""


class Refusal(Exception):
    """An answer that is an error.

    Args:
        status: of HTTP.
        why: one sentence.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


def told(answered: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    """Every error as one sentence."""

    async def told(request: Any) -> Any:
        try:
            return await answered(request)
        except Refusal as error:
            return refused(error.status, error.why)
        except MissingError as error:
            return refused(503, str(error))
        except InputError as error:
            return refused(400, str(error))
        except RegardError as error:
            return refused(500, str(error))
        except Stopping:
            return refused(503, "the server is stopping")
        except Busy:
            return refused(503, "too many newer requests came; ask again")
        except Withdrawn:
            return refused(499, "nobody waits for this any more")

    return told


def refused(status: int, why: str) -> Any:
    return extra("starlette.responses", "starlette", "web").JSONResponse({"error": why}, status)


async def nothing(request: Any, error: Any) -> Any:
    """An address or a method that is none."""
    return refused(
        error.status_code, f"there is nothing at {request.url.path.rpartition('/')[2][:80] or 'this address'}"
    )


async def broken(request: Any, error: Exception) -> Any:
    """A mistake of ours; the server goes on."""
    return refused(500, f"this went wrong on the server: {type(error).__name__}; what it printed says where")


async def until_gone(request: Any) -> None:
    """Ends when whoever asked has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def body_of(request: Any) -> dict[str, Any]:
    """The JSON object of a request, within its bounds."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Refusal(413, f"a request may hold {MOST_BYTES:,} bytes; shorten the text")
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the request is not JSON in UTF-8") from None
    if not isinstance(said, dict):
        raise Refusal(400, "the request must be a JSON object")
    return said


def numbers_of(request: Any) -> tuple[int, ...]:
    """The numbers in an address."""
    return tuple(value for value in request.path_params.values() if isinstance(value, int))


def there(name: str, value: int, length: int) -> None:
    """A refusal unless there is such a layer, head, query or key."""
    if not 0 <= value < length:
        raise Refusal(400, f"{name} must be 0 to {length - 1}, got {value}")


def short(reading: Shown) -> None:
    """A refusal of a text whose steps are not shown."""
    if len(reading.words) > STEPS:
        raise Refusal(413, f"steps are shown for at most {STEPS} tokens, and this text has {len(reading.words)}")


def not_yet(reading: Shown, what: str) -> Refusal:
    """The refusal of what is not there yet, or never will be."""
    if reading.ended:
        return Refusal(409, reading.error or f"the run was {reading.state}; post its text again")
    return Refusal(409, f"{what} are not there yet: {reading.progress.what}")
