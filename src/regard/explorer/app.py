"""The routes: what the page may ask, and what it is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

import regard
from regard import bundle
from regard.data import extra
from regard.explorer.answers import (
    Refusal,
    body_of,
    broken,
    not_yet,
    nothing,
    numbers_of,
    short,
    there,
    told,
    until_gone,
)
from regard.explorer.desk import Desk
from regard.explorer.events import events
from regard.explorer.jobs import Job, Withdrawn
from regard.explorer.reading import Reading
from regard.explorer.tiles import Place
from regard.explorer.whatif import WhatIf, answer
from regard.looking import documents
from regard.looking.documents import CHARACTERS
from regard.looking.shown import Shown
from regard.looking.told import Sight

T = TypeVar("T")
__all__ = ["Routes", "application"]

FOREVER = "private, max-age=31536000, immutable"


def application(desk: Desk) -> Any:
    """The application for a server, without its guard."""
    starlette = extra("starlette.applications", "starlette", "web")
    routing = extra("starlette.routing", "starlette", "web")
    routes = Routes(desk)
    run = "/api/runs/{run}"
    table = [
        ("GET", "/", routes.page),
        ("GET", "/slash", routes.slash),
        ("GET", "/api/about", routes.about),
        ("POST", "/api/runs", routes.begin),
        ("GET", run, routes.run),
        ("DELETE", run, routes.cancel),
        ("GET", f"{run}/events", routes.events),
        ("GET", f"{run}/tokens", routes.tokens),
        ("GET", f"{run}/heads", routes.heads),
        ("GET", f"{run}/heads/{{layer:int}}/{{head:int}}", routes.head),
        ("GET", f"{run}/tiles/{{layer:int}}/{{head:int}}/{{statistic}}/{{zoom:int}}/{{x:int}}/{{y:int}}", routes.tile),
        ("GET", f"{run}/pairs/{{layer:int}}/{{head:int}}/{{query:int}}/{{key:int}}", routes.pair),
        ("GET", f"{run}/steps/{{layer:int}}/{{head:int}}/{{query:int}}", routes.steps),
        ("POST", f"{run}/whatif", routes.whatif),
        ("GET", "/{name}", routes.static),
    ]
    made = [routing.Route(path, told(answered), methods=[method]) for method, path, answered in table]
    handlers = {404: nothing, 405: nothing, Exception: broken}
    made_app = starlette.Starlette(routes=made, exception_handlers=handlers)
    made_app.router.redirect_slashes = False  # an address with a slash too many is another address
    return made_app


class Routes:
    """One method for each address."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        responses = extra("starlette.responses", "starlette", "web")
        self._response, self._streaming = responses.Response, responses.StreamingResponse

    # ----------------------------------------------------------------------------------------------- the page

    async def page(self, request: Any) -> Any:
        """The page itself."""
        return self._file("index.html")

    async def static(self, request: Any) -> Any:
        """One of its files, by a name that is on the list."""
        name = request.path_params["name"]
        if name not in bundle.FILES:
            raise Refusal(404, f"there is nothing at {name[:80]}")
        return self._file(name)

    async def slash(self, request: Any) -> Any:
        """The address without its last slash: the page's own addresses are relative to the one with it."""
        return self._response(status_code=308, headers={"location": request.scope["without"] + "/"})

    def _file(self, name: str) -> Any:
        return self._response(bundle.file(name), media_type=bundle.FILES[name], headers={"cache-control": "no-cache"})

    # ----------------------------------------------------------------------------------------------- the runs

    async def about(self, request: Any) -> Any:
        """What there is."""
        models = [model.document() for model in self._desk.models.all]
        return self._json(documents.about(models, self._desk.start, regard.__version__))

    async def begin(self, request: Any) -> Any:
        """A text to read."""
        said = await body_of(request)
        text, model = said.get("text"), said.get("model")
        if not isinstance(text, str) or not isinstance(model, str):
            raise Refusal(400, 'a run needs {"text": "…", "model": "…"}')
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise Refusal(400, "the text holds half of a character (a lone surrogate); send it as UTF-8")
        if len(text) > CHARACTERS:
            raise Refusal(413, f"the text has {len(text):,} characters, and {CHARACTERS:,} can be taken; shorten it")
        if model not in {known.name for known in self._desk.models.all}:
            raise Refusal(404, f"there is no model {model[:80]!r} here; api/about lists those that are")
        return self._json({"run": self._desk.begin(text, model).id}, 202)

    async def run(self, request: Any) -> Any:
        """How far a run is."""
        return self._json(documents.run(self._reading(request)))

    async def cancel(self, request: Any) -> Any:
        """Nobody wants it any more."""
        reading = self._reading(request)
        self._desk.cancel(reading)
        return self._json(documents.run(reading))

    async def events(self, request: Any) -> Any:
        """How far it is, told whenever it gets further."""
        news = events(self._reading(request), self._desk)
        return self._streaming(news, media_type="text/event-stream", headers={"cache-control": "no-store"})

    async def tokens(self, request: Any) -> Any:
        """Its tokens."""
        reading = self._reading(request)
        if not reading.words:
            raise not_yet(reading, "its tokens")
        return self._json(documents.tokens(reading))

    # ---------------------------------------------------------------------------------------- what was seen

    async def heads(self, request: Any) -> Any:
        """All measures of all heads that were seen by now."""
        reading = self._reading(request)
        if not reading.measures:
            raise not_yet(reading, "its heads")
        return self._json(documents.heads(reading))

    async def head(self, request: Any) -> Any:
        """One head."""
        reading, sight, head = self._head(request)
        name = ("head", reading.id, *numbers_of(request))
        where, words = reading.segment_of(), reading.no_sinks
        return self._json(await self._answer(request, name, lambda job: sight.head(head, where, words)))

    async def tile(self, request: Any) -> Any:
        """One tile of one head, as bytes."""
        reading = self._reading(request)
        said = request.path_params
        place = Place(**{name: said[name] for name in ("layer", "head", "statistic", "zoom", "x", "y")})
        sight = self._sight(reading, place.layer)
        place.check(sight)
        tag = f'"{reading.id}-{"-".join(str(part) for part in vars(place).values())}"'
        headers = {"etag": tag, "cache-control": FOREVER, "regard-exact": "exact"}
        if request.headers.get("if-none-match") == tag:
            return self._response(status_code=304, headers=headers)
        made, spent = await self._answer(
            request, ("tile", reading.id, place), lambda job: self._desk.tile(reading.id, sight, place)
        )
        headers["server-timing"] = f"tile;dur={spent * 1000:.1f}"
        return self._response(made, media_type="application/octet-stream", headers=headers)

    async def pair(self, request: Any) -> Any:
        """One weight."""
        reading, sight, head = self._head(request)
        row, key = request.path_params["query"], request.path_params["key"]
        there("query", row, sight.problem.queries)
        there("key", key, sight.problem.keys)
        name = ("pair", reading.id, *numbers_of(request))
        return self._json(await self._answer(request, name, lambda job: sight.pair(head, row, key)))

    async def steps(self, request: Any) -> Any:
        """Every step of one query of a short text."""
        reading, sight, head = self._head(request)
        row = request.path_params["query"]
        there("query", row, sight.problem.queries)
        short(reading)
        name = ("steps", reading.id, *numbers_of(request))
        return self._json(await self._answer(request, name, lambda job: documents.steps(sight, head, row)))

    async def whatif(self, request: Any) -> Any:
        """The steps as they would be."""
        reading = self._reading(request)
        short(reading)
        if not isinstance(reading, Reading):
            raise Refusal(400, "a what-if runs a model again, and this is a look without one")
        if reading.state != "ready":
            raise not_yet(reading, "a what-if")
        asked = WhatIf.of(await body_of(request), reading)
        jobs = self._desk.jobs
        job = jobs.ask_model(
            ("whatif", reading.id, asked), lambda job: answer(reading, asked, lambda: jobs.breathe(job))
        )
        return self._json(await self._wait(request, job))

    # --------------------------------------------------------------------------------------------- the desk

    def _reading(self, request: Any) -> Shown:
        name = request.path_params["run"]
        try:
            return self._desk.find(name)
        except KeyError:
            raise Refusal(
                404, f"there is no run {name[:40]}; it may have been forgotten: post its text again"
            ) from None

    def _sight(self, reading: Shown, layer: int) -> Sight:
        seen = len(reading.sights)
        if layer >= seen and not reading.ended:
            raise not_yet(reading, f"layer {layer}")
        if not seen:
            raise Refusal(409, reading.error or f"the run was {reading.state}; post its text again")
        there("layer", layer, seen)
        return reading.sights[layer]

    def _head(self, request: Any) -> tuple[Shown, Sight, int]:
        reading = self._reading(request)
        sight, head = self._sight(reading, request.path_params["layer"]), request.path_params["head"]
        there("head", head, sight.heads)
        return reading, sight, head

    async def _answer(self, request: Any, name: tuple[object, ...], work: Callable[[Job], T]) -> T:
        found: T = await self._wait(request, self._desk.jobs.ask(name, work))
        return found

    async def _wait(self, request: Any, job: Job) -> Any:
        """The answer; where who asked goes away, nobody waits."""
        answered = asyncio.ensure_future(asyncio.wrap_future(job.answer))
        answered.add_done_callback(_heard)
        gone = asyncio.ensure_future(until_gone(request))
        try:
            await asyncio.wait({answered, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answered.done():
                raise Withdrawn
            return answered.result()
        finally:
            gone.cancel()
            self._desk.jobs.leave(job)

    def _json(self, document: Any, status: int = 200) -> Any:
        body = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return self._response(body, status, media_type="application/json", headers={"cache-control": "no-store"})


def _heard(answered: asyncio.Future[Any]) -> None:
    """An error that comes when who asked has gone is for nobody; asyncio would print it."""
    if not answered.cancelled():
        answered.exception()
