"""Who may ask what: tokens, hosts, paths, sizes, cancelled and many requests; the server stays up."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch

import regard as rg
from explain import small
from explorer.asking import Page
from regard import bundle
from regard.explorer import answers
from regard.explorer import desk as rooms
from regard.explorer.app import application
from regard.explorer.desk import Desk
from regard.explorer.jobs import Job
from regard.looking.documents import CHARACTERS
from regard.looking.shown import Shown, of_looks

PATIENCE = 30


class Busy:
    """The worker, held until `go`."""

    def __init__(self, desk: Desk) -> None:
        self.began, self.go, self._desk = threading.Event(), threading.Event(), desk
        self.job = desk.jobs.ask_model("held", self._work)
        assert self.began.wait(PATIENCE)

    def _work(self, job: Job) -> None:
        self.began.set()
        assert self.go.wait(PATIENCE)
        self._desk.jobs.breathe(job)


@pytest.fixture
def look(desk: Desk) -> Shown:
    """A run of 67 tokens that is there already: too long for steps."""
    shown = of_looks([rg.look(*(torch.randn(1, 67, 5) for _ in range(2)))])
    desk.add(shown)
    return shown


def settle(desk: Desk) -> None:
    """All short questions are answered before a long one."""
    desk.jobs.ask_model("settle", lambda job: None).answer.result(PATIENCE)


# ------------------------------------------------------------------------------------------------------- doors


@pytest.mark.parametrize("path", ["/", "/nonsense/", "/api/about", "/x/api/about", "/%00/", "/é/", "/../", "//"])
def test_a_wrong_token_says_so(page: Page, path: str) -> None:
    base = f"http://127.0.0.1:{page.served.port}"
    assert "token" in page.error(f"{base}{path}", 403)


def test_a_token_almost_right_is_wrong(page: Page) -> None:
    base = f"http://127.0.0.1:{page.served.port}"
    token = page.served.token
    assert len(token) >= 32
    for wrong in (token[:-1], token + "x", token.swapcase()):
        page.error(f"{base}/{wrong}/api/about", 403)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]:7", "localhost.", "0"]
)
def test_a_foreign_host_is_refused(page: Page, host: str) -> None:
    assert "answers only as" in page.error("api/about", 403, headers={"host": host})


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1", "[::1]:8"])
def test_this_machine_is_not_foreign(page: Page, host: str) -> None:
    assert page.client.get("api/about", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
def test_a_foreign_page_may_not_ask(page: Page, origin: str) -> None:
    assert "its own page" in page.error("api/about", 403, headers={"origin": origin})


def test_its_own_page_is_not_foreign(page: Page) -> None:
    own = f"http://127.0.0.1:{page.served.port}"
    assert page.client.get("api/about", headers={"origin": own}).status_code == 200


PATHS = [
    *("../pyproject.toml", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "page.js/../../x", "static/page.js"),
    *("/etc/passwd", "api/../../../etc/passwd", "%00", "index.html%00.js", "api", "api/", "api/runs/", "api/nothing"),
    *("__init__.py", "..", ".", "C:%5Cwindows", "api/runs/..%2f..", "api/runs/x/tokens/y", "licences.txt/"),
]


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("path", PATHS)
def test_no_path_reaches_the_files(page: Page, path: str) -> None:
    url = f"http://127.0.0.1:{page.served.port}/{page.served.token}/{path}"
    found = page.client.send(page.client.build_request("GET", url))
    assert found.status_code in (200, 308, 403, 404, 405), found.text
    assert "root:" not in found.text
    assert "[project]" not in found.text
    if found.status_code == 200:  # ".." and the like are tidied up by every client, and what is left is the page
        assert found.text == bundle.file("index.html").decode()
    elif found.status_code == 308:
        assert (path, found.headers["location"]) == (".", f"/{page.served.token}/")
    else:
        assert list(found.json()) == ["error"]


def test_a_raw_path_does_not_either(page: Page) -> None:
    """Without a client that tidies the path up."""
    import socket

    for path in ("/../../etc/passwd", "/../page.js", "//page.js", f"/{'9' * 300}", "/\\..\\x", "/" + "a" * 5000):
        with socket.create_connection(("127.0.0.1", page.served.port), timeout=PATIENCE) as raw:
            request = f"GET /{page.served.token}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            raw.sendall(request.encode())
            answer = b"".join(iter(lambda: raw.recv(1 << 16), b"")).decode()
        assert re.match(r"HTTP/1\.1 4\d\d ", answer), (path, answer[:200])
        assert '{"error":' in answer
        assert "root:" not in answer


def test_every_answer_is_strict(page: Page) -> None:
    for path, status in (("api/about", 200), ("api/runs/none", 404), ("nothing", 404)):
        found = page.client.get(path)
        assert found.status_code == status
        policy = found.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["referrer-policy"] == "no-referrer"
        assert "server" not in found.headers
    refused = page.client.get(f"http://127.0.0.1:{page.served.port}/wrong/")
    assert "default-src 'none'" in refused.headers["content-security-policy"]


@pytest.mark.usefixtures("no_bundle")
def test_without_the_page_it_says_what_to_do(page: Page) -> None:
    for path in ("", "page.js"):
        said = page.error(path, 503)
        assert "make page" in said
        assert "Node.js 20" in said
    page.get("api/about")


def test_the_page_and_its_files(page: Page, built: Path) -> None:
    for path, name in (("", "index.html"), ("page.js", "page.js"), ("page.css", "page.css")):
        found = page.client.get(path)
        assert found.content == (built / name).read_bytes()
        assert found.headers["content-type"] == bundle.FILES[name]
    bare = page.client.get(page.served.url.rstrip("/"))
    assert (bare.status_code, bare.headers["location"]) == (308, f"/{page.served.token}/")


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "JSON"),
        (b"{", 400, "JSON"),
        (b"\xff\xfe", 400, "JSON"),
        (b"[" * 99_999, 400, "JSON"),
        (b"7" * 9_999, 400, "JSON"),
        (b"[]", 400, "object"),
        (b"{}", 400, "needs"),
        (b'{"text": 7, "model": "bert"}', 400, "needs"),
        (b'{"text": "  ", "model": "bert"}', 400, "empty"),
        (b'{"text": "a \\ud800 b", "model": "bert"}', 400, "surrogate"),
        (b'{"text": "a", "model": "gpt-9"}', 404, "no model 'gpt-9'"),
        (b'{"text": "a", "model": "/etc"}', 404, "no model '/etc'"),
        (b'{"text": "a", "model": "../bert"}', 404, "no model"),
        (json.dumps({"text": "a" * (CHARACTERS + 1), "model": "bert"}).encode(), 413, "shorten"),
        (b'{"text": "' + b"a" * (answers.MOST_BYTES + 7) + b'"}', 413, "shorten"),
    ],
)
def test_a_bad_run_is_one_sentence(page: Page, body: bytes, status: int, says: str) -> None:
    assert says in page.error("api/runs", status, method="POST", content=body)
    assert not page.served.desk._runs


def test_a_text_with_too_many_tokens_fails_with_a_reason(page: Page) -> None:
    run = page.begin("the animal " * 50)
    last = page.events(run)[-1]
    assert last["state"] == "failed"
    assert "at most 64" in last["error"]
    for path in ("heads", "tiles/0/0/mean/0/0/0"):
        assert "at most 64" in page.error(f"api/runs/{run}/{path}", 409)


def test_what_is_not_there_is_said(page: Page) -> None:
    run = page.read(small.SENTENCE)
    base = f"api/runs/{run}"
    for path, status, says in [
        ("api/runs/none", 404, "no run none"),
        ("api/runs/none/events", 404, "no run"),
        (f"{base}/heads/3/0", 400, "layer must be 0 to 2, got 3"),
        (f"{base}/heads/0/4", 400, "head must be 0 to 3, got 4"),
        (f"{base}/heads/-1/0", 404, "nothing"),
        (f"{base}/heads/{'9' * 99}/0", 400, "layer must be"),
        (f"{base}/tiles/0/0/mean/1/0/0", 400, "zoom must be 0 to 0"),
        (f"{base}/tiles/0/0/mean/0/1/0", 400, "x and y must be 0 to 0"),
        (f"{base}/tiles/0/0/median/0/0/0", 400, "mean or max, got median"),
        (f"{base}/pairs/0/0/15/0", 400, "query must be 0 to 14"),
        (f"{base}/pairs/0/0/0/15", 400, "key must be 0 to 14"),
        (f"{base}/steps/0/0/99", 400, "query must be 0 to 14"),
    ]:
        assert says in page.error(path, status), path
    assert page.client.post(f"{base}/heads").status_code == 405


def test_steps_are_for_short_texts(page: Page, look: Shown) -> None:
    base = f"api/runs/{look.id}"
    assert "at most 64 tokens, and this text has 67" in page.error(f"{base}/steps/0/0/0", 413)
    assert "at most 64" in page.error(f"{base}/whatif", 413, method="POST", json={})
    assert page.get(f"{base}/tokens")["tokens"][66] == "66"


# --------------------------------------------------------------------------------------------- runs come and go


def test_one_question_is_one_run(page: Page, desk: Desk) -> None:
    first = page.read(small.SENTENCE)
    assert page.read(small.SENTENCE) == first
    assert page.read(small.SENTENCE, "llama") != first
    assert len(desk._runs) == 2


def test_events_tell_every_layer(page: Page, desk: Desk) -> None:
    held = Busy(desk)
    run = page.begin(small.SENTENCE)
    for path in ("heads", "tokens", "tiles/0/0/mean/0/0/0"):
        assert "not there yet: waiting" in page.error(f"api/runs/{run}/{path}", 409)
    with page.client.stream("GET", f"api/runs/{run}/events") as told:
        lines = told.iter_lines()
        seen = [json.loads(next(lines)[6:])]
        held.go.set()
        seen += [json.loads(line[6:]) for line in lines if line]
    assert [one["state"] for one in (seen[0], seen[-1])] == ["waiting", "ready"]
    assert seen[-1]["layers"] == 3
    assert [one["layers"] for one in seen] == sorted(one["layers"] for one in seen)
    assert len(seen) > 2


def test_a_run_that_waits_is_cancelled(page: Page, desk: Desk) -> None:
    held = Busy(desk)
    run = page.begin(small.SENTENCE)
    assert desk.jobs.count == 2
    assert page.client.delete(f"api/runs/{run}").json()["state"] == "cancelled"
    assert desk.jobs.count == 1
    assert page.events(run)[-1]["state"] == "cancelled"
    held.go.set()
    assert page.read(small.SENTENCE) == run  # asked again, it is read


def test_a_run_that_runs_is_cancelled(page: Page, desk: Desk) -> None:
    """Between two layers: the layers that were seen are let go."""
    reading = rooms.Reading("bert", small.SENTENCE)
    reached, go = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        def breathe() -> None:
            if len(reading.sights) == 2:
                reached.set()
                assert go.wait(PATIENCE)
            desk.jobs.breathe(job)

        reading.read(desk.models, breathe)

    desk.add(reading)
    job = desk._jobs[reading.id] = desk.jobs.ask_model("run", work)
    assert reached.wait(PATIENCE)
    assert page.get(f"api/runs/{reading.id}/heads")["layers"] == 2
    assert page.client.delete(f"api/runs/{reading.id}").json()["state"] == "cancelled"
    go.set()
    wait([job.answer], PATIENCE)
    assert (reading.state, reading.sights, desk.jobs.count) == ("cancelled", [], 0)


async def leave_at_once(desk: Desk, path: str) -> None:
    there: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    there.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    there.put_nowait({"type": "http.disconnect"})

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "root_path": ""}
    await asyncio.wait_for(application(desk)(scope, there.get, send), PATIENCE)


def test_a_tab_that_is_closed_listens_no_more(desk: Desk) -> None:
    held = Busy(desk)
    reading = desk.begin(small.SENTENCE, "bert")
    assert isinstance(reading, rooms.Reading)
    asyncio.run(leave_at_once(desk, f"/api/runs/{reading.id}/events"))
    assert len(reading.bell) == 0
    assert reading.state == "waiting"
    held.go.set()


def test_who_goes_away_is_not_waited_for(desk: Desk, look: Shown, caplog: pytest.LogCaptureFixture) -> None:
    """The application itself, so that the moment of leaving is known; nor is anything printed for nobody."""

    async def leave() -> None:
        await leave_at_once(desk, f"/api/runs/{look.id}/tiles/0/0/mean/0/0/0")
        await asyncio.sleep(0)  # the answer, that there is none, arrives
        gc.collect()

    held = Busy(desk)
    asyncio.run(leave())
    assert desk.jobs.count == 1  # what is held, and no tile
    assert desk.tiles.bytes == 0
    assert caplog.text == ""
    held.go.set()


def test_two_hundred_tiles_at_once(page: Page, desk: Desk) -> None:
    shown = of_looks([rg.look(*(torch.randn(2, 1009, 5) for _ in range(2)), rg.causal())])
    desk.add(shown)

    async def ask() -> list[httpx2.Response]:
        limits = httpx2.Limits(max_connections=200)
        async with httpx2.AsyncClient(base_url=page.served.url, timeout=PATIENCE, limits=limits) as client:
            places = [
                (head, zoom, x, y)
                for head in (0, 1)
                for zoom in (0, 1, 2)
                for x in range(1 << zoom)
                for y in range(1 << zoom)
            ]
            paths = [
                f"api/runs/{shown.id}/tiles/0/{h}/{s}/{z}/{x}/{y}" for h, z, x, y in places for s in ("mean", "max")
            ]
            paths = (paths * 3)[:200]
            return await asyncio.gather(*(client.get(path) for path in paths))

    found = asyncio.run(ask())
    assert [one.status_code for one in found] == [200] * 200
    settle(desk)
    assert desk.jobs.count == 0
    assert {len(one.content) for one in found} == {4 * 256 * 256}


def test_ten_tabs(page: Page, desk: Desk) -> None:
    held = Busy(desk)
    run = page.begin(small.SENTENCE, "llama")
    reading = desk.find(run)
    assert isinstance(reading, rooms.Reading)

    async def listen(client: httpx2.AsyncClient, listening: asyncio.Barrier, stays: bool) -> str | None:
        async with client.stream("GET", f"api/runs/{run}/events") as told:
            state = None
            async for line in told.aiter_lines():
                if line.startswith("data: "):
                    first, state = state is None, json.loads(line[6:])["state"]
                    if first:
                        await listening.wait()
                        if not stays:
                            return None
        return state

    async def tabs() -> list[str | None]:
        listening = asyncio.Barrier(11)
        async with httpx2.AsyncClient(base_url=page.served.url, timeout=PATIENCE) as client:
            each = [asyncio.ensure_future(listen(client, listening, tab < 7)) for tab in range(10)]
            await listening.wait()
            assert len(reading.bell) == 10
            held.go.set()
            return await asyncio.gather(*each)

    assert asyncio.run(tabs()) == ["ready"] * 7 + [None] * 3
    page.get("api/about")
    settle(desk)
    assert desk.jobs.count == 0


def test_old_runs_are_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "RUNS", 3)
    words = small.SENTENCE.split()
    gone = []
    for count in range(3, 10):
        reading = desk.begin(" ".join(words[:count]), "bert")
        wait([desk._jobs[reading.id].answer], PATIENCE)
        assert reading.state == "ready"
        gone.append(weakref.ref(reading.sights[0].look))
        del reading
        settle(desk)
    gc.collect()
    assert len(desk._runs) == 3
    assert [one() is None for one in gone] == [True] * 4 + [False] * 3


def test_runs_cancelled_before_they_began_are_forgotten(
    page: Page, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "RUNS", 3)
    kept = page.read(small.SENTENCE)
    held = Busy(desk)
    runs = [page.begin(f"the animal {number}") for number in range(3)]
    for number in range(3, 9):
        page.client.delete(f"api/runs/{runs[-1]}")
        runs.append(page.begin(f"the animal {number}"))
    assert list(desk._runs) == [kept, *runs[:2], runs[-1]]  # those that wait stay, and what was seen
    held.go.set()


def test_too_many_runs_wait(page: Page, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "WAITING", 2)
    held = Busy(desk)
    for text in ("the", "animal"):
        page.begin(text)
    assert "ask again" in page.error("api/runs", 503, method="POST", json={"text": "street", "model": "bert"})
    held.go.set()


def test_what_stops_says_so(page: Page, desk: Desk) -> None:
    run = page.read(small.SENTENCE)
    desk.jobs.stop()
    assert "stopping" in page.error(f"api/runs/{run}/pairs/0/0/0/0", 503)
    assert len(page.events(run)) == 1


# ------------------------------------------------------------------------------------------------- the command


def test_the_command_ends_by_ctrl_c(places: dict[str, Path]) -> None:
    """The address is the first line; a listener is told, and the exit code is 0."""
    words = [sys.executable, "-m", "regard", "explore", small.SENTENCE, "--model", str(places["bert"]), "--no-open"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", url)
        with httpx2.Client(base_url=url, timeout=PATIENCE) as client:
            about = client.get("api/about").json()
            assert about["models"][0]["name"] == places["bert"].name
            with client.stream("GET", f"api/runs/{about['start']['run']}/events") as told:
                lines = told.iter_lines()
                next(lines)
                process.send_signal(signal.SIGINT)
                list(lines)
        out, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0
    assert out == ""
    assert "Traceback" not in said


def test_a_look_is_served_from_python() -> None:
    program = """if True:
        import torch, regard as rg
        from regard.explorer import serve
        look = rg.look(torch.randn(2, 3, 67, 5), torch.randn(2, 1, 67, 5), rg.causal())
        layers = [rg.look(torch.randn(3, 67, 5), torch.randn(1, 67, 5), rg.causal()) for _ in range(2)]
        try:
            serve(look, browser=False)
        except rg.InputError as error:
            print(error, flush=True)
        serve(layers[1], [f"word{n}" for n in range(67)], ids=torch.arange(67) % 7, browser=False)
    """
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert "this look holds 2" in process.stdout.readline()
        with httpx2.Client(base_url=process.stdout.readline().strip(), timeout=PATIENCE) as client:
            run = client.get("api/about").json()["start"]["run"]
            assert client.get(f"api/runs/{run}/tokens").json()["tokens"][66] == "word66"
            assert client.get(f"api/runs/{run}/tiles/0/2/max/0/0/0").status_code == 200
            names = [one["name"] for one in client.get(f"api/runs/{run}/heads").json()["measures"]]
            assert "induction" in names
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.stdout.close()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["x", "--port", "70000"], "--port must be 0 to 65535, got 70000"),
        (["x", "--model", "gpt-9"], "--model must be"),
        (["/nowhere/at.txt"], "there is no file /nowhere/at.txt"),
    ],
)
def test_bad_words_are_one_sentence(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    from regard.cli import main

    assert main(["explore", *words, "--no-open"]) == 2
    assert says in capsys.readouterr().err


def test_a_port_that_is_taken(page: Page, capsys: pytest.CaptureFixture[str], places: dict[str, Path]) -> None:
    from regard.cli import main

    taken = str(page.served.port)
    assert main(["explore", "x", "--no-open", "--port", taken, "--model", str(places["bert"])]) == 2
    said = capsys.readouterr().err
    assert f"--port {taken} can't be had" in said
    assert "--port 0 takes a free one" in said
