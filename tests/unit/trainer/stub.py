"""A real HTTP server that speaks the contract: marks and faults as a test says, every request
kept.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from markbook.config.settings import SERVICE_OWNED, Rlaif
from markbook.contract import (
    CacheStats,
    Counters,
    ErrorCode,
    ExtractedFrom,
    MetricsReport,
    ProfileInputs,
    RequestUsage,
    Result,
    Sample,
    SampleError,
    Scored,
    ScoreRequest,
    ScoreResponse,
    Source,
    Stats,
    StoredMetrics,
    TeacherStats,
    Unscored,
)

Fault = tuple[int, dict[str, Any]]


def scored(score: float, criteria: dict[str, float] | None = None) -> Scored:
    return Scored(
        score=score,
        source=Source.TEACHER,
        criteria=criteria,
        extracted_from=ExtractedFrom.COMPLETION,
        key="k",
        profile="p",
    )


def unscored() -> Unscored:
    error = SampleError(code=ErrorCode.TEACHER_UNAVAILABLE, detail="overloaded")
    return Unscored(error=error, extracted_from=ExtractedFrom.COMPLETION, key="k", profile="p")


class StubService:
    """`mark` answers for a sample; `faults` are answered first, one a request: (status, error
    body).
    """

    def __init__(
        self,
        mark: Callable[[Sample], Result],
        faults: list[Fault] | None = None,
        headers: dict[str, str] | None = None,
        port: int = 0,
    ) -> None:
        self.mark = mark
        self.faults = faults or []
        self.headers = headers or {}
        self.requests: list[ScoreRequest] = []
        self.reports: list[tuple[str, MetricsReport]] = []
        self.report_fault: Fault | None = None
        self.counters: dict[str, Counters] = {}
        self.forbidden: set[str] = set()  # runs that the API key may not use
        self.policy = {key: getattr(Rlaif(), key) for key in SERVICE_OWNED}
        self._last_fault: tuple[float, Fault] = (math.inf, (500, {}))
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def score(self, request: ScoreRequest) -> ScoreResponse:
        results = [self.mark(sample) for sample in request.samples]
        with self._lock:
            self.requests.append(request)
            before = self.counters.get(request.run, Counters())
            self.counters[request.run] = before.model_copy(
                update={
                    "samples": before.samples + len(results),
                    "unscored": before.unscored
                    + sum(result.status == "unscored" for result in results),
                    "api_tokens_sent": before.api_tokens_sent + 100,
                }
            )
        return ScoreResponse(results=results, usage=RequestUsage())

    def report(self, path: str, body: bytes) -> tuple[int, str]:
        if self.report_fault is not None:
            return self.report_fault[0], json.dumps(self.report_fault[1])
        report = MetricsReport.model_validate_json(body)
        self.reports.append((path.removeprefix("/runs/").removesuffix("/metrics"), report))
        return 200, StoredMetrics(stored=len(report.metrics)).model_dump_json()

    def fail_after(self, requests: int, fault: Fault) -> None:
        """Answer that many more requests for marks, then `fault` for ever."""
        self._last_fault = (requests, fault)

    def _fault(self) -> Fault | None:
        with self._lock:
            if self.faults:
                return self.faults.pop(0)
            left, fault = self._last_fault
            self._last_fault = (left - 1, fault)
            return fault if left <= 0 else None

    def stats(self) -> Stats:
        return Stats(
            totals=Counters(),
            runs=self.counters,
            cache=CacheStats(entries=0, bytes=0),
            teacher=TeacherStats(
                name="stub", model="stub", is_stub=True, description="a stub for tests, no judge"
            ),
            profile="p",
            profile_inputs=ProfileInputs(
                teacher={"name": "stub"},
                rubric="r",
                template="t",
                extractor="e",
                max_group_size=1,
                prompt_chars=None,
                prompt_policy=None,
                rubric_in_system_prompt=True,
            ),
            policy=self.policy,
            since="2026-01-01T00:00:00Z",
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path.startswith("/runs/"):
                    self._answer(*service.report(unquote(self.path), body))
                elif fault := service._fault():
                    self._answer(fault[0], json.dumps(fault[1]))
                else:
                    self._answer(
                        200, service.score(ScoreRequest.model_validate_json(body)).model_dump_json()
                    )

            def do_GET(self) -> None:
                [run] = parse_qs(urlsplit(self.path).query).get("run", [""])
                if run in service.forbidden:
                    self._answer(403, json.dumps({"error": "forbidden", "detail": f"not {run}"}))
                else:
                    self._answer(200, service.stats().model_dump_json())

            def _answer(self, status: int, body: str) -> None:
                data = body.encode()
                self.send_response(status)
                for name, value in {**service.headers, "content-length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
