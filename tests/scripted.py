"""A scripted HTTP server for the client's tests, a clock that only sleeping moves, and both
clients as one function.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from markbook.client import AsyncScoringClient, RetryPolicy, ScoringClient
from markbook.contract import (
    ExtractedFrom,
    RequestUsage,
    Sample,
    Scored,
    ScoreRequest,
    ScoreResponse,
    Source,
)

REQUEST = ScoreRequest(
    run="r", samples=[Sample(prompt="p", language="python", code="\N{PILE OF POO}\0")]
)
AWAY = (503, {}, '{"error": "store_unavailable", "detail": "no database"}')
ScoredRequest = tuple[int, dict[str, str], str]


def numbered(count: int, *, padding: str = "") -> ScoreRequest:
    """Samples whose codes are their numbers; the echo's scores are thousandths of them."""
    samples = [
        Sample(prompt="p", language="python", code=f"{number}{padding}") for number in range(count)
    ]
    return ScoreRequest(run="r", samples=samples)


def scored(score: float, key: str) -> Scored:
    return Scored(
        score=score,
        source=Source.TEACHER,
        criteria=None,
        extracted_from=ExtractedFrom.COMPLETION,
        key=key,
        profile="",
    )


def halves(request: ScoreRequest) -> ScoredRequest:
    """0.5 for every sample."""
    results = [scored(0.5, "k") for _ in request.samples]
    return 200, {}, ScoreResponse(results=results, usage=RequestUsage()).model_dump_json()


def echo(request: ScoreRequest) -> ScoredRequest:
    results = [
        scored(int(sample.code.rstrip("é")) / 1000, sample.code[:9]) for sample in request.samples
    ]
    usage = RequestUsage(teacher_calls=1, input_tokens=len(results), cost_usd=0.25)
    return 200, {}, ScoreResponse(results=results, usage=usage).model_dump_json()


class Script(ThreadingHTTPServer):
    """Gives `answers`, one a request, then what `answer` says; keeps what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[ScoredRequest] = []
        self.answer: Callable[[ScoreRequest], ScoredRequest] = halves
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    @property
    def requests(self) -> list[ScoreRequest]:
        return [ScoreRequest.model_validate_json(body) for _, _, body in self.seen]


class _Handler(BaseHTTPRequestHandler):
    server: Script

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append((self.path, dict(self.headers), body))
        answers = self.server.answers
        status, headers, text = (
            answers.pop(0)
            if answers
            else self.server.answer(ScoreRequest.model_validate_json(body))
        )
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text.encode()))}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # a client that gave up
            self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def script() -> Iterator[Script]:
    with Script() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Time:
    """A clock that only sleeping moves; `pauses` were slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def retry_policy(self, wait_s: float) -> RetryPolicy:
        return RetryPolicy(wait_s, sleep=self.sleep, clock=lambda: self.now, jitter=lambda: 1.0)


AT_ONCE = RetryPolicy(0.0)


def score(url, request=REQUEST, *, rescore_s=0.0, retry_policy=AT_ONCE, **options) -> ScoreResponse:
    with ScoringClient(url, retry_policy=retry_policy, **{"timeout_s": 10, **options}) as client:
        return client.score_request(request, rescore_s=rescore_s)


def score_async(
    url, request=REQUEST, *, rescore_s=0.0, retry_policy=AT_ONCE, **options
) -> ScoreResponse:
    async def ask() -> ScoreResponse:
        async with AsyncScoringClient(
            url, retry_policy=retry_policy, **{"timeout_s": 10, **options}
        ) as client:
            return await client.score_request(request, rescore_s=rescore_s)

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [score, score_async], ids=["sync", "async"])
