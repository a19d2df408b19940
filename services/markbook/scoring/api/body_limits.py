"""What bodies may cost: the time one takes to arrive, and the bytes that all requests in
progress hold together.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from markbook.config.settings import Service
from markbook.scoring.errors import RequestTimeoutError, TooManyRequestsError


class BodyLimits:
    """ASGI middleware.

    A request holds its body's bytes until it is answered: so long its samples are in memory.
    """

    def __init__(self, app: ASGIApp, limits: Service) -> None:
        self._app = app
        self._limits = limits
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        timeout_s, held, arrived = self._limits.body_timeout_s, 0, False
        due = asyncio.get_running_loop().time() + timeout_s

        async def bounded() -> Message:
            nonlocal held, arrived
            if arrived:  # what comes now is the end of the connection, whenever that is
                return await receive()
            try:
                async with asyncio.timeout_at(due):
                    message = await receive()
            except TimeoutError as error:
                detail = f"the body did not arrive within {timeout_s:g} s (service.body_timeout_s)"
                raise RequestTimeoutError(detail) from error
            arrived = not message.get("more_body", False)
            size = len(message.get("body", b""))
            held += size
            self._held += size
            if self._held > self._limits.max_held_body_bytes:
                raise TooManyRequestsError(
                    f"the requests in progress hold {self._limits.max_held_body_bytes:,} bytes "
                    "(service.max_held_body_bytes): retry later",
                    retry_after_s=1,
                )
            return message

        try:
            await self._app(scope, bounded, send)
        finally:
            self._held -= held
