"""The Message Batches API: limits, states, expiry, results as JSONL in another order, at half the
price.

A batch is processed when it ends, `batch_s` after it was created, or when a test calls `finish`.
Requests are checked then and not at creation, as the provider does it: one that is not valid is an
errored result.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.emulator import faults, model
from tests.emulator.errors import ApiError, invalid
from tests.emulator.validation import check_body, check_headers

if TYPE_CHECKING:
    from tests.emulator.server import Emulator

MAX_REQUESTS = 100_000
MAX_BYTES = 256 * 1024 * 1024
EXPIRES_S = 24 * 3600
ARCHIVED_S = 29 * 24 * 3600
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
COUNTED = ("succeeded", "errored", "canceled", "expired")


@dataclass
class Held:
    """A batch. `results` is None until it has ended."""

    id: str
    created_s: float
    requests: list[dict[str, Any]]
    key: str
    cancel_s: float | None = None
    ended_s: float | None = None
    results: list[dict[str, Any]] | None = None
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))


class Batches:
    """The batches of one organisation.

    `start` is the wall-clock time at which the emulator's clock was zero.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._held: dict[str, Held] = {}
        self._numbers = itertools.count(1)
        self._start = datetime.now(UTC) - timedelta(seconds=emulator.clock())
        self._processing = threading.Lock()

    def routes(self) -> list[Route]:
        base = "/v1/messages/batches"
        return [
            Route(base, self._handle(self._create), methods=["POST"]),
            Route(base, self._handle(self._list), methods=["GET"]),
            Route(f"{base}/{{id}}", self._handle(self._retrieve), methods=["GET"]),
            Route(f"{base}/{{id}}", self._handle(self._delete), methods=["DELETE"]),
            Route(f"{base}/{{id}}/cancel", self._handle(self._cancel), methods=["POST"]),
            Route(f"{base}/{{id}}/results", self._handle(self._results), methods=["GET"]),
        ]

    def all(self) -> list[Held]:
        """In the order of their creation."""
        return [*self._held.values()]

    def clear(self) -> None:
        self._held.clear()
        self._start = datetime.now(UTC) - timedelta(seconds=self._emulator.clock())

    def finish(self, batch: str | None = None) -> None:
        """End a batch, or all of them, now."""
        for held in self.all():
            if batch in (None, held.id):
                self._end(held)

    def _handle(self, route: Any) -> Any:
        async def handle(request: HttpRequest) -> Response:
            request_id = f"req_batch_{next(self._numbers):08d}"
            try:
                check_headers(request.headers)
                response: Response = await route(request)
            except ApiError as error:
                response = JSONResponse(error.body(request_id), error.status, headers=error.headers)
            response.headers["request-id"] = request_id
            return response

        return handle

    async def _create(self, request: HttpRequest) -> Response:
        body = await request.body()
        if len(body) > MAX_BYTES:
            raise ApiError("request_too_large", "Request exceeds the maximum size")
        try:
            asked = json.loads(body)
        except ValueError:
            raise invalid("The request body is not valid JSON") from None
        requests = _check(asked)
        fault = self._emulator.settings.faults.next()
        if fault in faults.ERRORS:
            raise faults.ERRORS[fault]()
        if fault == "reset_before":
            return self._emulator.cut_off()
        name = f"msgbatch_{next(self._numbers):08d}"
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        self._held[name] = held = Held(name, self._emulator.clock(), requests, key)
        if fault == "reset_after":
            return self._emulator.cut_off()
        return JSONResponse(self._shown(held))

    async def _list(self, request: HttpRequest) -> Response:
        limit = int(request.query_params.get("limit", "20"))
        if not 1 <= limit <= 1000:
            raise invalid("limit: must be between 1 and 1000")
        newest = [*reversed(self.all())]
        if after := request.query_params.get("after_id"):
            places = [place for place, held in enumerate(newest) if held.id == after]
            newest = newest[places[0] + 1 :] if places else []
        page = newest[:limit]
        return JSONResponse(
            {
                "data": [self._shown(held) for held in page],
                "has_more": len(newest) > limit,
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
            }
        )

    async def _retrieve(self, request: HttpRequest) -> Response:
        return JSONResponse(self._shown(self._find(request)))

    async def _cancel(self, request: HttpRequest) -> Response:
        held = self._find(request)
        if held.results is not None:
            raise invalid("the batch has ended")
        held.cancel_s = self._emulator.clock()
        return JSONResponse(self._described(held))

    async def _delete(self, request: HttpRequest) -> Response:
        held = self._find(request)
        if held.results is None:
            raise invalid("the batch is in progress: cancel it first")
        del self._held[held.id]
        return JSONResponse({"id": held.id, "type": "message_batch_deleted"})

    async def _results(self, request: HttpRequest) -> Response:
        held = self._find(request)
        if held.results is None or self._is_archived(held):
            raise ApiError("not_found_error", "the batch has no results")
        lines = "".join(f"{json.dumps(result)}\n" for result in held.results)
        return Response(lines, media_type="application/x-jsonl")

    def _find(self, request: HttpRequest) -> Held:
        held = self._held.get(request.path_params["id"])
        if held is None:
            raise ApiError("not_found_error", "no such batch")
        self._end_if_due(held)
        return held

    def _end_if_due(self, held: Held) -> None:
        age_s = self._emulator.clock() - held.created_s
        is_due = held.cancel_s is not None or age_s >= min(
            self._emulator.settings.batch_s, EXPIRES_S
        )
        if held.results is None and is_due:
            self._end(held)

    def _is_archived(self, held: Held) -> bool:
        return self._emulator.clock() - held.created_s > ARCHIVED_S

    def _end(self, held: Held) -> None:
        with self._processing:
            if held.results is not None:
                return
            expired = self._emulator.clock() - held.created_s >= EXPIRES_S
            results = []
            for request in held.requests:
                result = self._process(request, held, expired=expired)
                held.counts[result["type"]] += 1
                results.append({"custom_id": request["custom_id"], "result": result})
            random.Random(held.id).shuffle(results)
            held.ended_s = self._emulator.clock()
            held.results = results

    def _process(self, request: dict[str, Any], held: Held, *, expired: bool) -> dict[str, Any]:
        settings = self._emulator.settings
        fault = settings.batch_faults.next()
        if expired or fault == "expired":
            return {"type": "expired"}
        if held.cancel_s is not None or fault == "canceled":
            return {"type": "canceled"}
        try:
            if fault == "errored":
                raise ApiError("api_error", "Internal server error")
            if fault == "invalid":
                raise invalid("messages: not valid")
            return self._answer(request, fault, held.key)
        except ApiError as error:
            return {"type": "errored", "error": error.body("req_in_batch")}

    def _answer(self, request: dict[str, Any], fault: str | None, key: str) -> dict[str, Any]:
        emulator, settings = self._emulator, self._emulator.settings
        params = request["params"]
        for name in ("stream", "speed"):
            if name in params:
                raise invalid(f"{name}: not supported in batches")
        asked, known = check_body(params)
        if asked.max_tokens < 1:
            raise invalid("max_tokens: must be at least 1 in a batch")
        shown = model.segments(asked, settings.count, settings.structured_output_overhead)
        split = emulator.cache.split(model.scope(asked), shown, known.floor)
        emulator.cache.begun(split)
        emulator.skipped_s += settings.batch_request_s
        thinking = settings.thinking_tokens if model.thinks(asked, known) else 0
        reply = model.reply_to(asked, settings.judge, settings.count, thinking, fault)
        bill = model.bill(split, reply.output_tokens)
        entry = emulator.note(params, model.codes_of(asked), bill, request["custom_id"], key)
        entry.fault, entry.stop_reason = fault, reply.stop_reason
        return {
            "type": "succeeded",
            "message": model.message(entry.number, asked.model, bill, reply, "batch"),
        }

    def _shown(self, held: Held) -> dict[str, Any]:
        self._end_if_due(held)
        return self._described(held)

    def _described(self, held: Held) -> dict[str, Any]:
        has_ended = held.results is not None
        archived = self._is_archived(held)
        state = (
            "ended" if has_ended else "canceling" if held.cancel_s is not None else "in_progress"
        )
        url = f"{self._emulator.url}/v1/messages/batches/{held.id}/results"
        return {
            "id": held.id,
            "type": "message_batch",
            "processing_status": state,
            "request_counts": {"processing": 0 if has_ended else len(held.requests), **held.counts},
            "created_at": self._time(held.created_s),
            "expires_at": self._time(held.created_s + EXPIRES_S),
            "ended_at": self._time(held.ended_s),
            "cancel_initiated_at": self._time(held.cancel_s),
            "archived_at": self._time(held.created_s + ARCHIVED_S) if archived else None,
            "results_url": url if has_ended and not archived else None,
        }

    def _time(self, at_s: float | None) -> str | None:
        return None if at_s is None else (self._start + timedelta(seconds=at_s)).isoformat()


def _check(asked: Any) -> list[dict[str, Any]]:
    """The requests of a body, whose params are not looked at. Raises ApiError."""
    if (
        not isinstance(asked, dict)
        or asked.keys() != {"requests"}
        or not isinstance(asked["requests"], list)
    ):
        raise invalid("requests: Field required, and no other")
    requests = asked["requests"]
    if not 1 <= len(requests) <= MAX_REQUESTS:
        raise invalid(f"requests: must have 1 to {MAX_REQUESTS} items")
    names: set[str] = set()
    for place, request in enumerate(requests):
        if not isinstance(request, dict) or request.keys() != {"custom_id", "params"}:
            raise invalid(f"requests.{place}: custom_id and params are required")
        name = request["custom_id"]
        if not isinstance(name, str) or not _CUSTOM_ID.fullmatch(name):
            raise invalid(
                f"requests.{place}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
            )
        if name in names:
            raise invalid(f"requests.{place}.custom_id: {name} is not unique")
        names.add(name)
    return requests
