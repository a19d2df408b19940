"""The client: what is sent, and which error each answer becomes. Against a scripted HTTP server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from shared.client import AsyncScoringClient, ClientError, RequestRejected, ScoringClient, ServiceUnavailable
from shared.contract import RequestUsage, Sample, ScoreRequest, ScoreResponse

REQUEST = ScoreRequest(run="r", samples=[Sample(prompt="p", language="python", code="\N{PILE OF POO}\0")])
EMPTY = ScoreResponse(results=[], usage=RequestUsage()).model_dump_json()


class Script(ThreadingHTTPServer):
    """Answers every request with `answer` = (status, headers, body) and keeps what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: tuple[int, dict[str, str], str] = (200, {}, EMPTY)
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Script

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self.server.seen.append((self.path, dict(self.headers), self.rfile.read(length)))
        status, headers, body = self.server.answer
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def script() -> Iterator[Script]:
    with Script() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def score(url: str, api_key: str | None = None) -> ScoreResponse:
    with ScoringClient(url, timeout_s=10, api_key=api_key) as client:
        return client.score(REQUEST)


def score_async(url: str, api_key: str | None = None) -> ScoreResponse:
    async def ask() -> ScoreResponse:
        async with AsyncScoringClient(url, timeout_s=10, api_key=api_key) as client:
            return await client.score(REQUEST)

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [score, score_async], ids=["sync", "async"])


@both
def test_a_request_carries_its_key_and_an_id_of_its_own(script, ask):
    assert ask(script.url + "/", api_key="secret").results == []
    ask(script.url)
    (path, headers, body), (_, plain, other) = script.seen
    assert path == "/score"
    assert headers["Authorization"] == "Bearer secret"
    assert "Authorization" not in plain
    first, second = json.loads(body), json.loads(other)
    assert first["request_id"] != second["request_id"]
    assert first["samples"] == [{"prompt": "p", "language": "python", "code": "\N{PILE OF POO}\0"}]


def test_a_request_id_that_is_given_is_kept(script):
    with ScoringClient(script.url) as client:
        client.score(REQUEST.model_copy(update={"request_id": "0123456789"}))
    assert json.loads(script.seen[0][2])["request_id"] == "0123456789"


@both
@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry-After": "2.5"}, 2.5),
        (503, {"Retry-After": "1"}, 1.0),
        (500, {}, None),
        (502, {"Retry-After": "Mon"}, None),
    ],
)
def test_what_may_pass_may_be_sent_again(script, ask, status, headers, wait):
    script.answer = (status, headers, '{"error": "store_unavailable", "detail": "no database"}')
    with pytest.raises(ServiceUnavailable, match="no database") as caught:
        ask(script.url)
    assert caught.value.retry_after_s == wait
    assert len(script.seen) == 1


@both
def test_what_will_not_pass_is_told_with_its_code(script, ask):
    script.answer = (422, {}, '{"error": "invalid_request", "detail": "samples: missing", "field": "samples"}')
    with pytest.raises(RequestRejected, match="samples: missing") as caught:
        ask(script.url)
    assert (caught.value.status, caught.value.code) == (422, "invalid_request")


@both
@pytest.mark.parametrize(
    "answer", [(404, {}, "<html>not here</html>"), (200, {}, "<html>hello</html>"), (200, {}, "{}")]
)
def test_a_server_that_is_no_markbook_gives_no_marks(script, ask, answer):
    script.answer = answer
    with pytest.raises(RequestRejected):
        ask(script.url)


@both
@pytest.mark.parametrize("address", ["localhost:8000", "127.0.0.1:8000", "http://a:b:c"])
def test_what_is_no_address_is_said_at_once(ask, address):
    with pytest.raises(ClientError, match="is no address of a service") as caught:
        ask(address)
    assert not isinstance(caught.value, ServiceUnavailable)


@both
def test_an_address_where_nobody_listens_is_named(ask):
    with pytest.raises(ServiceUnavailable, match=r"http://127\.0\.0\.1:1 did not answer"):
        ask("http://127.0.0.1:1")
