"""Instruments HTTP requests: metrics, one log line per request, and the X-Request-Id header."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from markbook.contract import Source
from markbook.scoring.observability import logs
from markbook.scoring.observability.metrics import GatherWait, Requests, Samples
from markbook.scoring.observability.tracing import PROBES
from markbook.scoring.store import RequestLine

NO_ROUTE = "none"
_SOURCES = tuple(source.value for source in Source)

log = logging.getLogger(logs.REQUESTS)


class RequestMiddleware:
    """Outermost ASGI middleware but for the one that catches unhandled errors.

    Every response has an X-Request-Id.
    """

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fields = logs.RequestFields.of(Headers(scope=scope).get("x-request-id"))
        logs.bind(fields)
        started, status = time.perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", fields.request_id.encode()))
            await send(message)

        self._requests.in_progress.inc()
        try:
            await self._app(scope, receive, sent)
        finally:
            self._requests.in_progress.dec()
            self._log(scope, fields, status, time.perf_counter() - started)

    def _log(self, scope: Scope, fields: logs.RequestFields, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", NO_ROUTE)
        error = fields.error or ("internal_error" if status == 500 else None)
        self._requests.observe(scope["method"], route, status, seconds, error)
        level = logging.WARNING if status >= 500 else logging.INFO
        if status < 400 and scope["path"] in PROBES:
            level = logging.DEBUG
        if log.isEnabledFor(level):
            key = scope.get("api_key")
            line = {
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
                **({"key": key.name} if key else {}),
                **fields.to_dict(),
            }
            log.log(level, "request", extra={logs.FIELDS: line})


def request_counter(samples: Samples) -> Callable[[RequestLine], None]:
    """What the pipeline calls with each request's ledger line: adds its counts to the metrics
    and the request's log.
    """

    def record_request_counts(line: RequestLine) -> None:
        samples.observe(line)
        fields = logs.current()
        fields.run = line.run
        for source in _SOURCES:
            if count := getattr(line, source):
                fields.sources[source] += count
        for code, count in line.unscored.items():
            fields.unscored[code] += count

    return record_request_counts


def gather_recorder(wait: GatherWait) -> Callable[[float], None]:
    """What is called with the seconds that a sample waited for others: for the metrics and the
    request's log line.
    """

    def record_gather_wait(seconds: float) -> None:
        wait.observe(seconds)
        logs.current().gather_ms = round(seconds * 1000, 1)

    return record_gather_wait
