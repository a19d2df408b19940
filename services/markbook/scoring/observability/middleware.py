"""Watches requests and calls to the teacher from outside, and tells metrics, log and traces of them.

The parts that are watched know nothing of it: it stands around the routes as middleware, and before the teacher.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from markbook.contract import Source
from markbook.scoring.observability import logs
from markbook.scoring.observability.metrics import Requests, Samples
from markbook.scoring.observability.tracing import PROBES
from markbook.scoring.store import RequestLine

NO_ROUTE = "none"
_SOURCES = tuple(source.value for source in Source)

log = logging.getLogger(logs.REQUESTS)


class RequestMiddleware:
    """ASGI middleware, outermost but for what catches defects. Answers carry their request's id as X-Request-Id."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        facts = logs.RequestFields.of(Headers(scope=scope).get("x-request-id"))
        logs.begin(facts)
        begun, status = time.perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", facts.request_id.encode()))
            await send(message)

        self._requests.in_progress.inc()
        try:
            await self._app(scope, receive, sent)
        finally:
            self._requests.in_progress.dec()
            self._tell(scope, facts, status, time.perf_counter() - begun)

    def _tell(self, scope: Scope, facts: logs.RequestFields, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", NO_ROUTE)
        error = facts.error or ("internal_error" if status == 500 else None)
        self._requests.answered(scope["method"], route, status, seconds, error)
        level = logging.WARNING if status >= 500 else logging.INFO
        if status < 400 and scope["path"] in PROBES:
            level = logging.DEBUG
        if log.isEnabledFor(level):
            key = scope.get("api_key")
            told = {
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
                **({"key": key.name} if key else {}),
                **facts.told(),
            }
            log.log(level, "request", extra={logs.FACTS: told})


def teller(samples: Samples) -> Callable[[RequestLine], None]:
    """What the pipeline calls with the counts of each request."""

    def tell(line: RequestLine) -> None:
        samples.answered(line)
        told = logs.facts()
        told.run = line.run
        for source in _SOURCES:
            if count := getattr(line, source):
                told.sources[source] += count
        for code, count in line.unscored.items():
            told.unscored[code] += count

    return tell
