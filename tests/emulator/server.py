"""The server: `with Emulator() as emulator:` listens on a free loopback port, in a thread of its
own.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.emulator import faults, judges, model, tokens
from tests.emulator.batches import Batches
from tests.emulator.cache import PromptCache
from tests.emulator.catalog import MODELS
from tests.emulator.errors import ApiError, invalid
from tests.emulator.ratelimit import Bucket
from tests.emulator.validation import check_body, check_headers

_transport: contextvars.ContextVar[asyncio.Transport] = contextvars.ContextVar("transport")


class _Protocol(H11Protocol):
    """Lets a handler reset its own connection."""

    def data_received(self, data: bytes) -> None:
        _transport.set(self.transport)
        super().data_received(data)


class _CutBody(JSONResponse):
    """Half the body, then a reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        half = bytes(self.body[: len(self.body) // 2])
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        await send({"type": "http.response.body", "body": half, "more_body": True})
        _transport.get().abort()


@dataclass
class Settings:
    """What can be changed while it runs."""

    judge: judges.Judge = judges.steady
    latency_s: float = 0.0
    slow_s: float = 5.0
    thinking_tokens: int = 300
    structured_output_overhead: int = 250
    overhead_always: bool = False
    """Bill it in requests that ask for no structured output as well: what that would cost."""
    batch_faults: faults.Faults = field(default_factory=faults.Faults)
    """Of the requests in batches."""
    faults: faults.Faults = field(default_factory=faults.Faults)
    batch_s: float = 0.0
    """Seconds from the creation of a batch to its end."""
    batch_request_s: float = 0.0
    """Seconds between its requests, as far as the prompt cache is concerned."""
    count: Callable[[str], int] = tokens.exact
    limits: list[Bucket] = field(default_factory=list)


@dataclass
class Entry:
    """One request: what came, what became of it, and its bill (None: not billed).

    `answered`: the client got it.

    `key`: the API key, by which a test tells its clients apart.
    """

    number: int
    request_id: str
    body: dict[str, Any]
    codes: list[str] = field(default_factory=list)
    fault: str | None = None
    status: int | None = None
    stop_reason: str | None = None
    bill: model.Settlement | None = None
    answered: bool = True
    key: str = ""
    custom_id: str = ""
    """Of a request in a batch, which costs half."""

    def dollars(self) -> float:
        whole = self.bill.dollars(MODELS[self.body["model"]]) if self.bill else 0.0
        return whole / 2 if self.custom_id else whole


class Emulator:
    """The Messages API on `url`. `log` has every request in the order of arrival."""

    def __init__(
        self, settings: Settings | None = None, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.settings = settings or Settings()
        self.skipped_s = 0.0
        self.time: Callable[[], float] = time.monotonic
        self.cache = PromptCache(self.clock)
        self.log: list[Entry] = []
        self._numbers = itertools.count(1)
        self._in_flight = self.most_in_flight = 0
        self._idle = threading.Event()
        self._idle.set()
        self._socket = socket.create_server((host, port))
        self.url = f"http://{host}:{self._socket.getsockname()[1]}"
        self.batches = Batches(self)
        routes = [
            Route("/v1/messages", self._messages, methods=["POST"]),
            *self.batches.routes(),
            Route("/_emulator/log", self._show_log),
            Route("/_emulator/settings", self._change, methods=["PUT"]),
            Route("/_emulator/reset", self._reset, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_level="critical",  # a response that is cut off on purpose is an error to it
            access_log=False,
            # closing an idle connection while the client writes would be a fault of its own
            timeout_keep_alive=600,
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def __enter__(self) -> Emulator:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join()
        self._socket.close()

    def clock(self) -> float:
        """Seconds, for the prompt cache and the rate limits.

        Tests stop `time` and add to `skipped_s`.
        """
        return self.time() + self.skipped_s

    def serve(self) -> None:
        """In this thread, until a signal."""
        self.server.run(sockets=[self._socket])

    def settle(self) -> list[Entry]:
        """The log, once it works on nothing: a client that gave up leaves its request behind."""
        assert self._idle.wait(timeout=60), "the emulator is still working"
        return self.log

    def clear(self, **settings: Any) -> None:
        """As new, with these settings."""
        self.settings = Settings(**settings)
        self.log.clear()
        self.batches.clear()
        self.most_in_flight = 0
        self.cache.clear()

    async def _messages(self, request: HttpRequest) -> Response:
        number = next(self._numbers)
        entry = Entry(number, f"req_{number:08d}", {})
        entry.key = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.log.append(entry)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        self._idle.clear()
        try:
            check_headers(request.headers)
            response = await self._answer(request, entry)
        except ApiError as error:
            entry.status = error.status
            response = JSONResponse(
                error.body(entry.request_id), error.status, headers=error.headers
            )
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        response.headers["request-id"] = entry.request_id
        return response

    async def _answer(self, request: HttpRequest, entry: Entry) -> Response:
        settings = self.settings
        try:
            entry.body = json.loads(await request.body())
        except ValueError:
            raise invalid("The request body is not valid JSON") from None
        asked, known = check_body(entry.body)
        entry.codes = model.codes_of(asked)
        entry.fault = fault = settings.faults.next()
        if fault in faults.ERRORS:
            raise faults.ERRORS[fault]()
        if fault == "reset_before":
            return self._cut_off(entry)
        shown = model.segments(
            asked,
            settings.count,
            settings.structured_output_overhead,
            always=settings.overhead_always,
        )
        split = self.cache.split(model.scope(asked), shown, known.floor)
        needs = {"requests": 1, "input-tokens": split.input + split.write_5m + split.write_1h}
        for bucket in settings.limits:
            bucket.take(needs[bucket.kind])
        await (
            _until_given_up(request, settings.slow_s)
            if fault == "slow"
            else asyncio.sleep(settings.latency_s)
        )
        self.cache.begun(split)
        thinking = settings.thinking_tokens if model.thinks(asked, known) else 0
        reply = model.reply_to(asked, settings.judge, settings.count, thinking, fault)
        entry.bill = model.bill(split, reply.output_tokens)
        message = model.message(entry.number, asked.model, entry.bill, reply)
        entry.status, entry.stop_reason = 200, reply.stop_reason
        headers = {
            name: value for bucket in settings.limits for name, value in bucket.headers().items()
        }
        if fault == "reset_after":
            return self._cut_off(entry)
        if await request.is_disconnected():
            entry.answered = False
        if fault == "not_json":
            entry.answered = False
            return PlainTextResponse("<html>a proxy's page</html>", headers=headers)
        if fault in ("broken_json", "no_usage"):
            entry.answered = False
            del message["usage"]
            text = json.dumps(message)[: -1 if fault == "broken_json" else None]
            return Response(text, media_type="application/json", headers=headers)
        if fault == "cut_body":
            entry.answered = False
            return _CutBody(message, headers=headers)
        return JSONResponse(message, headers=headers)

    def note(
        self,
        body: dict[str, Any],
        codes: list[str],
        bill: model.Settlement,
        custom_id: str,
        key: str,
    ) -> Entry:
        """Log an answered request of a batch."""
        number = next(self._numbers)
        entry = Entry(
            number,
            f"req_{number:08d}",
            body,
            codes,
            status=200,
            bill=bill,
            key=key,
            custom_id=custom_id,
        )
        self.log.append(entry)
        return entry

    def cut_off(self) -> Response:
        """Reset the connection of the request that is being answered."""
        _transport.get().abort()
        return Response()

    def _cut_off(self, entry: Entry) -> Response:
        entry.answered = False
        return self.cut_off()

    async def _show_log(self, _: HttpRequest) -> Response:
        return JSONResponse([asdict(entry) for entry in self.log])

    async def _change(self, request: HttpRequest) -> Response:
        """`{"judge": name, "latency_s": …, "faults": {"script": […]} | {"share": …, "kinds":
        […], "seed": …}, …}`.
        """
        for name, value in (await request.json()).items():
            if name == "judge":
                value = judges.JUDGES[value]
            elif name in ("faults", "batch_faults"):
                value = faults.Faults(
                    **{key: tuple(kept) if key == "kinds" else kept for key, kept in value.items()}
                )
            elif name not in (
                "latency_s",
                "slow_s",
                "batch_s",
                "thinking_tokens",
                "structured_output_overhead",
            ):
                return JSONResponse({"error": f"unknown setting {name}"}, 422)
            setattr(self.settings, name, value)
        return Response(status_code=204)

    async def _reset(self, _: HttpRequest) -> Response:
        self.clear()
        return Response(status_code=204)


async def _until_given_up(request: HttpRequest, most_s: float) -> None:
    """Until the client goes away (the only message after the body), or for `most_s` seconds."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(request.receive(), most_s)
