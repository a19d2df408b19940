"""Watches requests and calls to the teacher from outside, and tells metrics, log and traces of them.

The parts that are watched know nothing of it: it stands around the routes as middleware, and before the teacher.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.scoring import logs
from services.scoring.metrics import Calls, Requests, Samples
from services.scoring.store import RequestLine
from services.scoring.teachers.base import Call, Failure, Group, Marked, Outage, Purse, Teacher
from services.scoring.tracing import PROBES, span
from shared.contract import Source

NO_ROUTE = "none"
_SOURCES = tuple(source.value for source in Source)

log = logging.getLogger(logs.REQUESTS)


class RequestObserver:
    """ASGI middleware, outermost but for what catches defects. Answers carry their request's id as X-Request-Id."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        facts = logs.Facts.of(Headers(scope=scope).get("x-request-id"))
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

    def _tell(self, scope: Scope, facts: logs.Facts, status: int, seconds: float) -> None:
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


class WatchedTeacher:
    """Another teacher, whose calls are timed and counted as they are paid for, and are a span for each group."""

    def __init__(self, teacher: Teacher, calls: Calls) -> None:
        self.name = teacher.name
        self.model = teacher.model
        self.is_stub = teacher.is_stub
        self.description = teacher.description
        self._teacher = teacher
        self._calls = calls

    def identity(self) -> Mapping[str, object]:
        return self._teacher.identity()

    async def mark(self, group: Group, purse: Purse) -> tuple[Marked | Failure, ...]:
        attributes: dict[str, AttributeValue] = {
            "gen_ai.request.model": self.model,
            "markbook.samples": len(group.codes),
        }
        with span("teacher", **attributes) as step:
            watched = _WatchedPurse(purse, self._calls, step)
            try:
                return await self._teacher.mark(group, watched)
            finally:
                self._calls.in_progress.dec(watched.open)  # cut off by a stop

    def outage(self) -> Outage | None:
        return self._teacher.outage()

    def stop(self) -> None:
        self._teacher.stop()

    async def close(self) -> None:
        await self._teacher.close()


@dataclass(slots=True)
class _WatchedPurse:
    """Another purse. Between its reserving and its settling lies a call; `open`: those without a bill yet."""

    purse: Purse
    calls: Calls
    span: Span
    open: int = 0
    spent: Counter[str] = field(default_factory=Counter)

    async def reserve(self, bound: Call) -> str:
        reservation = await self.purse.reserve(bound)
        self.open += 1
        self.calls.in_progress.inc()
        return reservation

    async def settle(self, reservation: str, bound: Call, bill: Call) -> None:
        self.open -= 1
        self.calls.in_progress.dec()
        self.calls.billed(bill)
        sent = bill.input_tokens + bill.cache_read_input_tokens + bill.cache_creation_input_tokens
        self.spent["markbook.calls"] += 1
        self.spent["gen_ai.usage.input_tokens"] += sent
        self.spent["gen_ai.usage.cache_read.input_tokens"] += bill.cache_read_input_tokens
        self.spent["gen_ai.usage.output_tokens"] += bill.output_tokens
        self.span.set_attributes(self.spent)
        await self.purse.settle(reservation, bound, bill)
